import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import log

ROOT = Path(__file__).parents[3]


def make_flags():
    values = flags.FlagValues()
    flags.DEFINE_integer("count", 3, "how many", flag_values=values)
    flags.DEFINE_string("name", None, "what it is called", flag_values=values)
    return values


def run(main, *arguments, **options):
    """Exit status of a command."""
    with pytest.raises(SystemExit) as stop:
        command_line.run(main, make_flags(), usage="A command.", argv=["program", *arguments], **options)
    return stop.value.code


def run_program(code, **options):
    options = {"capture_output": True, "text": True, "check": False} | options
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, **options)


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_the_status_is_what_main_returns(returned, status):
    assert run(lambda values, positional: returned) == status


def test_flags_and_positional_arguments_in_any_order():
    seen = []
    run(lambda values, positional: seen.append((values.count, positional)), "one", "--count=5", "two")
    run(lambda values, positional: seen.append((values.count, positional)))
    assert seen == [(5, ["one", "two"]), (3, [])]


def test_unknown_flags_pass_through_where_that_is_wanted():
    seen = []
    assert run(lambda *call: seen.append(call[1]), "--runner=X", "a", "--count=1", pass_through=True) == 0
    assert sorted(seen[0]) == ["--runner=X", "a"]


@pytest.mark.parametrize("argument", ["--cout=5", "--count=many", "--count"])
def test_a_mistaken_flag_is_one_line_and_status_2(capsys, argument):
    assert run(lambda *call: None, argument) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ") and len(said.err.splitlines()) == 1


def test_a_user_error_is_one_line_and_status_2(capsys):
    def main(values, positional):
        raise UserError("no such directory: x")

    assert run(main) == 2
    assert capsys.readouterr().err == "error: no such directory: x\n"


def test_fields_are_printed_as_the_flags_of_the_command_and_what_is_none_stays(capsys):
    def main(values, positional):
        log("`count` is low")
        raise UserError("`count` must be at least 1, got 0; take `name=a b`, or fewer `counts`")

    assert run(main) == 2
    expected = "--count is low\nerror: --count must be at least 1, got 0; take --name=a b, or fewer `counts`\n"
    assert capsys.readouterr().err == expected


def test_a_fault_of_the_program_is_not_hidden():
    def main(values, positional):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        command_line.run(main, make_flags(), usage="", argv=["program"])


def test_a_file_that_the_system_refuses_is_one_line_and_status_2(capsys, tmp_path):
    assert run(lambda *call: (tmp_path / "no" / "file").write_text("text")) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/no/file: No such file or directory\n"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "empty").mkdir()
    assert run(lambda *call: (tmp_path / "empty").rename(tmp_path / "full")) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/empty -> {tmp_path}/full: Directory not empty\n"


@pytest.mark.parametrize("argument", ["--help", "-h", "--helpfull"])
def test_help_names_the_flags_and_their_defaults(capsys, argument):
    assert run(lambda *call: 1, "--count=many", argument) == 0
    said = capsys.readouterr().out
    assert said.startswith("A command.\n")
    for words in ("--count\n      how many (default: ", "--name\n      what it is called\n"):
        assert words in said + "\n"


def test_left_over_words_are_refused():
    command_line.no_arguments([])
    with pytest.raises(UserError, match="unexpected argument 'epochs'"):
        command_line.no_arguments(["epochs", "5"])


PROGRAM = """
import sys
from absl import flags
from tfrecords.common import command_line
command_line.run(lambda *call: {body}, flags.FlagValues(), usage="", argv=["program"])
"""


def test_names_that_the_terminal_cannot_show_are_escaped():
    done = run_program(PROGRAM.format(body=r"print('Bj\u00f6rk \u266b \udcff')"), env=os.environ | {"PYTHONUTF8": "1"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "Björk ♫ \\udcff\n", "")
    done = run_program(
        PROGRAM.format(body=r"print('Bj\u00f6rk \u266b')"), env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert (done.returncode, done.stdout) == (0, "Bj\\xf6rk \\u266b\n")


def run_for_no_reader(code):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return run_program(
            code,
            capture_output=False,
            stdout=writer,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": ""},  # A short output then leaves only at the very end.
        )
    finally:
        os.close(writer)


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_goes_away_is_no_error(lines):
    done = run_for_no_reader(PROGRAM.format(body=f"print('line\\n' * {lines})"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_of_the_help_that_goes_away_is_no_error(lines):
    program = PROGRAM.replace('usage=""', f"usage='line\\n' * {lines}").replace('"program"', '"program", "--help"')
    done = run_for_no_reader(program.format(body="1"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("lines", [1, 100_000])
def test_an_output_on_a_full_disk_is_one_line(lines):
    with Path("/dev/full").open("w") as full:
        done = run_program(
            PROGRAM.format(body=f"print('line\\n' * {lines})"),
            capture_output=False,
            stdout=full,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": ""},
        )
    assert done.returncode == 2
    assert re.fullmatch("error: (standard output: )?No space left on device\n", done.stderr)


def test_a_mistake_is_told_once_where_the_output_has_no_reader():
    program = PROGRAM.replace("main = ", "").format(body="print('line') or command_line.no_arguments(['word'])")
    done = run_for_no_reader(program)
    assert done.returncode == 2
    assert done.stderr.startswith("error: unexpected argument 'word'") and len(done.stderr.splitlines()) == 1


def test_tensorflow_is_imported_without_its_chatter():
    code = (
        "from tfrecords.common.command_line import import_tensorflow; import sys, os; import_tensorflow(); "
        "os.write(2, b'heard\\n'); print('tensorflow' in sys.modules); "
        # What nobody needs takes no time, and can be imported by those who do.
        "print({'jax', 'matplotlib', 'sklearn'} & sys.modules.keys()); import matplotlib.pyplot, sklearn, gc; "
        "print(gc.isenabled(), gc.get_freeze_count() > len(gc.get_objects()))"
    )
    done = run_program(code, env=quiet())
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\nset()\nTrue True\n", "heard\n")


IMPORT = """
import os, signal, subprocess, sys, threading
sys.path.insert(0, {path!r})
from tfrecords.common import command_line, shutdown
shutdown.install()
terminal = os.fstat(2)
{body}
assert os.path.samestat(os.fstat(2), terminal)
os.write(2, b"heard\\n")
"""
CHATTER = """
import os, signal, subprocess, sys, threading, time
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
os.write(2, b"I0000 00:00:1 2 port.cc:153] oneDNN custom operations are on.\\n")
os.write(2, b"E0000 00:00:1 2 port.cc:153] libfoo.so is missing\\n")
"""
ERROR = "E0000 00:00:1 2 port.cc:153] libfoo.so is missing\n"


def import_stub(tmp_path, more, body="command_line.import_tensorflow()", level="3"):
    (tmp_path / "tensorflow.py").write_text(CHATTER + more)
    code = IMPORT.format(path=str(tmp_path), body=body)
    return run_program(code, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": level})


def test_errors_come_through(tmp_path):
    assert import_stub(tmp_path, "").stderr == ERROR + "heard\n"


def test_who_asks_for_every_line_gets_it(tmp_path):
    assert len(import_stub(tmp_path, "", level="0").stderr.splitlines()) == 4


def test_what_a_failing_import_wrote_is_shown(tmp_path):
    done = import_stub(tmp_path, "raise ImportError('no')")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{ERROR}Traceback") and done.stderr.endswith("ImportError: no\n")


@pytest.mark.parametrize(
    ("end", "status", "last"),
    [
        ("os.abort()", -signal.SIGABRT, ""),
        ("os._exit(3)", 3, ""),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
        ("signal.raise_signal(signal.SIGTERM)", 143, "terminated\n"),
    ],
)
def test_what_was_written_before_a_sudden_end_is_shown(tmp_path, end, status, last):
    done = import_stub(tmp_path, f"os.write(2, b'no newline'); {end}")
    assert (done.returncode, done.stderr) == (status, f"{ERROR}no newline{last}")


def test_threads_that_import_at_once_leave_the_standard_error_as_it_was(tmp_path):
    body = (
        "threads = [threading.Thread(target=command_line.import_tensorflow) for _ in range(4)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()"
    )
    assert import_stub(tmp_path, "time.sleep(0.2)", body).stderr == ERROR + "heard\n"


def test_a_process_begun_in_the_meantime_is_heard_later_too(tmp_path):
    child = "import os; os.read(0, 1); os.write(2, b'child\\n')"
    begin = f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE)"
    body = (
        "command_line.import_tensorflow()\n"
        "child = sys.modules['tensorflow'].child\n"
        "child.communicate(b'x')\n"
        "assert child.returncode == 0"
    )
    assert sorted(import_stub(tmp_path, begin, body).stderr.splitlines()) == sorted([ERROR.rstrip(), "child", "heard"])


def quiet():
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="asked for on x86 alone")
@pytest.mark.parametrize(("asked", "expected"), [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")])
def test_tensorflow_finds_that_onednn_is_asked_for_unless_a_person_says_otherwise(tmp_path, asked, expected):
    (tmp_path / "tensorflow.py").write_text("import os; print(os.environ['TF_ENABLE_ONEDNN_OPTS']); os._exit(0)")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from tfrecords.common import command_line as c; "
    clean = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    done = run_program(code + "c.import_tensorflow()", env=clean | {"PYTHONUNBUFFERED": "1"} | asked)
    assert done.stdout == f"{expected}\n"


def test_commands_are_the_modules_that_run_as_programs(tmp_path):
    package = tmp_path / "music"
    for name, text in {
        "library.py": '"""Not a command."""\n',
        "play.py": '"""Play a song.\n\nMore."""\nif __name__ == "__main__":\n    pass\n',
        "lists/__main__.py": '"""Sort lists."""\nif __name__ == "__main__":\n    pass\n',
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    assert command_line.commands_of(package) == {"music.lists": "Sort lists.", "music.play": "Play a song."}
    assert command_line.list_commands(package).splitlines()[1].split()[:3] == ["python", "-m", "music.play"]
    assert "music.lists, music.play" in str(command_line.no_such_command("sing", package))
