import copy
import csv

import pytest

from beam_preprocess.inputs.tracks import list_tracks
from tfrecords.common.command_line import UserError
from trainer import label_errors
from trainer.evaluation.pooling import PooledPredictions


def main(*arguments):
    values = copy.deepcopy(label_errors.FLAGS)
    label_errors.main(values, values(["label_errors", *map(str, arguments)])[1:])


@pytest.fixture
def cv_dir(tmp_path, write_cv):
    return write_cv(tmp_path / "CV", {"time": 0.5, "cnn": 0.8})


def table(cv_dir):
    with (cv_dir / "tracks.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_tracks_are_in_the_csv_suspects_first(cv_dir, capsys, parse_page):
    main(f"--job_dir={cv_dir}")
    rows = table(cv_dir)
    suspects = [row for row in rows if row["suspect"] == "yes"]
    assert len(rows) == 16 and rows[: len(suspects)] == suspects and 0 < len(suspects) < 16
    for row in rows:
        assert row["genre"] == ("blues" if row["path"].startswith("0") else "rock")
        assert (row["suggested"] != "") == (row["suspect"] == "yes") and row["suggested"] != row["genre"]
    said = capsys.readouterr().out
    assert said.startswith(f"{len(suspects)} label") and "by cnn" in said
    page = parse_page((cv_dir / "label_errors.html").read_text())
    assert all(row["path"] in page.text for row in suspects) and len(page.all("a")) == 0


def test_the_csv_goes_into_the_preprocessing_job(cv_dir, tmp_path):
    audio = tmp_path / "audio"
    for track_id in PooledPredictions.load(cv_dir / "predictions.npz").track_ids:
        (audio / track_id).parent.mkdir(parents=True, exist_ok=True)
        (audio / track_id).touch()
    main(f"--job_dir={cv_dir}", f"--audio_dir={audio}", f"--output_dir={tmp_path / 'out'}")
    listed = list_tracks(str(tmp_path / "out" / "tracks.csv"))
    assert {(track.uri, track.label, track.group) for track in listed} == {
        (row["path"], row["genre"], row["group"]) for row in table(tmp_path / "out")
    }
    assert len(listed) == 16 and all(track.uri.startswith(str(audio)) for track in listed)
    assert "file://" in (tmp_path / "out" / "label_errors.html").read_text()


def test_another_model_and_one_that_is_not_there(cv_dir, capsys):
    main(f"--job_dir={cv_dir}", "--model=time")
    assert "by time" in capsys.readouterr().out
    with pytest.raises(UserError, match="time, cnn"):
        main(f"--job_dir={cv_dir}", "--model=frequency")


def test_what_is_no_cross_validation_is_refused(tmp_path):
    with pytest.raises(UserError, match="no finished cross-validation"):
        main(f"--job_dir={tmp_path}")
