"""Run a command: its own absl flags, one clear line per error, exit status 2."""

import ast
import contextlib
import gc
import importlib.abc
import io
import logging
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from absl import flags

from tfrecords.common import shutdown, terminal

# Held while TensorFlow is imported.
_importing = threading.RLock()


class UserError(ValueError):
    """An error that the user can fix: the message says what is wrong, where, and what to do.

    It names fields in backticks, as `epochs`; `run` prints them as flags.

    Example:
      >>> str(UserError("`epochs` must be at least 1, got 0"))
      '`epochs` must be at least 1, got 0'
    """


def run(
    main: Callable[[flags.FlagValues, list[str]], int | None],
    flag_values: flags.FlagValues,
    *,
    usage: str,
    pass_through: bool = False,
    argv: Sequence[str] | None = None,
) -> None:
    """Parse the command line, call `main(flag_values, positional)` and exit with its status.

    SIGINT and SIGTERM end the process as `tfrecords.common.shutdown` describes.

    Args:
      main: returns the exit status (None: 0). A `UserError` or an OSError that it raises is printed as one line, with
        fields in backticks as this command's flags, and the status is 2.
      flag_values: this command's flags; not absl's global ones, so that commands can import each other.
      usage: text printed above the flags for --help.
      pass_through: leave unknown flags among the positional arguments instead of refusing them.
      argv: the command line with the program's name first; `sys.argv` by default.
    """
    shutdown.install()
    # TensorFlow's C++ log would bury the command's output; a value set by the user wins.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # File names may hold anything: what the terminal cannot show is escaped instead of raising an error.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    argv = list(sys.argv if argv is None else argv)
    with terminal.naming_flags(flag_values):
        try:
            if any(argument in ("--help", "-h", "--helpfull") for argument in argv[1:]):
                print(f"{usage.strip()}\n\n{_flags_help(flag_values)}")
                status = None
            else:
                flag_values.set_gnu_getopt(True)
                positional = flag_values(argv, known_only=pass_through)[1:]
                status = main(flag_values, positional)
            sys.stdout.flush()
        except (UserError, flags.Error) as error:
            message = terminal.name_flags(str(error))
            _flush_stdout()
        except BrokenPipeError:
            # The reader (head, less) has exited.
            _flush_stdout()
            sys.exit(0)
        except OSError as error:
            flush_error = _flush_stdout()
            message = f"standard output: {_describe(flush_error)}" if flush_error else _describe(error)
        else:
            sys.exit(status or 0)
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _flush_stdout() -> OSError | None:
    """Flush standard output; if that fails, discard the rest, so that the interpreter does not fail on it at exit."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


def _describe(error: OSError) -> str:
    """Return the file's name and the system's reason."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    reason = error.strerror or str(error) or type(error).__name__
    return f"{' -> '.join(names)}: {reason}" if names else reason


def import_tensorflow() -> None:
    """Import TensorFlow without the lines that its C++ side logs before its logging can be configured.

    Keras runs on it unless KERAS_BACKEND says otherwise, whatever Keras's own file of settings holds.
    """
    # By default TensorFlow uses oneDNN's convolutions only on CPUs with AVX512_VNNI or AMX; with AVX2 alone they halve
    # the time as well.
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # Keras imports these for what no command uses, and TensorFlow imports JAX: a third of the time.
    unused = {"matplotlib", "matplotlib.pyplot", "sklearn"}
    if os.environ.setdefault("KERAS_BACKEND", "tensorflow") == "tensorflow":
        unused.add("jax")
    with _importing:
        if "tensorflow" not in sys.modules:
            with hide_startup_lines(), _not_installed(unused), _never_collected():
                importlib.import_module("tensorflow")


@contextlib.contextmanager
def _not_installed(names: Collection[str]) -> Iterator[None]:
    """Fail the imports of these modules by this thread, unless they are imported already; not those by others."""
    own = threading.get_ident()

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, fullname: str, path: object, target: object = None) -> None:
            if fullname in names and threading.get_ident() == own:
                raise ModuleNotFoundError(f"{fullname} is not needed", name=fullname)

    finder = Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


@contextlib.contextmanager
def _never_collected() -> Iterator[None]:
    """Exempt what is imported, half a million objects, from garbage collection.

    A full collection of them takes a third of a second, in which a training gets no batch.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def commands_of(directory: Path) -> dict[str, str]:
    """Return the commands of a package, what follows `python -m` -> the first line of its docstring.

    Nothing is imported; a command is a module that runs as a program.

    Args:
      directory: the package's.
    """
    found = {}
    for path in sorted([*directory.glob("*.py"), *directory.glob("*/__main__.py")]):
        text = path.read_text("utf-8")
        if 'if __name__ == "__main__":' in text:
            parts = path.relative_to(directory.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__main__" else parts)
            found[name] = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return found


def list_commands(directory: Path) -> str:
    """Return the commands below a package, the package itself left out, as lines for --help."""
    commands = {f"python -m {name}": first for name, first in commands_of(directory).items() if "." in name}
    width = max(map(len, commands))
    return "\n".join(f"{command:{width}}  {meaning}" for command, meaning in commands.items())


def no_such_command(word: str, directory: Path) -> UserError:
    """Return the error for a word in the place of a command of a package; it names those that there are."""
    names = ", ".join(name for name in commands_of(directory) if "." in name)
    return UserError(
        f"{word!r} is no argument of python -m {directory.name}; the commands, each after python -m: {names}"
    )


def _flags_help(flag_values: flags.FlagValues) -> str:
    lines = []
    for name in flag_values:
        flag = flag_values[name]
        default = "" if flag.default is None else f" (default: {flag.default_as_str or flag.default})"
        lines.append(f"  --{name}\n      {flag.help}{default}")
    return "\n".join(lines)


def no_arguments(positional: Sequence[str]) -> None:
    """Raise UserError for a positional argument, in a command that takes flags only."""
    if positional:
        raise UserError(f"unexpected argument {positional[0]!r}; flags are written --name=value (see --help)")


# Runs as a process, so that output is shown even if this one aborts. It reads to the end of the pipe, so it also shows
# what other processes write that inherited the pipe. In a line, the date follows the level; it is 0000 until logging is
# configured.
_FILTER = """
import signal, sys
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
for line in sys.stdin.buffer:
    if not line.startswith((b"I0000 ", b"WARNING: All log messages before absl::InitializeLog()")):
        sys.stderr.buffer.write(line)
        sys.stderr.flush()
"""
# For the filter to write the rest; it takes longer only if another process holds the pipe.
_FLUSH_LIMIT_S = 1.0


@contextlib.contextmanager
def hide_startup_lines() -> Iterator[None]:
    """Drop the lines that TensorFlow logs on being imported; only one thread at a time may enter the block.

    TF_CPP_MIN_LOG_LEVEL has no effect on them: static initialisers log them before logging is configured. Other lines
    pass, in order, as they are written.

    They are shown if TF_CPP_MIN_LOG_LEVEL is 0 or not set, and where the filter cannot be started.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "") in ("", "0"):
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            _filter_stderr(stack)
        yield


def _filter_stderr(stack: contextlib.ExitStack) -> None:
    terminal = os.dup(2)
    stack.callback(os.close, terminal)
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _FILTER],
            stdin=reader,
            stdout=subprocess.DEVNULL,
            # Ctrl-C must not end the filter: the command's last lines have to be shown.
            start_new_session=True,
        )
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    stack.callback(_wait_for_filter, process)
    stack.callback(os.close, writer)
    stack.callback(_restore_stderr, terminal, writer)
    _flush_stderr()
    os.dup2(writer, 2)


def _restore_stderr(terminal: int, writer: int) -> None:
    _flush_stderr()
    # Unless another thread has redirected it in the meantime.
    with contextlib.suppress(OSError):
        if os.path.sameopenfile(2, writer):
            os.dup2(terminal, 2)


def _flush_stderr() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()


def _wait_for_filter(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_FLUSH_LIMIT_S)
