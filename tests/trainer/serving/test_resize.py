"""A job with --patch_mode=resize: each record is one patch, in training, evaluation, predict and export alike."""

import io
import json

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from beam_preprocess.audio import front_end
from tfrecords.manifest import Manifest
from tools import skew
from tools.skew import EXPORTED, FLOAT16, FLOAT32, LIMITS
from trainer import train, training_job
from trainer.evaluation import predictions
from trainer.serving import served_model
from trainer.serving.recognizer import Recognizer, resize
from trainer.training_job import TrainingJob, count_patches


@pytest.fixture(scope="module")
def resizing(tiny, job_of, tmp_path_factory):
    """Directory of a job that sees each clip as one patch of 96 frames."""
    job_dir = tmp_path_factory.mktemp("resizing")
    train.train(job_of(tiny.path, "--patch_mode=resize", "--patch_frames=96", "--model_options=filters=4"), job_dir)
    return job_dir


@pytest.mark.parametrize("frames", [1, 2, 95, 96, 97, 250, 1300])
def test_as_tf_image_resize(frames):
    log_mel = np.random.default_rng(frames).uniform(0, 4, (frames, 5)).astype(np.float32)
    expected = tf.image.resize(log_mel[..., np.newaxis], (96, 5)).numpy()[..., 0]
    np.testing.assert_allclose(resize(log_mel, 96), expected, atol=1e-4)
    np.testing.assert_allclose(served_model.resized_pieces(log_mel[np.newaxis], 96)[0, 0], expected, atol=1e-4)


def test_each_piece_of_a_long_track_is_a_patch(monkeypatch):
    monkeypatch.setattr(front_end, "MAX_RECORD_FRAMES", 100)
    monkeypatch.setattr(served_model, "MAX_RECORD_FRAMES", 100)
    log_mel = np.random.default_rng(0).uniform(0, 4, (2, 250, 5)).astype(np.float32)
    lengths = front_end.segment_lengths(250)
    assert lengths == [84, 83, 83]
    resized = served_model.resized_pieces(log_mel, 50).numpy()
    assert resized.shape == (2, 3, 50, 5)
    for number, rows in enumerate(resized):
        pieces = np.split(log_mel[number], np.cumsum(lengths)[:-1])
        np.testing.assert_allclose(rows, [resize(piece, 50) for piece in pieces], atol=1e-4)


def test_training_and_evaluation_see_one_patch_of_each_record(resizing, tiny):
    job = TrainingJob.load(resizing)
    records = {part: len(own) for part, own in tiny.records.items()}
    for part, count in records.items():
        assert count_patches(tiny.manifest, [part], patch_frames=96, patch_mode="resize") == count
    assert len(training_job.read_history(resizing)["val_loss"]) == 2
    model = predictions.load_model(resizing, job)
    scored = predictions.predict(job, model, tiny.path, ["test"])
    assert scored.track_ids == [record.track_id for record in tiny.records["test"]]
    for record, row in zip(tiny.records["test"], scored.probabilities, strict=True):
        patch = (resize(record.log_mel.astype(np.float32), 96) - job.statistics.mean) / job.statistics.scale
        expected = model.predict_on_batch(patch[np.newaxis, ..., np.newaxis].astype(np.float32))[0]
        np.testing.assert_allclose(row, expected, atol=1e-3)


def test_predict_export_and_evaluation_agree(resizing, noise, tmp_path):
    # Shorter and longer than the patch of 96 frames, 2.2 s.
    files = [tmp_path / "audio" / label / "song.wav" for label in ("short", "long")]
    for path, seconds in zip(files, (0.5, 4), strict=True):
        path.parent.mkdir(parents=True)
        soundfile.write(path, noise(seconds), 22050)
    skews, _ = skew.measure(resizing, tmp_path, files)
    assert not skew.exceeded(skews, LIMITS["log10"])
    assert {each.path for each in skews} >= {EXPORTED, FLOAT32, FLOAT16}
    manifest = Manifest.load(tmp_path / "float32")
    assert sum(sum(part.record_frames.values()) for part in manifest.parts.values()) == 2
    facts = json.loads((tmp_path / "export" / "export.json").read_text())
    assert (facts["patch_mode"], facts["patch_frames"], facts["shorter_than_a_patch"]) == ("resize", 96, "stretched")
    assert "patch_hop" not in facts


def test_a_patch_is_as_long_as_the_recording(resizing, noise):
    recognizer, file = Recognizer.load(resizing), io.BytesIO()
    soundfile.write(file, noise(4), 22050, format="WAV")
    file.seek(0)
    recognition = recognizer.recognize(file)
    assert (len(recognition.timeline), recognition.starts_s.tolist()) == (1, [0.0])
    assert recognition.patch_s == pytest.approx(4, abs=0.05)


def test_one_sample_is_not_too_short(resizing):
    recognizer, file = Recognizer.load(resizing), io.BytesIO()
    soundfile.write(file, np.array([0.5]), 22050, format="WAV")
    file.seek(0)
    # One sample does not swing, so it is silent; no Reject is raised.
    assert recognizer.recognize(file).timeline.shape == (0, 3)
    served = served_model.ServedModel(recognizer.job, predictions.load_model(resizing), recognizer.front_end)
    assert served.waveform(tf.constant([0.5]))["probabilities"].shape == (3,)
