import io
import logging
import sys
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest

from beam_preprocess.audio import Reject, decode, ffmpeg
from tests.beam_preprocess.audio.audio_files import RATE, make_file


def read(data):
    return decode(io.BytesIO(data), sample_rate=RATE, min_samples=1, max_duration_s=60.0)


def reject_detail(data):
    with pytest.raises(Reject) as caught:
        read(data)
    return caught.value.detail


def test_why_ffmpeg_cannot_open_a_file_is_told_each_time_and_its_logging_is_as_it_was():
    data = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(3000)
    logger, interval = logging.getLogger("libav"), sys.getswitchinterval()
    before = av.logging.get_level(), av.logging.get_skip_repeated(), logger.propagate
    # That threads meet in it.
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            details = {*pool.map(lambda _: reject_detail(data), range(100))}
    finally:
        sys.setswitchinterval(interval)
    assert len(details) == 1 and "moov atom not found" in details.pop()
    assert (av.logging.get_level(), av.logging.get_skip_repeated(), logger.propagate) == before


def test_what_other_threads_log_meanwhile_is_not_printed(capfd):
    with ffmpeg._errors_logged():
        logging.getLogger("libav").error("invalid residual")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("encoding", ["latin-1", "cp1251"])
def test_tags_that_are_not_utf_8(encoding):
    name = "Motörhead" if encoding == "latin-1" else "Кино"
    id3v1 = b"TAG" + name.encode(encoding).ljust(125, b"\0")
    data = make_file("mp3")
    np.testing.assert_array_equal(read(data + id3v1), read(data))
