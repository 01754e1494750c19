"""Numbers as the tables and the pages print them: shares of 1 in percent, counts, differences in points."""

from collections.abc import Mapping, Sequence

from trainer.config import RESIZE


def percent(share: float) -> str:
    """Return a share of 1 in percent.

    Example:
      >>> percent(0.6149)
      '61.5 %'
    """
    return f"{100 * share:.1f} %"


def percent_interval(interval: Sequence[float]) -> str:
    """Return an interval [low, high] of shares of 1 in percent.

    Example:
      >>> percent_interval([0.523, 0.699])
      '52.3 to 69.9 %'
    """
    return f"{100 * interval[0]:.1f} to {percent(interval[1])}"


def spread(score: Mapping[str, float]) -> str:
    """Return a {mean, std} of shares of 1 in percent.

    Example:
      >>> spread({"mean": 0.6, "std": 0.1})
      '60.0 ± 10.0 %'
    """
    return f"{100 * score['mean']:.1f} ± {percent(score['std'])}"


def points(difference: float, digits: int = 1) -> str:
    """Return a difference of shares in percentage points, always with its sign.

    Example:
      >>> points(0.024)
      '+2.4'
    """
    return f"{100 * difference:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def count(number: int, thing: str) -> str:
    """Return a number of things, in the plural unless it is one.

    Example:
      >>> count(1, "track"), count(2, "track")
      ('1 track', '2 tracks')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def patch(frames: int, mode: str, frames_per_s: float) -> str:
    """Return what a patch is; of clips that are resized, each has a frame rate of its own.

    Example:
      >>> patch(80, "windows", 43.07), patch(80, "resize", 43.07)
      ('80 frames, 1.86 s', 'each clip resized to 80 frames')
    """
    if mode == RESIZE:
        return f"each clip resized to {frames} frames"
    return f"{frames} frames, {frames / frames_per_s:.2f} s"
