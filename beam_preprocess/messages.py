"""What a command tells a person while it works, and what it does not let others say."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence

# Of a list that may be long, as many as a person reads.
SHOWN = 3


def say(text: str) -> None:
    """Prints a line to standard error, at once."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Has no logger say anything below an error, in any thread."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


def some(items: Sequence[str], separator: str = ", ", *, shown: int = SHOWN) -> str:
    """The first few items, and how many more there are."""
    more = len(items) - shown
    return separator.join(items[:shown]) + (f"{separator}and {more} more" if more > 0 else "")
