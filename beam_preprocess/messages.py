"""What a command tells a person while it works."""

import sys
from collections.abc import Sequence

# Of a list that may be long, as many as a person reads.
SHOWN = 3


def say(text: str) -> None:
    """Prints a line to standard error, at once."""
    print(text, file=sys.stderr, flush=True)


def some(items: Sequence[str], separator: str = ", ") -> str:
    """The first few items, and how many more there are."""
    more = len(items) - SHOWN
    return separator.join(items[:SHOWN]) + (f"{separator}and {more} more" if more > 0 else "")
