import pytest

from tools import signals


@pytest.mark.slow
def test_every_command_minds_signals(tmp_path, run):
    status, printed = run(signals, f"--work_dir={tmp_path}", "--signals=1")
    assert status == 0, printed
    assert printed.count("1 signals within") == len(signals.COMMANDS)
