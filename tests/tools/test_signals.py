import signal

import pytest

from tools import signals


def test_what_a_command_may_end_with():
    assert signals.complaints("predict", signal.SIGINT, 130, "interrupted\n") == []
    assert signals.complaints("predict", signal.SIGTERM, 0, "") == []
    assert signals.complaints("train", signal.SIGTERM, 75, "stopped\n") == []
    for name, number, status in (
        ("predict", signal.SIGTERM, 75),
        ("train", signal.SIGINT, 75),
        ("train", signal.SIGTERM, 130),
        ("export", signal.SIGINT, -signal.SIGABRT),
    ):
        assert signals.complaints(name, number, status, "why\n") == [f"status {status}: why"]
    (told,) = signals.complaints("export", signal.SIGINT, 130, "Traceback (most recent call last):\n")
    assert told.startswith("says 'Traceback'")


def test_temporary_names_are_found(tmp_path):
    kept = ["best.keras", ".partial/job.json", "tmp-file", "a.partial"]
    half = [".tmp-best.keras", ".old-model/file", ".partial/shard.0123.tmp", ".blues.00000.wav.partial"]
    for name in (*kept, *half):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = {".tmp-best.keras", ".old-model", ".partial/shard.0123.tmp", ".blues.00000.wav.partial"}
    assert set(signals.left_behind(tmp_path)) == {f"{tmp_path / name}: left behind" for name in expected}


@pytest.mark.slow
def test_every_command_minds_signals(tmp_path, capsys):
    values = signals.FLAGS
    values(["", f"--work_dir={tmp_path}", "--signals=4"])
    assert signals.main(values, []) == 0
    printed = capsys.readouterr().out
    assert printed.count("4 signals within") == len(signals.COMMANDS)
