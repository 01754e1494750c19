import dataclasses
import io
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from beam_preprocess.audio import Reject, front_end
from beam_preprocess.audio.front_end import segment_lengths
from tfrecords.common.command_line import UserError
from trainer.serving import recognizer as module
from trainer.serving.recognizer import Recognizer, front_end_config, patch_starts
from trainer.training_job import TrainingJob


def file_of(waveform, *, rate=22050):
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, "FLOAT", format="WAV")
    file.seek(0)
    return file


def test_a_recognition_holds_spectrogram_and_patches(recognizer, noise):
    waveform = noise(6)
    recognition = recognizer.recognize(file_of(waveform))
    np.testing.assert_array_equal(recognition.log_mel, recognizer.front_end(waveform))
    # 6 s are 259 frames: three patches of 80, and 19 frames that fill none.
    assert recognition.timeline.shape == (3, 3)
    np.testing.assert_allclose(recognition.starts_s, np.array([0, 80, 160]) * 512 / 22050)
    assert recognition.patch_s == 80 * 512 / 22050
    assert recognition.duration_s == 6
    assert recognition.timeline.dtype == recognition.probabilities.dtype == np.float32
    np.testing.assert_allclose(recognition.probabilities, recognition.timeline.mean(axis=0), atol=1e-6)
    assert recognition.label == recognizer.labels[recognition.probabilities.argmax()]


def test_patches_are_normalised_by_the_training_parts(recognizer, trained, noise):
    recognition = recognizer.recognize(file_of(noise(2)))
    statistics = TrainingJob.load(trained).statistics
    patch = (recognition.log_mel[:80] - statistics.mean) / statistics.scale
    expected = recognizer.model.predict_on_batch(patch[np.newaxis, :, :, np.newaxis])
    np.testing.assert_allclose(recognition.timeline, expected, atol=1e-6)


def test_tracks_classified_together_get_the_same_result_as_alone(recognizer, noise, monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 4)
    tracks = [recognizer.decode(file_of(noise(seconds, seed=seconds))) for seconds in (2, 12, 3)]
    for track, together in zip(tracks, recognizer.classify(tracks), strict=True):
        (alone,) = recognizer.classify([track])
        np.testing.assert_allclose(together.timeline, alone.timeline, atol=1e-6)
        assert together.log_mel is track.log_mel
    assert recognizer.classify([]) == []


@pytest.mark.parametrize("channels", [[0.0], [0.25], [0.5, -0.5]])
def test_silence_has_no_genre(recognizer, noise, channels):
    still = np.full((6 * 22050, len(channels)), channels, np.float32)
    silent, music = recognizer.classify([recognizer.decode(file_of(still)), recognizer.decode(file_of(noise(2)))])
    assert (silent.note, silent.label, silent.duration_s) == ("silent", None, 6)
    assert silent.timeline.shape == (0, 3)
    assert silent.starts_s.shape == (0,)
    assert silent.probabilities.tolist() == [0, 0, 0]
    assert (music.note, music.label in recognizer.labels) == (None, True)
    np.testing.assert_allclose(music.timeline, recognizer.recognize(file_of(noise(2))).timeline, atol=1e-6)
    assert recognizer.recognize(file_of(still)).label is None


def test_channels_that_cancel_are_noted(recognizer, noise):
    for other, note in ((-1, "channels cancel"), (1, None), (0, None)):
        recognition = recognizer.recognize(file_of(np.stack([noise(3), other * noise(3)], axis=1)))
        assert (recognition.note, recognition.label in recognizer.labels) == (note, True)


def test_a_file_shorter_than_a_patch_is_rejected(recognizer, noise):
    shortest = 79 * 512
    assert len(recognizer.recognize(file_of(noise(2)[:shortest])).timeline) == 1
    for samples, reason in ((shortest - 1, "too_short"), (0, "empty")):
        with pytest.raises(Reject) as info:
            recognizer.recognize(file_of(noise(2)[:samples]))
        assert info.value.reason == reason


def test_other_files_that_cannot_be_used(recognizer, noise):
    with pytest.raises(Reject, match="too_long"):
        recognizer.recognize(file_of(noise(3)), max_duration_s=2.5)
    with pytest.raises(Reject, match="not_finite"):
        recognizer.recognize(file_of(np.full(50_000, np.nan)))
    with pytest.raises(Reject, match="undecodable"):
        recognizer.recognize(io.BytesIO(b"no audio"))


def test_pieces_of_a_long_recording_that_hold_no_patch(recognizer, noise, monkeypatch):
    monkeypatch.setattr(front_end, "MAX_RECORD_FRAMES", 70)
    with pytest.raises(Reject, match="no piece of it holds a patch"):
        recognizer.recognize(file_of(noise(3)))


def test_threads_share_a_recognizer(trained, noise):
    # A new one, whose functions Keras has not built yet.
    fresh = Recognizer.load(trained)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: fresh.recognize(file_of(noise(2))).probabilities, range(8)))
    for probabilities in results:
        np.testing.assert_allclose(probabilities, results[0], atol=1e-6)


def test_a_job_that_was_read_is_not_read_again(trained, monkeypatch):
    job = TrainingJob.load(trained)
    monkeypatch.setattr(TrainingJob, "load", None)
    assert Recognizer.load(trained, job).job is job


def test_a_job_that_cannot_be_used(trained, tmp_path):
    with pytest.raises(UserError, match="no trained model"):
        Recognizer.load(tmp_path)
    job_dir = shutil.copytree(trained, tmp_path / "job")
    job = TrainingJob.load(job_dir)
    dataclasses.replace(job, patch_frames=90).save(job_dir)
    with pytest.raises(UserError, match=r"the model maps \(None, 80, 40, 1\) to \(None, 3\),.* says \(None, 90, "):
        Recognizer.load(job_dir)
    with pytest.raises(UserError, match="not one of this version"):
        front_end_config(dataclasses.replace(job, front_end={"n_mels": 40, "wavelets": 3}))


def test_patches_follow_each_other_and_the_rest_is_left_out():
    np.testing.assert_array_equal(patch_starts(79, 80), [])
    np.testing.assert_array_equal(patch_starts(80, 80), [0])
    np.testing.assert_array_equal(patch_starts(319, 80), [0, 80, 160])


def test_patches_of_a_long_recording_lie_in_its_records(monkeypatch):
    monkeypatch.setattr(front_end, "MAX_RECORD_FRAMES", 100)
    # 259 frames are records of 87, 86 and 86.
    assert segment_lengths(259) == [87, 86, 86]
    np.testing.assert_array_equal(patch_starts(259, 40), [0, 40, 87, 127, 173, 213])
    assert not len(patch_starts(259, 90))
