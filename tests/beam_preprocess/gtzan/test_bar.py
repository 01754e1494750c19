import io

from beam_preprocess.gtzan import download


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line():
    shown = download.ProgressBar("a.tar.gz", 200_000_000, 1_200_000_000, io.StringIO())
    line = shown.line(600_000_000, shown._began + 10)
    assert line == f"a.tar.gz: [{'#' * 15}{'.' * 15}] 600 of 1,200 MB, 40.0 MB/s, 15 s left"
    assert download.ProgressBar("a", 0, None, io.StringIO()).line(5_000_000, 1e9).startswith("a: 5 MB, ")


def test_a_terminal_gets_one_line_and_a_log_few(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(download.time, "monotonic", lambda: next(clock))
    terminal, log = Terminal(), io.StringIO()
    for stream in (terminal, log):
        with download.ProgressBar("a", 0, 100, stream) as shown:
            for there in range(25):
                shown.show(there)
    assert terminal.getvalue().count("\r\x1b[K") == 26 and "\n" not in terminal.getvalue()
    assert log.getvalue().count("\n") == 2 and "\r" not in log.getvalue()
