import pytest

from tfrecords.common.command_line import UserError
from tools import artist_effect


def results(accuracy, interval):
    return {"models": {"time": {"pooled": {"track_accuracy": accuracy, "interval": interval, "tracks": 9}}}}


def test_what_mixed_artists_add_is_told_and_drawn():
    scores = artist_effect.scores_of({"apart": results(0.5, [0.4, 0.6]), "mixed": results(1.0, [0.9, 1.0])})
    assert artist_effect.table(scores).splitlines()[-1].split("  ")[-1].strip() == "+50.0 points"
    assert artist_effect.draw(scores).startswith(b"\x89PNG")


def test_a_folder_without_artists_is_a_mistake(run, tmp_path, make_music):
    with pytest.raises(UserError, match="names no artists"):
        run(artist_effect, f"--input={make_music(tmp_path / 'music')}", f"--output={tmp_path / 'out'}", "--folds=3")


@pytest.mark.slow
def test_both_cross_validations_are_made(run, tmp_path, make_music):
    music = make_music(tmp_path / "music")
    rows = [
        f"{path.relative_to(music)},{path.parent.name},{index // 2}" for index, path in enumerate(music.rglob("*.wav"))
    ]
    (music / "tracks.csv").write_text("\n".join(["path,genre,artist", *rows]))
    out = tmp_path / "out"
    _, printed = run(
        artist_effect,
        f"--input={music / 'tracks.csv'}",
        f"--output={out}",
        "--folds=3",
        "--epochs=1",
        "--model=frequency",
    )
    assert "frequency" in printed and "points" in printed
    assert {path.name for path in out.iterdir()} >= {"apart", "mixed", "artist_effect.json", "artist_effect.png"}
