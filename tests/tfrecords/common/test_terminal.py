import io
import os
import pty
import termios

from tfrecords.common.terminal import (
    TerminalLine,
    align_columns,
    first_few,
    log,
    name_flags,
    naming_flags,
    printable,
    shorten,
)


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


def test_values_are_part_of_a_flag():
    with naming_flags(["augment", "output"]):
        assert name_flags("`augment=gain_db=6,time_masks=2` and `output=/tmp/it`s here` exclude each other") == (
            "--augment=gain_db=6,time_masks=2 and --output=/tmp/it`s here exclude each other"
        )


def test_without_a_command_a_field_stays_a_field(capsys):
    with naming_flags(["epochs"]), naming_flags(["folds"]):
        log("more `folds`, not more `epochs`")
    log("more `folds`, not more `epochs`")
    assert capsys.readouterr().err == "more --folds, not more `epochs`\nmore `folds`, not more `epochs`\n"


def test_printable_and_shorten():
    assert printable("Björk — <ü>") == "Björk — <ü>"
    assert printable("a\udcffb\0\n\u202e") == r"a\udcffb\x00\n\u202e"
    assert shorten("short", 5) == "short"
    assert shorten("blues/blues.00012.wav", 11) == "blues…2.wav"
    assert all(len(shorten("x" * 50, characters)) == characters for characters in (1, 2, 3, 10))
