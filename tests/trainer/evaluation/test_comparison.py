import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer.evaluation import intervals
from trainer.evaluation.comparison import ExcludedTracks, check_against, compare_entries, leaking_groups, scored
from trainer.evaluation.entries import entries_of, load_all
from trainer.evaluation.pooling import PooledPredictions
from trainer.evaluation.summary import WITHOUT_PATCH


@pytest.fixture
def cv_dirs(tmp_path, write_cv):
    one = write_cv(tmp_path / "one", {"time": 0.5, "black_box": 0.7}, seeds=(0, 1, 2), core_seconds=10.0)
    return one, write_cv(tmp_path / "other", {"time": 0.9}, recipe="cbmi2016", seed=1)


def compare(cv_dirs, *, left_out=None, against=(), speeds=()):
    entries = entries_of(scored(load_all(cv_dirs), left_out))
    names = check_against(entries, against)
    return compare_entries(entries, against=names, left_out=left_out, speeds=dict(speeds), command="the command")


def test_it_is_plain_json(cv_dirs):
    found = compare(cv_dirs, speeds={"time, modern": [7.5, 1.0, 9.0]})
    assert json.loads(json.dumps(found)) == found
    assert list(found["entries"]) == ["time, modern", "black_box, modern", "time, cbmi2016"]
    first, second, third = found["entries"].values()
    assert first["core_seconds"] == {"mean": 10.0, "measured": 6, "trainings": 6}
    assert third["core_seconds"] == {"mean": None, "measured": 0, "trainings": 2}
    assert (first["predictions_per_s"], second["predictions_per_s"]) == (
        {"median": 7.5, "rounds": [7.5, 1.0, 9.0]},
        None,
    )
    assert (second["model"], second["recipe"], second["flags"], second["seeds"]) == (
        "black_box",
        "modern",
        "",
        [0, 1, 2],
    )
    assert (second["parameters"], third["parameters"]) == (9000, 4000)


def test_scores_are_of_the_mean_over_each_ones_own_seeds(cv_dirs):
    found = compare(cv_dirs)["entries"]
    pooled = [PooledPredictions.load(cv_dir / "predictions.npz") for cv_dir in cv_dirs]
    for entry, own, number in zip(found.values(), (pooled[0], pooled[0], pooled[1]), (0, 1, 0), strict=True):
        right = own.over_seeds[number].argmax(axis=1) == own.labels
        assert entry["track_accuracy"] == pytest.approx(right.mean())
        drawn = intervals.bootstrap(right[np.newaxis], own.group_numbers)
        assert entry["interval"] == pytest.approx(intervals.interval(drawn[:, 0]))
        each = (own.probabilities[number].argmax(axis=2) == own.labels).mean(axis=1)
        assert entry["over_seeds"]["each"] == pytest.approx(list(each))
        assert entry["over_seeds"]["mean"] == pytest.approx(each.mean())
    assert found["time, modern"]["over_seeds"]["std"] == pytest.approx(np.std(each_of(pooled[0], 0), ddof=1))
    assert found["time, cbmi2016"]["over_seeds"]["std"] is None


def each_of(pooled, number):
    return (pooled.probabilities[number].argmax(axis=2) == pooled.labels).mean(axis=1)


def test_how_many_tracks_are_not_scored_is_told_once(cv_dirs):
    path = cv_dirs[0] / "results.json"
    results = json.loads(path.read_text())
    results["warnings"] = ["no artists were given", f"{WITHOUT_PATCH}: 1"]
    path.write_text(json.dumps(results))
    assert compare(cv_dirs)["warnings"] == ["no artists were given"]


def test_training_is_told_also_of_results_that_are_older_than_its_choices(cv_dirs):
    path = cv_dirs[0] / "results.json"
    results = json.loads(path.read_text())
    results["training"] |= {"model_options": {"filters": 4}, "precision": "bfloat16"}
    path.write_text(json.dumps(results))
    first, *_, last = (entry["training"] for entry in compare(cv_dirs)["entries"].values())
    assert (first["model_options"], first["precision"]) == ({"filters": 4}, "bfloat16")
    assert (last["model_options"], last["precision"]) == ({}, "float32")


def test_a_difference_by_hand(tmp_path, write_cv):
    # Two groups of four tracks; one is right on 3 + 1 of them, the other on 1 + 0: of the draws, a quarter are the
    # first group twice (2 of 4), a quarter the second twice (1 of 4), the rest both (3 of 8).
    tracks = {f"{label}/{number}": (label, "xy"[number // 2]) for number in range(4) for label in range(2)}
    one, other = (write_cv(tmp_path / name, {name: 0}, tracks=tracks) for name in ("time", "frequency"))
    for cv_dir, right in ((one, [1, 1, 1, 0, 1, 0, 0, 0]), (other, [1, 0, 0, 0, 0, 0, 0, 0])):
        pooled = PooledPredictions.load(cv_dir / "predictions.npz")
        given = np.where(np.array(right), pooled.labels, 1 - pooled.labels)
        probabilities = np.eye(2, dtype=np.float32)[given][np.newaxis, np.newaxis]
        dataclasses.replace(pooled, probabilities=probabilities).save(cv_dir / "predictions.npz")
    found = compare([one, other], against=["frequency"])
    assert [entry["track_accuracy"] for entry in found["entries"].values()] == [0.5, 0.125]
    assert found["comparisons"] == [
        {"one": "time", "other": "frequency", "difference": 0.375, "interval": [0.25, 0.5]},
    ]


def test_every_entry_is_compared_with_each_that_was_asked_for(cv_dirs):
    found = compare(cv_dirs, against=["time, cbmi2016", "time, modern", "time, cbmi2016"])
    assert [(pair["one"], pair["other"]) for pair in found["comparisons"]] == [
        ("time, modern", "time, cbmi2016"),
        ("black_box, modern", "time, cbmi2016"),
        ("black_box, modern", "time, modern"),
        ("time, cbmi2016", "time, modern"),
    ]
    for pair in found["comparisons"]:
        one, other = (found["entries"][pair[side]]["track_accuracy"] for side in ("one", "other"))
        assert pair["difference"] == pytest.approx(one - other)
    by_default = compare(cv_dirs)["comparisons"]
    assert [(pair["one"], pair["other"]) for pair in by_default] == [
        ("black_box, modern", "time, modern"),
        ("time, cbmi2016", "time, modern"),
    ]
    assert by_default[0] == found["comparisons"][2]


def test_the_same_predictions_differ_by_nothing(tmp_path, write_cv):
    cv_dirs = [write_cv(tmp_path / name, {"time": 0.6}, recipe=name) for name in ("modern", "cbmi2016")]
    (pair,) = compare(cv_dirs)["comparisons"]
    assert (pair["difference"], pair["interval"]) == (0, [0, 0])


def test_an_entry_that_is_not_there(cv_dirs):
    message = r"^`against` must be one of 'time, modern'; 'black_box, modern'; 'time, cbmi2016'; got 'time'$"
    with pytest.raises(UserError, match=message):
        compare(cv_dirs, against=["time"])


def test_data_tell_what_is_scored(cv_dirs):
    track_ids = PooledPredictions.load(cv_dirs[0] / "predictions.npz").track_ids
    data = compare(cv_dirs, left_out=ExcludedTracks(frozenset(track_ids[:5]), "a" * 64))["data"]
    assert (data["tracks"], data["groups"], data["folds"]) == (11, 3, 2)
    assert data["tracks_per_label"] == {"blues": 5, "rock": 6}
    assert data["chance"] == pytest.approx(6 / 11)
    assert data["left_out"] == {"tracks": 5, "sha256": "a" * 64}
    assert data["tracks_without_patch"] == 0
    path = cv_dirs[1] / "predictions.npz"
    pooled = PooledPredictions.load(path)
    pooled.only(track_ids[3:13]).save(path)
    data = compare(cv_dirs, left_out=ExcludedTracks(frozenset(track_ids[:5]), "a" * 64))["data"]
    assert (data["tracks"], data["tracks_without_patch"]) == (8, 3)
    assert compare(cv_dirs)["data"]["left_out"] is None


@pytest.fixture
def finished(tmp_path, write_cv):
    return load_all([write_cv(tmp_path / name, {"time": 0.5}) for name in ("one", "other")])


def excluded(*track_ids):
    return ExcludedTracks(frozenset(track_ids), "0" * 64)


def test_a_list_is_a_track_id_a_line(tmp_path):
    # As some editors begin a file.
    data = b"\xef\xbb\xbf" + "b é/1\n\na 2\r\na 2\n".encode() + b"\xff"
    (tmp_path / "list.txt").write_bytes(data)
    found = ExcludedTracks.read(tmp_path / "list.txt")
    assert found.track_ids == {"b é/1", "a 2", "\udcff"}
    assert found.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_list_is_refused(tmp_path, text):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(
        UserError, match=r"^`leave_out=.*list.txt` must name tracks by their track_id, .*; it is empty$"
    ):
        ExcludedTracks.read(tmp_path / "list.txt")
    with pytest.raises(UserError, match=r"^`leave_out=.*` cannot be read: Is a directory$"):
        ExcludedTracks.read(tmp_path)


def test_what_is_left_is_the_same_for_all(finished):
    names = finished[0].pooled.track_ids
    for each in scored(finished, excluded(names[3], names[0])):
        assert each.pooled.track_ids == (*names[1:3], *names[4:])
        assert each.pooled.probabilities.shape == (1, 1, len(names) - 2, 2)
    assert scored(finished, None)[0].pooled.track_ids == names


def test_a_track_that_is_not_there_is_refused(finished):
    name = finished[0].pooled.track_ids[0]
    message = r"^`leave_out` must name tracks that give a patch; 2 of 3 are not among those predicted, the first 'x/1'$"
    with pytest.raises(UserError, match=message):
        scored(finished, excluded("x/2", name, "x/1"))


def test_groups_that_are_torn_are_found(finished):
    # Two labels' tracks 0 and 1 are by artist 0, and so on.
    assert leaking_groups(finished, excluded("0/0", "1/0", "0/1", "1/1")) == []
    assert leaking_groups(finished, excluded("0/0", "1/5", "0/5", "1/4", "0/4")) == ["artist 0"]
    # A track that one of them has no patch of is not scored.
    one, other = finished
    shorter = other.pooled.only([name for name in other.pooled.track_ids if name not in ("1/0", "0/1", "1/1")])
    assert leaking_groups([one, dataclasses.replace(other, pooled=shorter)], excluded("0/0")) == []


def test_one_must_be_left(finished):
    with pytest.raises(UserError, match=r"^no track is left to score: 16 left out, 16 in all$"):
        scored(finished, excluded(*finished[0].pooled.track_ids))


def test_a_device_in_place_of_a_list_is_refused():
    with pytest.raises(UserError, match=r"^`leave_out=/dev/null` cannot be read: not a regular file$"):
        ExcludedTracks.read(Path("/dev/null"))
