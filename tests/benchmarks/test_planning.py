import csv
import json
from collections import Counter

import pytest

from benchmarks import planning
from tfrecords.command_line import UserError


def test_the_list_is_always_the_same_and_artists_are_unequal(tmp_path):
    text = planning.write_csv(tmp_path / "deep" / "one.csv", 1000).read_text()
    assert planning.write_csv(tmp_path / "two.csv", 1000).read_text() == text
    rows = list(csv.DictReader(text.splitlines()))
    assert len({row["path"] for row in rows}) == len(rows) == 1000
    artists = Counter(row["artist"] for row in rows)
    assert len(artists) > 50
    assert max(artists.values()) > 50
    assert len({(row["artist"], row["genre"]) for row in rows}) > len(artists)


def test_a_line_for_each_size(tmp_path, capsys):
    values = planning.FLAGS
    values(["", f"--work_dir={tmp_path}", "--tracks=200,2000"])
    planning.main(values, [])
    header, small, large = capsys.readouterr().out.splitlines()
    assert header.split() == " ".join(planning._HEADER).split()
    assert (small.split()[0], large.split()[0]) == ("200", "2,000")
    assert int(large.split()[1]) > 5 * int(small.split()[1]) > 0
    assert " x " in large
    assert " x " not in small
    assert not (tmp_path / "planned_200" / "manifest.json").exists()


def test_memory_is_that_of_the_process(capsys, tmp_path):
    source = planning.write_csv(tmp_path / "tracks.csv", 200)
    planning.measure(str(source), str(tmp_path / "out"))
    found = json.loads(capsys.readouterr().out)
    assert 0 <= found["own_bytes"] < found["peak_bytes"] == pytest.approx(planning.peak_bytes(), rel=0.1)
    assert found["plan_bytes"] == (tmp_path / "out" / ".partial" / "plan.jsonl").stat().st_size


@pytest.mark.parametrize("tracks", ["many", "-5", "199", "", "1000,many"])
def test_numbers_that_cannot_be(tmp_path, tracks):
    values = planning.FLAGS
    values(["", f"--work_dir={tmp_path}", f"--tracks={tracks}"])
    with pytest.raises(UserError, match="--tracks must be numbers of at least 200"):
        planning.main(values, [])
