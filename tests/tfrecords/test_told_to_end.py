import signal

import pytest

from tfrecords.told_to_end import ToldToEnd, heeding_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_is_heard_and_the_handlers_are_put_back(number):
    earlier = signal.getsignal(number)
    with pytest.raises(ToldToEnd), heeding_signals():
        try:
            signal.raise_signal(number)
        finally:
            # The ending is under way.
            signal.raise_signal(number)
    assert signal.getsignal(number) is earlier
