import numpy as np
import pytest

from benchmarks import mfcc_svm
from tfrecords.command_line import UserError


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_dataset):
    """Folds whose labels are loud in bands of their own."""
    path = tmp_path_factory.mktemp("mfcc") / "data"
    return write_dataset(path, parts=("fold_0", "fold_1"), labels=("blues", "rock"), tracks_per_label=6, segments=2)


@pytest.fixture
def lines(capsys):
    def run(*arguments):
        values = mfcc_svm.FLAGS
        values.unparse_flags()
        values(["", *map(str, arguments)])
        mfcc_svm.main(values, [])
        return capsys.readouterr().out.splitlines()

    return run


def tracks_of(data):
    return {record.track_id: record for records in data.records.values() for record in records}


def test_it_tells_labels_that_sound_different_and_scores_no_track_that_is_left_out(data, lines, tmp_path):
    assert lines(f"--data_dir={data.path}") == [
        "MFCCs, SVM: 100.0 % of 24 tracks by 24 artists or other groups, 95 % interval 100.0 to 100.0 %"
    ]
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in list(tracks_of(data))[:5]))
    (line,) = lines(f"--data_dir={data.path}", f"--leave_out={tmp_path / 'list.txt'}")
    assert "of 19 tracks by 19 artists" in line


def test_a_fold_is_classified_without_its_own_labels():
    rng = np.random.default_rng(0)
    labels, folds = np.tile([0, 1], 20), np.repeat([0, 1], 20)
    features = rng.standard_normal((40, 3)) + 4 * labels[:, np.newaxis]
    assert np.array_equal(mfcc_svm.predicted(features, labels, folds), labels)
    # With the first fold's labels the other way round, what is fitted to it is wrong of the second, and back.
    turned = np.where(folds == 0, 1 - labels, labels)
    assert np.array_equal(mfcc_svm.predicted(features, turned, folds), 1 - turned)


def test_the_differences_of_cross_validations_are_of_the_same_tracks(data, lines, write_cv, tmp_path):
    tracks = {name: (record.label, record.group) for name, record in tracks_of(data).items()}
    cv = write_cv(tmp_path / "cv", {"time": 0.5, "cnn": 1.0}, tracks=dict(list(tracks.items())[:20]))
    head, _, time, cnn = lines(f"--data_dir={data.path}", f"--job_dirs={cv}")
    assert "100.0 % of 20 tracks" in head
    assert cnn.split() == ["cnn", "+0.0", "+0.0", "to", "+0.0", "no"]
    name, difference, low, _, high, excludes = time.split()
    assert name == "time" and float(low) < float(difference) < float(high) < 0 and excludes == "yes"
    (tmp_path / "list.txt").write_text(f"{next(iter(tracks))}\n")
    head, *_ = lines(f"--data_dir={data.path}", f"--job_dirs={cv}", f"--leave_out={tmp_path / 'list.txt'}")
    assert "100.0 % of 19 tracks" in head


def test_what_it_cannot_score_is_told(data, lines, write_cv, write_dataset, tmp_path):
    (tmp_path / "list.txt").write_text("nowhere.wav\n")
    with pytest.raises(UserError, match=r"^--leave_out names 'nowhere.wav', which is not in --data_dir$"):
        lines(f"--data_dir={data.path}", f"--leave_out={tmp_path / 'list.txt'}")
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in tracks_of(data)))
    with pytest.raises(UserError, match="none is left to score"):
        lines(f"--data_dir={data.path}", f"--leave_out={tmp_path / 'list.txt'}")
    other = write_dataset(tmp_path / "other", parts=("fold_0", "fold_1"), fingerprint="e" * 64)
    with pytest.raises(UserError, match="of another dataset"):
        lines(f"--data_dir={other.path}", f"--job_dirs={write_cv(tmp_path / 'cv', {'time': 0.5})}")
    with pytest.raises(UserError, match="--data_dir=OUT is needed"):
        lines()
