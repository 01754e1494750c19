"""Train genre models on datasets of TFRecords, score them and use them. Each command has --help:"""

from pathlib import Path

from absl import flags

from tfrecords.common import command_line

_PACKAGE = Path(__file__).parent


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Print the commands, which are modules of their own.

    Raises:
      UserError: a word is given.
    """
    if positional:
        raise command_line.no_such_command(positional[0], _PACKAGE)
    print(command_line.list_commands(_PACKAGE))


if __name__ == "__main__":
    command_line.run(main, flags.FlagValues(), usage=f"{__doc__}\n\n{command_line.list_commands(_PACKAGE)}")
