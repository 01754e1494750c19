from benchmarks import mfcc_svm


def test_labels_that_sound_different_and_a_cross_validation(run, write_dataset, write_cv, tmp_path):
    # Labels are loud in bands of their own.
    folds = {"parts": ("fold_0", "fold_1"), "labels": ("blues", "rock"), "tracks_per_label": 6, "segments": 2}
    data = write_dataset(tmp_path / "data", **folds)
    tracks = {one.track_id: (one.label, one.group) for records in data.records.values() for one in records}
    cv = write_cv(tmp_path / "cv", {"time": 0.5, "cnn": 1.0}, tracks=tracks)
    (tmp_path / "list.txt").write_text(f"{next(iter(tracks))}\n")
    flags = (f"--data_dir={data.path}", f"--job_dirs={cv}", f"--leave_out={tmp_path / 'list.txt'}")
    head, _, time, cnn = run(mfcc_svm, *flags).splitlines()
    assert head.startswith("MFCCs, SVM: 100.0 % of 23 tracks by 23 artists or other groups")
    assert cnn.split() == ["cnn", "+0.0", "+0.0", "to", "+0.0", "no"]
    name, difference, low, _, high, excludes = time.split()
    assert name == "time" and float(low) < float(difference) < float(high) < 0 and excludes == "yes"
