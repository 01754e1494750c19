import io
import os
import pty
import termios

from tfrecords.common.terminal import TerminalLine, align_columns, first_few, printable, shorten


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_is_drawn_over_and_cleared():
    line = TerminalLine(terminal := Terminal())
    line.show("one")
    line.show("two")
    line.clear()
    assert terminal.getvalue() == "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[K"


def test_nothing_is_drawn_in_a_log():
    line = TerminalLine(log := io.StringIO())
    line.show("one")
    line.clear()
    assert not line.drawn and log.getvalue() == ""


def test_a_line_is_cut_where_the_terminal_ends(monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    TerminalLine(terminal := Terminal()).show("0123456789")
    assert terminal.getvalue() == "\r\x1b[K012345678"


def test_the_width_is_that_of_the_stream(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 30))
    with os.fdopen(theirs, "w") as stream:
        TerminalLine(stream).show("x" * 50)
        assert os.read(ours, 100).decode() == "\r\x1b[K" + "x" * 29
    os.close(ours)


def test_columns_are_aligned():
    assert align_columns([["a", "bb"], ["ccc", "d"]]) == "a    bb\nccc   d"
    assert align_columns([["left", ""], ["x", ""]]) == "left\nx"


def test_the_first_few_of_many():
    assert first_few(["a", "b", "c"]) == "a, b, c"
    assert first_few(["a", "b", "c", "d"], "; ", shown=2) == "a; b; and 2 more"


def test_printable_and_shorten():
    assert printable("Björk — <ü>") == "Björk — <ü>"
    assert printable("a\udcffb\0\n\u202e") == r"a\udcffb\x00\n\u202e"
    assert shorten("short", 5) == "short"
    assert shorten("blues/blues.00012.wav", 11) == "blues…2.wav"
    assert all(len(shorten("x" * 50, characters)) == characters for characters in (1, 2, 3, 10))
