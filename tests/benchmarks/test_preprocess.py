from pathlib import Path

import pytest

from benchmarks import preprocess
from benchmarks.preprocess import Command, Times
from tfrecords.command_line import UserError


def test_start_up_is_apart_from_the_time_of_a_clip():
    # 5 s, and 0.1 s a clip; the processors 3 s, and 0.15 s.
    times = Times(all_s=15.0, few_s=7.0, processor_all_s=18.0, processor_few_s=6.0)
    assert times.clip_ms(100) == pytest.approx(100)
    assert times.processor_clip_ms(100) == pytest.approx(150)
    assert times.startup_s(100) == pytest.approx(5)


def test_the_report_compares_with_the_job_and_with_the_checkout_before():
    def arguments(clips):
        return []

    commands = {
        "job": Command(arguments),
        "job, before": Command(arguments, Path("tree"), "job"),
        "loop": Command(arguments),
    }
    median = {
        "job": Times(15.0, 7.0, 18.0, 6.0),
        "job, before": Times(30.0, 14.0, 36.0, 12.0),
        "loop": Times(60.0, 12.0, 60.0, 12.0),
    }
    _, job, before, loop, last = preprocess.report(median, commands, 100).splitlines()
    assert job.split()[-2:] == ["1.00", "1.00"]
    assert before.split()[-2:] == ["0.50", "0.50"]
    assert loop.split()[-2:] == ["0.25", "0.25"]
    assert last == "job: after / before = 0.50 by time, 0.50 by processor time a clip"


def test_what_is_no_checkout(tmp_path):
    values = preprocess.FLAGS
    values(["", f"--before={tmp_path}"])
    try:
        with pytest.raises(UserError, match="is no checkout"):
            preprocess.main(values, [])
    finally:
        values["before"].unparse()


@pytest.mark.slow
def test_it_prints_its_ratios(tmp_path, capsys):
    values = preprocess.FLAGS
    values(["", f"--work_dir={tmp_path}", "--clips=40", "--seconds=5", "--rounds=1", "--mp3"])
    preprocess.main(values, [])
    printed = capsys.readouterr().out
    assert "40 MP3 clips of 5 s" in printed
    assert "librosa pool" in printed
