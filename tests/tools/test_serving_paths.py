import math

import numpy as np

from tools.serving_paths import Answer


def test_differences_are_the_largest():
    one = Answer(np.array([0.25, 0.75]), np.array([[0.0, -90.0]]))
    other = Answer(np.array([0.5, 0.5]), np.array([[-1.0, -95.0]]))
    assert one.differences(other) == (5.0, 0.25)
    assert one.differences(other, depth=80.0) == (1.0, 0.25)
    log_mel, probability = one.differences(Answer(np.array([0.25, 0.75])))
    assert math.isnan(log_mel)
    assert probability == 0
