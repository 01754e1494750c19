"""Run a command: its own absl flags, one clear line per error, exit status 2."""

import contextlib
import importlib
import io
import logging
import os
import platform
import sys
import threading
from collections.abc import Callable, Sequence

from absl import flags

from tfrecords.common import shutdown, startup_lines

# Held while TensorFlow is imported.
_importing = threading.RLock()


class UserError(ValueError):
    """An error that the user can fix: the message says what is wrong, where, and what to do."""


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
      main: returns the exit status (None: 0). A `UserError` or an OSError that it raises is printed as one line, and
        the status is 2.
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
        message = str(error)
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
    """Import TensorFlow without the lines that its C++ side logs before its logging can be configured."""
    # By default TensorFlow uses oneDNN's convolutions only on CPUs with AVX512_VNNI or AMX; with AVX2 alone they halve
    # the time as well.
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _importing, contextlib.nullcontext() if "tensorflow" in sys.modules else startup_lines.hidden():
        importlib.import_module("tensorflow")


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
