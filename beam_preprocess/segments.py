"""How a long recording becomes several records, so that no record grows with its recording."""

# A record of a long recording holds at most this many frames (3 minutes of the default front end).
MAX_RECORD_FRAMES = 8192


def segment_lengths(frames: int) -> list[int]:
    """Frames of the records that a track of so many frames makes: equal to within one, at most MAX_RECORD_FRAMES."""
    count = -(-frames // MAX_RECORD_FRAMES)
    return [frames // count + (index < frames % count) for index in range(count)]
