import pytest

from tfrecords.common.command_line import UserError
from trainer.training.run_options import parse_profile_steps


def test_steps_to_trace():
    assert parse_profile_steps("") is None
    assert parse_profile_steps("10,20") == (10, 20)
    assert parse_profile_steps("3,3") == (3, 3)


@pytest.mark.parametrize("text", ["10", "0,1", "3,2", "-1,2", "1,2,3", "1, 2", "a,b", "1,9999999999"])
def test_steps_that_are_none_are_told(text):
    with pytest.raises(UserError, match=f"^two steps, .* as FIRST,LAST, got '{text}'$"):
        parse_profile_steps(text)
