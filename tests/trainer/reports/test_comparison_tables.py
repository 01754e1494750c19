import pytest

from trainer.reports.comparison_tables import markdown, text


@pytest.fixture
def compared():
    def entry(model, recipe, seeds, core_seconds, rounds, accuracy, std):
        return {
            "model": model,
            "recipe": recipe,
            "flags": "",
            "training": {"described": f"{recipe}: Adam", "patch_frames": 80, "augment": ""},
            "seeds": seeds,
            "parameters": 3_275_312,
            "core_seconds": core_seconds,
            "predictions_per_s": rounds and {"median": rounds[0], "rounds": rounds},
            "track_accuracy": accuracy,
            "interval": [accuracy - 0.1, accuracy + 0.1],
            "over_seeds": {"mean": accuracy - 0.01, "std": std, "each": []},
        }

    return {
        "command": "python -m trainer.compare --job_dirs=A,B --output_dir='C V'",
        "data": {
            "name": "emotify",
            "fingerprint": "0123456789abcdef" * 4,
            "tracks": 164,
            "groups": 54,
            "grouped": True,
            "folds": 5,
            "label_names": ["a", "b", "c", "d"],
            "chance": 0.25,
            "tracks_without_patch": 0,
            "left_out": {"tracks": 80, "sha256": "fedcba98" * 8},
        },
        "warnings": [],
        "entries": {
            "cnn, augmented": entry(
                "cnn",
                "augmented",
                [0, 1],
                {"mean": 1234.5, "measured": 10, "trainings": 10},
                [1234.5, 1000.0, 1500.0],
                0.7,
                0.0123,
            ),
            "cnn, modern": entry(
                "cnn", "modern", [0, 1], {"mean": 61.7, "measured": 9, "trainings": 10}, [99.6, 90.0, 100.0], 0.6, 0.02
            ),
            "time, modern": entry(
                "time", "modern", [0], {"mean": None, "measured": 0, "trainings": 5}, None, 0.5, None
            ),
        },
        "comparisons": [
            {"one": "cnn, augmented", "other": "time, modern", "difference": 0.2, "interval": [0.01, 0.3]},
            {"one": "cnn, modern", "other": "time, modern", "difference": 0.1, "interval": [-0.02, 0.2]},
        ],
    }


GOLDEN = """\
# Comparison on emotify

| model | parameters | training, core s | predictions/s | track accuracy | 95 % interval | accuracy per seed | seeds |
| --- | --- | --- | --- | --- | --- | --- | --- |
| cnn, augmented | 3,275,312 | 1,234 | 1,234 | 70.0 % | 60.0 to 80.0 % | 69.0 ± 1.2 % | 2 |
| cnn, modern | 3,275,312 | 62 (9 of 10) | 100 | 60.0 % | 50.0 to 70.0 % | 59.0 ± 2.0 % | 2 |
| time, modern | 3,275,312 | \N{EN DASH} | \N{EN DASH} | 50.0 % | 40.0 to 60.0 % | 49.0 % | 1 |

Differences of track accuracy, paired on the same tracks and draws. The intervals are of these trained models: other \
trainings (seeds, folds) would vary the differences further. Of many pairs, some exclude 0 by chance.

| model | against | difference in points | 95 % interval | excludes 0 |
| --- | --- | --- | --- | --- |
| cnn, augmented | time, modern | +20.0 | +1.0 to +30.0 | yes |
| cnn, modern | time, modern | +10.0 | -2.0 to +20.0 | no |

Each track is scored once, by the models that were trained without it, probabilities averaged over its patches and \
over the seeds; the interval is a bootstrap over groups. Per seed: mean ± standard deviation over the seeds, each \
alone. Training: processor time of the process of one training, all threads together, the mean over folds and seeds \
of those that were never interrupted. Predictions: 30 s clips through the model, from normalised patches to \
probabilities.

- scored: 164 tracks of emotify, 4 labels, 54 artists or other groups, 5 folds; fingerprint 0123456789ab
- chance: 25.0 % (always the most common label)
- left out: 80 tracks, by a list with SHA-256 fedcba98fedc
- predictions/s: medians of 3 rounds, which lie up to 1.5 times apart
- augmented: Adam; patches of 80 frames, not augmented
- modern: Adam; patches of 80 frames, not augmented

```
python -m trainer.compare --job_dirs=A,B --output_dir='C V'
```
"""


def test_markdown(compared):
    assert markdown(compared) == GOLDEN


def test_what_a_reader_must_know_is_told(compared):
    compared["data"] |= {"grouped": False, "left_out": None, "tracks_without_patch": 3, "name": "\udcff"}
    compared["warnings"] = ["no artists were given"]
    compared["entries"]["time, modern"]["flags"] = "epochs=60"
    lines = markdown(compared).encode("utf-8").decode().splitlines()
    assert "- warning: no artists were given" in lines
    assert "- without a patch: 3 tracks are too short for some of the models" in lines
    assert "- modern (epochs=60): Adam; patches of 80 frames, not augmented" in lines
    assert not [line for line in lines if "left out" in line]
    assert "- scored: 164 tracks of \\udcff, 4 labels, artists not given, 5 folds; fingerprint 0123456789ab" in lines


def test_each_way_of_training_by_one_recipe_is_told(compared):
    compared["entries"]["time, modern"]["training"] = {
        "described": "modern: Adam; 5 epochs",
        "patch_frames": 80,
        "augment": "gain_db=6",
        "model_options": {"filters": 64},
        "precision": "bfloat16",
    }
    lines = markdown(compared).splitlines()
    assert "- modern, cnn: Adam; patches of 80 frames, not augmented" in lines
    words = "Adam; 5 epochs; patches of 80 frames, gain_db=6; model options filters=64; precision bfloat16"
    assert f"- modern, time: {words}" in lines


def test_one_entry_is_compared_with_none(compared):
    compared["comparisons"] = []
    assert "Differences" not in markdown(compared) and "difference" not in text(compared)


def test_columns_of_the_terminals_table_stand_below_each_other(compared):
    lines = text(compared).splitlines()
    assert len({len(line) for line in lines[:4]}) == len({len(line) for line in lines[5:8]}) == 1
    assert lines[5].split()[:2] == ["model", "against"]
    assert lines[9].startswith("scored: 164 tracks")
