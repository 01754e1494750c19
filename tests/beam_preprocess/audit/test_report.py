import weakref

import numpy as np
import pytest
import soundfile

from beam_preprocess.audio.front_end import FrontEnd, FrontEndConfig
from beam_preprocess.audit import report
from beam_preprocess.audit.findings import Pair
from beam_preprocess.audit.fingerprint import Alignment
from beam_preprocess.inputs.tracks import Track
from tfrecords import plots


@pytest.fixture
def tracks(tmp_path, music):
    """A recording, and a louder copy of it that begins two seconds later."""
    samples = music("rock")
    soundfile.write(tmp_path / "whole.wav", 0.4 * samples, 22050)
    soundfile.write(tmp_path / "late.wav", samples[2 * 22050 :], 22050)
    names = ("whole.wav", "late.wav")
    return [(Track(name, str(tmp_path / name), "rock", name, None), "train") for name in names]


@pytest.mark.parametrize(("first", "offset_s"), [(0, 2.0), (1, -2.0)])
def test_panels_show_the_same_moments(tracks, tmp_path, monkeypatch, first, offset_s):
    (tmp_path / ".partial").mkdir()
    shown = []
    draw = plots.spectrogram_grid
    monkeypatch.setattr(plots, "spectrogram_grid", lambda panels, **how: shown.extend(panels) or draw(panels, **how))
    pair = Pair(first, 1 - first, identical=False, alignment=Alignment(offset_s, 10.0, 0.1))
    drawn = report.draw_pairs(str(tmp_path), [pair], tracks, FrontEnd(FrontEndConfig()))
    one, other = shown if first == 0 else shown[::-1]
    assert drawn == {"pairs/0001.png": [tracks[first][0].track_id, tracks[1 - first][0].track_id]}
    assert (tmp_path / "pairs" / "0001.png").read_bytes().startswith(b"\x89PNG")
    assert (one.title, other.title) == ("whole.wav (train), from 2.00 s", "late.wav (train), from 0.00 s")
    assert one.log_mel.shape == other.log_mel.shape == (1 + 10 * 22050 // 512, 40)
    assert np.corrcoef(one.log_mel.ravel(), other.log_mel.ravel())[0, 1] > 0.99


def test_what_comes_before_the_stretch_is_not_kept_in_memory(monkeypatch):
    blocks = []

    def read_track(track, **how):
        for second in range(60):
            block = np.full(22050, second, np.float32)
            blocks.append(weakref.ref(block))
            yield block

    class Counting:
        config = FrontEndConfig()

        def __call__(self, waveform):
            # The last one is in the hands of whoever reads.
            assert sum(block() is not None for block in blocks) <= 1
            return waveform

    monkeypatch.setattr(report, "read_track", read_track)
    shown = report._log_mel(None, 40.5, 2, Counting())
    np.testing.assert_array_equal(shown, np.repeat(np.float32([40, 41, 42]), (11025, 22050, 11025)))
    assert len(blocks) == 43
