import pytest

from tools import kill_and_resume


def test_only_shards_with_a_result_count_as_finished(output):
    found = kill_and_resume.finished_shards(output)
    assert list(found) == ["set-fold_0.tfrecord-00000-of-00002"]
    (output / "set-fold_0.tfrecord-00000-of-00002").unlink()
    assert kill_and_resume.finished_shards(output) == {"set-fold_0.tfrecord-00000-of-00002": None}


def test_a_shard_written_again_is_seen(output):
    before = kill_and_resume.finished_shards(output)
    shard = output / "set-fold_0.tfrecord-00000-of-00002"
    (output / "new").write_bytes(shard.read_bytes())
    (output / "new").replace(shard)
    assert kill_and_resume.finished_shards(output) != before


@pytest.mark.slow
def test_killed_jobs_give_what_an_unbroken_one_gives(tmp_path, capsys):
    values = kill_and_resume.FLAGS
    values(["", f"--work_dir={tmp_path}", "--clips=60", "--seconds=20", "--kills=3", "--num_shards=8"])
    assert kill_and_resume.main(values, []) == 0
    printed = capsys.readouterr().out
    assert printed.count("again: identical") == 3
    assert "3 of 3 killed jobs" in printed
