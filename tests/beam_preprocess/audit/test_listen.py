import numpy as np
import pytest
import soundfile

from beam_preprocess.audit import analysis, fingerprint
from beam_preprocess.audit import analysis as listen_module
from beam_preprocess.audit.analysis import AnalyzeTracks, Batch, WordReader
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.plan import ShardPlan


@pytest.fixture
def hear(tmp_path):
    """Listens to files; gives the blocks, what was heard, and a reader of fingerprints."""
    (tmp_path / ".partial").mkdir()

    def listen(*names, first=0, **changes):
        config = JobConfig("in", str(tmp_path), "music", **changes)
        tracks = tuple(Track(name, str(tmp_path / name), "rock", name, None) for name in names)
        worker = AnalyzeTracks(config, 4)
        worker.setup()
        blocks = list(worker.process(Batch(0, first, ShardPlan("a", "file", tracks, "")).to_json()))
        return blocks, analysis.read_analysis(str(tmp_path), 0), WordReader(str(tmp_path), [len(names)])

    return listen


def test_hashes_carry_the_number_of_their_track(hear, tmp_path, music, monkeypatch):
    # Entries do not wait for the end of a batch.
    monkeypatch.setattr(listen_module, "_MAX_WAITING", 10)
    for index in range(2):
        soundfile.write(tmp_path / f"{index}.wav", music("rock", index), 22050)
    blocks, heard, read = hear("0.wav", "1.wav", first=40)
    entries = np.concatenate([np.frombuffer(block, fingerprint.ENTRY) for _, block in blocks])
    for number in range(2):
        own = entries["hash"][entries["track"] == 40 + number]
        np.testing.assert_array_equal(np.sort(own), np.sort(fingerprint.entries(0, read(number))["hash"]))
        assert heard[number].duration_s == 12
    assert {partition for partition, _ in blocks} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("gone.wav", None, "unreadable"),
        ("text.mp3", b"no audio\n", "undecodable"),
        ("empty.ogg", b"", "empty"),
        ("cut.wav", b"RIFF\xff\xff\x00\x00WAVEfmt ", "undecodable"),
    ],
)
def test_files_that_are_no_audio(hear, tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    blocks, (reject,), read = hear(name)
    assert (reject.track_id, reject.reason) == (name, reason)
    assert blocks == [(0, b"")]
    assert len(read(0)) == 0


def test_the_shortest_clip_is_that_of_the_preprocessing_job(hear, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 79 * 512 + 200)
    soundfile.write(tmp_path / "long.wav", noise, 22050)
    soundfile.write(tmp_path / "short.wav", noise[: 79 * 512 - 200], 22050)
    _, (good, reject), _ = hear("long.wav", "short.wav")
    assert good.channels == 1
    assert reject.reason == "too_short"
