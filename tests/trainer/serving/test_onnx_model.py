import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
import soundfile
import tensorflow as tf

from beam_preprocess.audio import front_end
from beam_preprocess.audio.front_end import PRESETS, FrontEnd, FrontEndConfig
from tfrecords.common.command_line import UserError
from tfrecords.manifest import BandStatistics
from trainer import models
from trainer.distribution import precision
from trainer.serving import served_model
from trainer.serving.export_dir import ONNX, export_model
from trainer.serving.exported import ExportedModel
from trainer.serving.onnx_model import MatrixFrontEnd
from trainer.serving.recognizer import DecodedTrack, Recognizer

ROOT = Path(__file__).parents[3]
SHORTEST = 79 * 512
ODD = FrontEndConfig(sample_rate=16000, frame_length=777, hop_length=333, window="hamming", n_mels=20, fmax_hz=8000)


def session_of(recognizer, directory):
    export_model(recognizer, directory, file_format=ONNX)
    return onnxruntime.InferenceSession(directory / "model.onnx")


def answer(session, waveforms, rate=22050):
    inputs = {"waveform": np.atleast_2d(waveforms).astype(np.float32), "sample_rate": np.array(rate, np.int64)}
    return session.run(["probabilities"], inputs)[0]


def expected(recognizer, waveform):
    return recognizer.classify([DecodedTrack(recognizer.front_end(waveform), 1.0)])[0].probabilities


@pytest.fixture(scope="module")
def session(recognizer, tmp_path_factory):
    return session_of(recognizer, tmp_path_factory.mktemp("onnx") / "model")


@pytest.mark.parametrize("config", [*PRESETS.values(), ODD], ids=[*PRESETS, "odd"])
@pytest.mark.parametrize("samples", [0, 511, 512, 66_150])
def test_log_mel_is_that_of_the_front_end(config, samples, noise):
    own, waveform = FrontEnd(config), noise(3)[:samples]
    found = MatrixFrontEnd(own)(tf.constant(waveform[np.newaxis]))[0]
    np.testing.assert_allclose(found, own(waveform), rtol=0, atol=1e-3)


def test_it_answers_as_predict_does(session, recognizer, noise):
    waveforms = np.stack([noise(3, seed=seed) * 10.0**-seed for seed in range(3)])
    rows = [expected(recognizer, waveform) for waveform in waveforms]
    np.testing.assert_allclose(answer(session, waveforms), rows, atol=1e-5)


@pytest.mark.parametrize("rate", [0, 16000, 44100])
def test_another_rate_has_no_answer(session, noise, rate):
    assert np.isnan(answer(session, noise(3), rate)).all()


@pytest.mark.parametrize(
    "waveform",
    [
        np.zeros(0),
        np.zeros(SHORTEST - 1),
        np.full(SHORTEST, np.nan),
        np.full(SHORTEST, np.inf),
        np.full(SHORTEST, 1e30),
    ],
    ids=["empty", "short", "nan", "inf", "absurd"],
)
def test_what_cannot_be_used_has_no_answer(session, waveform):
    assert np.isnan(answer(session, waveform)).all()


def test_one_row_that_cannot_be_used_leaves_the_others(session, recognizer, noise):
    waveforms = np.stack([noise(3), np.full(66_150, np.nan, np.float32)])
    found = answer(session, waveforms)
    np.testing.assert_allclose(found[0], expected(recognizer, waveforms[0]), atol=1e-5)
    assert np.isnan(found[1]).all() and not np.isnan(answer(session, np.zeros(SHORTEST))).any()


def test_what_a_program_needs_is_in_the_metadata(session, recognizer):
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["labels"]) == list(recognizer.labels)
    assert (about["sample_rate"], about["min_samples"], about["model"]) == ("22050", str(SHORTEST), "time")
    assert json.loads(about["front_end"])["hop_length"] == 512


@pytest.mark.parametrize("mode", ["windows", "resize"])
def test_long_recordings_are_cut_as_their_records(recognizer, noise, tmp_path, monkeypatch, mode):
    monkeypatch.setattr(front_end, "MAX_RECORD_FRAMES", 200)
    monkeypatch.setattr(served_model, "MAX_RECORD_FRAMES", 200)
    other = Recognizer(dataclasses.replace(recognizer.job, patch_mode=mode), recognizer.model)
    session = session_of(other, tmp_path / "model")
    for seconds in (15, 6, 2):
        waveform = noise(seconds)
        np.testing.assert_allclose(answer(session, waveform)[0], expected(other, waveform), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "preset", "numbers"),
    [
        ("black_box", "cbmi2016", "float32"),
        ("frequency", "librosa", "float32"),
        ("time_frequency", "cbmi2016", "float32"),
        ("cnn", "cbmi2016", "bfloat16"),
    ],
)
def test_every_layer_is_converted_and_computes_in_float32(recognizer, noise, tmp_path, name, preset, numbers):
    config = PRESETS[preset]
    keras.utils.set_random_seed(0)
    with precision.computing_in(numbers):
        model = models.create(name, num_classes=3, input_shape=(80, config.n_mels, 1), filters=4)
    for variable in model.weights:
        if variable.path.endswith("moving_variance"):
            variable.assign(np.random.default_rng(0).uniform(0.5, 2, variable.shape))
    mean, std = (-40.0, 20.0) if config.compression == "db" else (2.0, 1.0)
    statistics = BandStatistics(100, np.full(config.n_mels, mean), np.full(config.n_mels, 100 * std**2))
    changed = {"front_end": dataclasses.asdict(config), "statistics": statistics, "model": name}
    other = Recognizer(dataclasses.replace(recognizer.job, **changed), model)
    found = answer(session_of(other, tmp_path / "model"), noise(3))[0]
    np.testing.assert_allclose(found, expected(other, noise(3)), atol=1e-5 if numbers == "float32" else 0.02)


@pytest.mark.slow
def test_the_pretrained_network_is_converted(fake_musicnn, tmp_path):
    published = Recognizer.published()
    waveform = 0.1 * np.random.default_rng(0).normal(size=16_000 * 7).astype(np.float32)
    found = answer(session_of(published, tmp_path / "export"), waveform, 16_000)[0]
    np.testing.assert_allclose(found, expected(published, waveform), atol=1e-4)


def test_the_documented_program_needs_no_tensorflow_and_refuses_another_rate(session, recognizer, noise, tmp_path):
    page = (ROOT / "docs" / "how-to" / "use-a-model.md").read_text("utf-8")
    (program,) = re.findall(r"```python\n(import json.*?)```", page, re.S)
    (tmp_path / "EXPORTED").mkdir()
    Path(session._model_path).rename(tmp_path / "EXPORTED" / "model.onnx")
    (tmp_path / "program.py").write_text(
        "import sys\nfor name in ('tensorflow', 'keras', 'trainer', 'librosa'):\n    sys.modules[name] = None\n"
        + program
    )

    def run(rate):
        soundfile.write(tmp_path / "song.wav", noise(3), rate, "FLOAT")
        command = [sys.executable, "program.py"]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)

    done = run(22050)
    probabilities = expected(recognizer, noise(3))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[0] == recognizer.labels[int(probabilities.argmax())]
    assert float(done.stdout.split()[1]) == pytest.approx(probabilities.max(), abs=1e-3)
    done = run(44100)
    assert done.returncode == 1 and "22050" in done.stderr and not done.stdout


def test_a_server_refuses_it_in_one_line(recognizer, tmp_path):
    export_model(recognizer, tmp_path / "model", file_format=ONNX)
    with pytest.raises(UserError, match="--format=saved_model"):
        ExportedModel(tmp_path / "model")


def test_without_the_packages_one_line_says_what_to_install(recognizer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(UserError, match="needs the package tf2onnx"):
        export_model(recognizer, tmp_path / "model", file_format=ONNX)
    assert not (tmp_path / "model").exists()
