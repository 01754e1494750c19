import math

from tools import skew
from tools.skew import EXPORTED, FLOAT16, LIMITS, WAV_BYTES, Skew

LOG10 = LIMITS["log10"]


def test_the_largest_counts_and_what_is_past_its_limit_is_named():
    skews = [
        Skew("wav", EXPORTED, 1e-5, 2e-5),
        Skew("wav", EXPORTED, 2e-3, 1e-5),
        Skew("wav", WAV_BYTES, math.nan, 3e-5),
        Skew("mp3", FLOAT16, 0.001, math.nan),
    ]
    assert skew.exceeded(skews, LOG10) == [
        "wav, exported: log-mel differs by 0.002, at most 0.001 is allowed",
        "mp3, float16 shards: probability differs by nan, at most 0.002 is allowed",
    ]
    lines = skew.table(skews, LOG10).splitlines()
    assert "| wav | 2.0e-03 / 2.0e-05 | - / 3.0e-05 |  |  |" in lines
    assert not skew.exceeded(skews[:1], LOG10)
