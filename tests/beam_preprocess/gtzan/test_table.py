import csv
import errno
import os

import pytest

from beam_preprocess.gtzan.facts import table, write_table
from beam_preprocess.inputs.tracks import list_tracks
from tfrecords.common.command_line import UserError

FILES = {
    "rock.00016": "rock/rock.00016.wav",
    "metal.00058": "metal/metal.00058.wav",
    "jazz.00054": "jazz/jazz.00054.wav",
    "pop.00083": "pop/pop.00083.wav",
}


def test_a_row_for_each_clip():
    rows = list(csv.DictReader(table(FILES).splitlines()))
    assert list(rows[0]) == ["path", "genre", "artist", "title", "group"]
    assert [row["path"] for row in rows] == [FILES[clip] for clip in sorted(FILES)]
    by_path = {row["path"]: row for row in rows}
    queen = {"genre": "metal", "artist": "Queen", "title": "Tie Your Mother Down", "group": "Queen"}
    assert by_path["metal/metal.00058.wav"].items() >= queen.items()
    assert by_path["jazz/jazz.00054.wav"]["artist"] == by_path["jazz/jazz.00054.wav"]["group"] == ""


def test_the_job_reads_it_artist_safe_without_a_flag(tmp_path):
    tracks = {track.track_id: track for track in list_tracks(str(write_table(tmp_path, FILES)))}
    assert tracks["metal/metal.00058.wav"].group == tracks["rock/rock.00016.wav"].group == "Queen"
    assert tracks["jazz/jazz.00054.wav"].group == "jazz/jazz.00054.wav"
    assert tracks["rock/rock.00016.wav"].label == "rock"


def test_it_is_written_once(tmp_path):
    path = write_table(tmp_path, FILES)
    before = path.stat().st_mtime_ns
    assert write_table(tmp_path, FILES) == path
    assert path.stat().st_mtime_ns == before
    path.write_text("half")
    write_table(tmp_path, FILES)
    assert path.read_text("utf-8") == table(FILES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tracks.csv"]


def test_it_has_its_name_when_it_is_on_the_disk(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"tracks\.csv cannot be written: No space left on device$"):
        write_table(tmp_path, FILES)
    assert list(tmp_path.iterdir()) == []


def test_it_cannot_be_written(tmp_path):
    (tmp_path / "tracks.csv").mkdir()
    with pytest.raises(UserError, match=r"tracks\.csv cannot be written: "):
        write_table(tmp_path, FILES)
