"""What every command line of the project shares: its own absl flags, one clear line per mistake, exit status 2."""

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

_importing = threading.Lock()


class UserError(ValueError):
    """A mistake that a person can make and mend: the message says what is wrong, where, and what to do."""


def run(
    main: Callable[[flags.FlagValues, list[str]], int | None],
    flag_values: flags.FlagValues,
    *,
    usage: str,
    pass_through: bool = False,
    argv: Sequence[str] | None = None,
) -> None:
    """Parses the command line, calls `main(flag_values, positional)` and exits with its status.

    Signals end the process as `tfrecords.common.shutdown` has it.

    Args:
      main: returns the exit status (None: 0). A `UserError` or an OSError it raises is printed as one line, status 2.
      flag_values: this command's flags, apart from absl's global ones so that commands can import each other.
      usage: printed above the flags for --help.
      pass_through: leave flags that are not ours among the positional arguments instead of refusing them.
      argv: the command line with the program's name first; `sys.argv` by default.
    """
    shutdown.install()
    # TensorFlow's C++ start-up chatter would bury what the command says; a value set by the user wins.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # File names are foreign text: what the terminal cannot show is escaped, and no reason to fail.
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
        _last_of_stdout()
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing more to say.
        _last_of_stdout()
        sys.exit(0)
    except OSError as error:
        unwritable = _last_of_stdout()
        message = f"standard output: {_describe(unwritable)}" if unwritable else _describe(error)
    else:
        sys.exit(status or 0)
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _last_of_stdout() -> OSError | None:
    """Flushes standard output; where it cannot be written, the interpreter will not try again at exit, and complain."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


def _describe(error: OSError) -> str:
    """What the system has refused, and of which file."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    reason = error.strerror or str(error) or type(error).__name__
    return f"{' -> '.join(names)}: {reason}" if names else reason


def import_tensorflow() -> None:
    """Imports TensorFlow without the lines that its C++ side logs before it can be configured."""
    # By itself it leaves oneDNN's convolutions to processors with instructions for neural networks (AVX512_VNNI, AMX);
    # where there is AVX2 alone they take half the time as well.
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
    """Raises UserError when words are left on the command line of a command that takes flags only."""
    if positional:
        raise UserError(f"unexpected argument {positional[0]!r}; flags are written --name=value (see --help)")
