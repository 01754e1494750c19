import numpy as np
import pytest
import tensorflow as tf

from beam_preprocess.audio.front_end import PRESETS, FrontEnd, FrontEndConfig
from trainer.serving import served_model
from trainer.serving.served_model import GraphFrontEnd

# Odd lengths and hops, and a transform that is no power of two.
ODD = FrontEndConfig(sample_rate=16000, frame_length=777, hop_length=333, window="hamming", n_mels=20, fmax_hz=8000)


@pytest.mark.parametrize("config", [*PRESETS.values(), ODD], ids=[*PRESETS, "odd"])
@pytest.mark.parametrize("samples", [0, 1, 511, 512, 40_448, 66_150])
def test_values_are_those_of_the_workers(config, samples, noise):
    front_end = FrontEnd(config)
    waveform = noise(3)[:samples]
    expected = front_end(waveform)
    found = GraphFrontEnd(front_end)(tf.constant(waveform[np.newaxis]))[0]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_decibels_far_below_the_peak(noise):
    front_end = FrontEnd(PRESETS["librosa"])
    time_s = np.arange(66_150) / 22050
    # A loud tone over noise 100 dB below it.
    waveform = (0.9 * np.sin(2 * np.pi * 440 * time_s) + 1e-4 * noise(3)).astype(np.float32)
    expected = front_end(waveform)
    found = GraphFrontEnd(front_end)(tf.constant(waveform[np.newaxis]))[0].numpy()
    near = expected > expected.max() - 80
    np.testing.assert_allclose(found[near], expected[near], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.02)
    assert not near.all()


def test_blocks_leave_no_seam(monkeypatch, noise):
    front_end = FrontEnd(PRESETS["cbmi2016"])
    waveforms = np.stack([noise(3, seed=seed) for seed in range(3)])
    monkeypatch.setattr(served_model, "_BLOCK_FRAMES", 50)
    found = GraphFrontEnd(front_end)(tf.constant(waveforms))
    for row, waveform in zip(found, waveforms, strict=True):
        np.testing.assert_allclose(row, front_end(waveform), rtol=0, atol=1e-4)
