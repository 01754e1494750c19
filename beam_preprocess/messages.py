"""What a command tells a person while it works."""

import sys
from collections.abc import Sequence

# Of a list that may be long, as many as a person reads.
SHOWN = 3


def say(text: str) -> None:
    """Prints a line to standard error, at once."""
    print(text, file=sys.stderr, flush=True)


def some(items: Sequence[str], separator: str = ", ", *, shown: int = SHOWN) -> str:
    """The first few items, and how many more there are."""
    more = len(items) - shown
    return separator.join(items[:shown]) + (f"{separator}and {more} more" if more > 0 else "")
