"""What every command line of the project shares: its own absl flags, one clear line per mistake, exit status 2."""

import contextlib
import importlib
import io
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

from absl import flags


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

    Args:
      main: returns the exit status (None: 0). A `UserError` it raises is printed as one line, status 2.
      flag_values: this command's flags, apart from absl's global ones so that commands can import each other.
      usage: printed above the flags for --help.
      pass_through: leave flags that are not ours among the positional arguments instead of refusing them.
      argv: the command line with the program's name first; `sys.argv` by default.
    """
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
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing more to say, and nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(status or 0)


def import_tensorflow() -> None:
    """Imports TensorFlow without the lines that its C++ side writes straight to the terminal before it can be asked."""
    # By itself it leaves oneDNN's convolutions to processors with instructions for neural networks (AVX512_VNNI, AMX);
    # where there is AVX2 alone they take half the time as well.
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with held_back():
        # The first look for devices has its say too.
        importlib.import_module("tensorflow").config.list_physical_devices()


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Keeps what is written to standard error, by C++ too, from the terminal; it is shown when the block fails."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


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
