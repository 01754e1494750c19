import dataclasses
import io
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from beam_preprocess.audio import front_end
from beam_preprocess.audio.front_end import PRESETS, FrontEnd, FrontEndConfig
from trainer.serving import served_model
from trainer.serving.export_dir import export_model
from trainer.serving.recognizer import DecodedTrack, Recognizer, patch_starts
from trainer.serving.served_model import GraphFrontEnd, ServedModel
from trainer.training_job import TrainingJob

SHORTEST = 79 * 512
# Odd lengths and hops, and a transform that is no power of two.
ODD = FrontEndConfig(sample_rate=16000, frame_length=777, hop_length=333, window="hamming", n_mels=20, fmax_hz=8000)


@pytest.fixture(scope="module")
def loaded(exported):
    """Referenced for the whole module: the functions of a loaded model end with it."""
    return tf.saved_model.load(exported)


@pytest.fixture(scope="module")
def signatures(loaded):
    return loaded.signatures


def expected(recognizer, waveform):
    track = DecodedTrack(recognizer.front_end(waveform), len(waveform) / 22050)
    return recognizer.classify([track])[0]


def wav(waveform, *, rate=22050, subtype="PCM_16"):
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, subtype, format="WAV")
    return tf.constant(file.getvalue())


@pytest.mark.parametrize("config", [*PRESETS.values(), ODD], ids=[*PRESETS, "odd"])
@pytest.mark.parametrize("samples", [0, 1, 511, 512, 40_448, 66_150])
def test_log_mel_is_that_of_the_front_end(config, samples, noise):
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


@pytest.mark.parametrize("frames", [1, 79, 80, 319, 8192, 8193, 20_000])
def test_the_graph_cuts_the_same_patches(frames):
    np.testing.assert_array_equal(served_model.patch_starts(frames, 80), patch_starts(frames, 80))


def test_a_waveform(signatures, recognizer, noise):
    waveform = noise(6)
    answer = signatures["serving_default"](waveform=tf.constant(waveform))
    recognition = expected(recognizer, waveform)
    np.testing.assert_allclose(answer["probabilities"], recognition.probabilities, atol=1e-5)
    assert float(answer["distance"]) == pytest.approx(recognition.distance, rel=1e-3, abs=1e-3)
    assert tuple(label.decode() for label in answer["labels"].numpy()) == recognizer.labels


def test_waveforms_of_one_length(signatures, recognizer, noise):
    waveforms = np.stack([noise(3, seed=seed) * 10.0**-seed for seed in range(3)])
    found = signatures["batch"](waveforms=tf.constant(waveforms))
    rows = [expected(recognizer, waveform) for waveform in waveforms]
    np.testing.assert_allclose(found["probabilities"], [row.probabilities for row in rows], atol=1e-5)
    np.testing.assert_allclose(found["distance"], [row.distance for row in rows], rtol=1e-3, atol=1e-3)
    assert signatures["batch"](waveforms=tf.zeros([0, SHORTEST]))["probabilities"].shape == (0, 3)


def test_patches_cut_from_the_log_mel(signatures, recognizer, noise):
    waveform = noise(6)
    log_mel = signatures["log_mel"](waveform=tf.constant(waveform))["log_mel"].numpy()
    recognition = expected(recognizer, waveform)
    np.testing.assert_allclose(log_mel, recognition.log_mel, atol=1e-3)
    patches = np.stack([log_mel[start : start + 80, :, np.newaxis] for start in patch_starts(len(log_mel), 80)])
    found = signatures["patches"](patches=tf.constant(patches))["probabilities"]
    np.testing.assert_allclose(found, recognition.timeline, atol=1e-5)
    assert signatures["patches"](patches=tf.zeros([0, 80, 40, 1]))["probabilities"].shape == (0, 3)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_wav_bytes(channels, signatures, recognizer, noise):
    data = wav(np.stack([noise(3, seed=seed) for seed in range(channels)], axis=1))
    answer = signatures["wav_bytes"](wav_bytes=data)
    expected = recognizer.recognize(io.BytesIO(data.numpy()))
    np.testing.assert_allclose(answer["probabilities"], expected.probabilities, atol=1e-5)


@pytest.mark.parametrize(
    ("signature", "value", "message"),
    [
        ("serving_default", np.zeros(0), f"must hold at least {SHORTEST} samples, one patch; got 0"),
        ("serving_default", np.zeros(SHORTEST - 1), f"got {SHORTEST - 1}"),
        ("serving_default", np.full(SHORTEST, np.nan), "NaN, infinite or absurdly large"),
        ("serving_default", np.full(SHORTEST, np.inf), "NaN, infinite or absurdly large"),
        ("serving_default", np.full(SHORTEST, 1e30), "NaN, infinite or absurdly large"),
        ("batch", np.zeros((2, 100)), "got 100"),
        ("patches", np.zeros((1, 70, 40, 1)), r"must be \[n, 80, 40, 1\], got \[1 70 40 1\]"),
        ("patches", np.full((1, 80, 40, 1), np.nan), "NaN or infinite"),
        ("log_mel", np.full(3, np.nan), "NaN, infinite or absurdly large"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_says_so(signature, value, message, signatures):
    ((_, specs),) = [signatures[signature].structured_input_signature]
    (name,) = specs
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures[signature](**{name: tf.constant(value, tf.float32)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda noise: wav(noise, rate=44100), "must be at 22050 Hz, got 44100 Hz; resample it first"),
        (lambda noise: wav(noise, subtype="PCM_24"), "Can only read 16-bit WAV files, but received 24"),
        (lambda noise: wav(noise, subtype="FLOAT"), r"Expected 1 \(PCM\)"),
        (lambda noise: wav(noise[:100]), "got 100"),
        (lambda noise: wav(noise[:0]), "got 0"),
        (lambda noise: tf.constant(wav(noise).numpy()[:-100]), "too short"),
        (lambda noise: tf.constant(b""), "too short"),
        (lambda noise: tf.constant(b"this is text, named .wav" * 9), "Expected RIFF"),
    ],
)
def test_wav_bytes_that_cannot_be_used(make, message, signatures, noise):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures["wav_bytes"](wav_bytes=make(noise(3)))


def test_long_recordings_are_cut_as_their_records(trained, recognizer, noise, monkeypatch):
    monkeypatch.setattr(front_end, "MAX_RECORD_FRAMES", 200)
    monkeypatch.setattr(served_model, "MAX_RECORD_FRAMES", 200)
    monkeypatch.setattr(served_model, "_BATCH", 2)
    waveform = noise(15)
    recognition = expected(recognizer, waveform)
    # 646 frames: pieces of 162 and 161 with two patches each.
    assert len(recognition.timeline) == 8
    served = ServedModel(TrainingJob.load(trained), recognizer.model, recognizer.front_end)
    found = served.waveform(tf.constant(waveform))["probabilities"]
    np.testing.assert_allclose(found, recognition.probabilities, atol=1e-5)


def test_it_loads_without_this_project(exported, recognizer, noise, tmp_path):
    waveform = noise(3)
    np.save(tmp_path / "waveform.npy", waveform)
    code = (
        "import json, sys, numpy, tensorflow as tf\n"
        "model = tf.saved_model.load(sys.argv[1])\n"
        "answer = model.signatures['serving_default'](waveform=tf.constant(numpy.load(sys.argv[2])))\n"
        "own = {'trainer', 'tfrecords', 'beam_preprocess', 'librosa'} & {name.split('.')[0] for name in sys.modules}\n"
        "print(json.dumps([answer['probabilities'].numpy().tolist(), sorted(own)]))\n"
    )
    command = [sys.executable, "-I", "-c", code, str(exported), str(tmp_path / "waveform.npy")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True, timeout=600)
    probabilities, own = json.loads(done.stdout)
    assert not own
    np.testing.assert_allclose(probabilities, expected(recognizer, waveform).probabilities, atol=1e-5)


def test_the_model_beside_it_takes_normalised_patches(exported, recognizer, noise):
    facts = json.loads((exported / "export.json").read_text())
    assert facts["labels"] == list(recognizer.labels)
    assert facts["front_end"]["sample_rate"] == 22050
    model = keras.models.load_model(exported / "model.keras", compile=False)
    recognition = expected(recognizer, noise(2))
    patch = (recognition.log_mel[:80] - facts["normalisation"]["mean"]) / facts["normalisation"]["std"]
    found = model.predict_on_batch(patch[np.newaxis, :, :, np.newaxis])
    np.testing.assert_allclose(found, recognition.timeline, atol=1e-5)


def test_labels_need_not_be_unicode(recognizer, trained):
    job = dataclasses.replace(TrainingJob.load(trained), labels=("blues", "jazz", "r\udcf6ck"))
    served = ServedModel(job, recognizer.model, recognizer.front_end)
    labels = served.waveform(tf.zeros([SHORTEST]))["labels"]
    assert labels.numpy().tolist() == [b"blues", b"jazz", b"r\xf6ck"]


@pytest.mark.slow
def test_the_published_tags_are_those_of_predict(fake_musicnn, tmp_path):
    recognizer = Recognizer.published()
    export_model(recognizer, tmp_path / "export")
    waveform = 0.1 * np.random.default_rng(0).normal(size=16_000 * 7).astype(np.float32)
    log_mel = recognizer.front_end(waveform)
    expected = recognizer.classify([DecodedTrack(log_mel, 7.0)])[0].probabilities
    found = tf.saved_model.load(tmp_path / "export").signatures["serving_default"](waveform=tf.constant(waveform))
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-4)
    assert found["labels"].numpy()[0] == b"rock"
    facts = json.loads((tmp_path / "export" / "export.json").read_text("utf-8"))
    assert len(facts["labels"]) == 50 and "jazz" in facts["genres"] and "happy" not in facts["genres"]
