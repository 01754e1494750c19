"""What a command tells a person while it works."""

import sys


def say(text: str) -> None:
    """Prints a line to standard error, at once."""
    print(text, file=sys.stderr, flush=True)
