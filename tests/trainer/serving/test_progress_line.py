import io

from trainer.serving.files import ProgressLine


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_on_a_terminal_for_a_long_list():
    terminal = Terminal()
    progress = ProgressLine(100, terminal)
    progress.add(30.0)
    progress.add(30.0)
    progress.clear()
    first, second, last = terminal.getvalue().split("\r\x1b[K")[1:]
    assert first.startswith("1 of 100 files")
    assert second.startswith("2 of 100 files")
    assert second.endswith(" times real time")
    assert last == ""


def test_nothing_for_a_short_list_or_in_a_log():
    for progress, stream in ((ProgressLine(10, t := Terminal()), t), (ProgressLine(100, s := io.StringIO()), s)):
        progress.add(30.0)
        progress.clear()
        assert stream.getvalue() == ""
