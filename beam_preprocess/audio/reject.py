"""Why a file cannot be used."""

REASONS = (
    *("unreadable", "undecodable", "unsupported_format", "truncated", "unsupported_rate", "not_finite", "empty"),
    *("too_short", "too_long"),
)


class Reject(Exception):  # noqa: N818 - an outcome with a name of its own, not a fault of the program
    """An input that cannot be used.

    Attributes:
      reason: one word, counted and printed (REASONS).
      detail: what was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class NoRoom(Reject):
    """The temporary directory does not take what is needed of a file: no fault of the file."""


class DecodeError(Exception):
    """A decoder cannot make anything of a file, or of the rest of it; another one may."""


def unreadable(error: OSError) -> Reject:
    """The reject of a file that a disk or a store could not give."""
    return Reject("unreadable", error.strerror or str(error))


def no_room(error: OSError) -> NoRoom:
    """The reject of a file that could not be copied to the temporary directory."""
    return NoRoom("unreadable", f"the temporary directory: {error.strerror or error}")
