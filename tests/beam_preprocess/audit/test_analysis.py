import numpy as np
import pytest
import soundfile

from beam_preprocess.audio import Block
from beam_preprocess.audit import analysis, fingerprint
from beam_preprocess.audit.analysis import AnalyzedShard, AnalyzedTrack, AnalyzeTracks, TrackAnalyzer, WordReader
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.plan import ShardPlan
from beam_preprocess.shards import Rejected, ShardFile, read_result
from beam_preprocess.storage import OutputError, message_in

RATE_HZ = 8000
WORDS = np.arange(5, dtype=np.uint32)


def analyzed(samples, *, blocks=1, words=WORDS, rate=RATE_HZ):
    samples = np.asarray(samples, np.float32).reshape(len(samples), -1)
    analyzer = TrackAnalyzer()
    for block in np.array_split(samples, blocks):
        analyzer(Block(tuple(block.T), rate), block.mean(axis=1, dtype=np.float32))
    return analyzer.result(words)


@pytest.fixture
def noise():
    return np.random.default_rng(0).uniform(-0.5, 0.5, 10 * RATE_HZ).astype(np.float32)


def test_sound_of_nothing_wrong(noise):
    sound = analyzed(noise)
    assert (sound.duration_s, sound.sample_rate, sound.channels) == (10, RATE_HZ, 1)
    assert (sound.clipped_share, sound.silent_share, sound.same_channels) == (0, 0, False)


def test_flat_tops_count_and_single_peaks_do_not(noise):
    noise[100:103] = 1
    noise[200:204] = -1
    noise[300:302] = 1
    noise[400] = 1.2
    assert analyzed(noise).clipped_share == pytest.approx(7 / len(noise), abs=1e-6)


def test_each_channel_is_looked_at_for_itself(noise):
    stereo = np.stack([noise, noise], axis=1)
    stereo[100:110, 1] = 1
    assert analyzed(stereo).clipped_share == pytest.approx(10 / stereo.size, abs=1e-6)


def test_silence_is_counted_in_half_seconds(noise):
    noise[: 2 * RATE_HZ] *= 1e-4
    assert analyzed(noise).silent_share == 0.2


@pytest.mark.parametrize(("difference", "same"), [(0, True), (1e-5, True), (0.05, False), (-2, False)])
def test_channels_that_are_the_same(noise, difference, same):
    other = noise + np.float32(difference) * np.roll(noise, 77)
    assert analyzed(np.stack([noise, other], axis=1), blocks=3).same_channels is same


def test_content_is_of_the_samples_whatever_the_channels_and_blocks(noise):
    content = analyzed(noise).content
    assert analyzed(noise, blocks=4).content == content
    assert analyzed(np.stack([noise, noise], axis=1)).content == content
    assert analyzed(0.5 * noise).content != content
    assert analyzed(noise, words=WORDS + 1).content != content
    assert analyzed(noise, rate=2 * RATE_HZ).content != content


@pytest.fixture
def analyze(tmp_path):
    """Analyzes files as a shard each; returns the blocks of each, the results and a reader of fingerprints."""
    (tmp_path / ".partial").mkdir()

    def run(*shards, first=0, **changes):
        config = JobConfig("in", str(tmp_path), "music", **changes)
        plans = [
            ShardPlan(
                part="a",
                file=f"shard {at}",
                tracks=tuple(Track(name, str(tmp_path / name), "rock", name, None) for name in names),
                fingerprint=str(names),
            )
            for at, names in enumerate(shards)
        ]
        sizes = [len(names) for names in shards]
        firsts = {plan.file: first + sum(sizes[:at]) for at, plan in enumerate(plans)}
        worker = AnalyzeTracks(config, 4, firsts)
        worker.setup()
        blocks = [list(worker.process(plan.to_json())) for plan in plans]
        results = [read_result(str(tmp_path), plan, AnalyzedShard) for plan in plans]
        return blocks, results, WordReader(str(tmp_path), [plan.file for plan in plans], sizes)

    return run


def test_each_fingerprint_is_read_back(analyze, tmp_path, music):
    for index in range(3):
        soundfile.write(tmp_path / f"{index}.wav", music("rock", index), 22050)
    _, (first, second), read = analyze(["0.wav", "gone.wav", "1.wav"], ["2.wav"])
    assert (first.num_tracks, len(first.rejects), second.num_tracks) == (2, 1, 1)
    alone = {index: analyze([f"{index}.wav"])[2](0) for index in range(3)}
    _, _, read = analyze(["0.wav", "gone.wav", "1.wav"], ["2.wav"])
    for number, words in ((3, alone[2]), (0, alone[0]), (1, np.zeros(0)), (2, alone[1])):
        np.testing.assert_array_equal(read(number), words)


def test_fingerprints_that_cannot_be_read_are_told_as_such(analyze, tmp_path):
    with pytest.raises(OutputError) as info:
        WordReader(str(tmp_path), ["a shard"], [1])(0)
    expected = f"{tmp_path}/.partial/a shard.json cannot be read: No such file or directory"
    assert message_in(str(info.value)) == expected


def test_a_result_is_read_back():
    usable = AnalyzedTrack(
        *(8000, 4000, False, True, False),
        duration_s=1.5,
        channels=2,
        clipped_share=0.1,
        silent_share=0.2,
        same_channels=True,
        content="ab",
    )
    reject = Rejected("a\udce9.wav", "/in/a", "empty", "no samples")
    result = AnalyzedShard("f", ShardFile("shard", 2, 9, "0" * 64), (usable, reject))
    assert AnalyzedShard.from_json(result.to_json()) == result
    assert (result.num_tracks, result.rejects, result.audio_s) == (1, (reject,), 1.5)


@pytest.mark.parametrize("text", ["", "null", "[]", '["f", {}, []]', '["f", 3, 4]', "torn"])
def test_another_text(text):
    with pytest.raises(ValueError, match=r"."):
        AnalyzedShard.from_json(text)


def test_hashes_carry_the_number_of_their_track(analyze, tmp_path, music, monkeypatch):
    # Entries do not wait for the end of a shard.
    monkeypatch.setattr(analysis, "_MAX_WAITING", 10)
    for index in range(2):
        soundfile.write(tmp_path / f"{index}.wav", music("rock", index), 22050)
    (blocks,), (result,), read = analyze(["0.wav", "1.wav"], first=40)
    entries = np.concatenate([np.frombuffer(block, fingerprint.ENTRY) for _, block in blocks])
    for number in range(2):
        own = entries["hash"][entries["track"] == 40 + number]
        np.testing.assert_array_equal(np.sort(own), np.sort(fingerprint.entries(0, read(number))["hash"]))
        assert result.analyses[number].duration_s == 12
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
def test_files_that_are_no_audio(analyze, tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (blocks,), (result,), read = analyze([name])
    (reject,) = result.analyses
    assert (reject.track_id, reject.reason) == (name, reason)
    assert blocks == [(0, b"")]
    assert len(read(0)) == 0


def test_the_shortest_clip_is_that_of_the_preprocessing_job(analyze, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 79 * 512 + 200)
    soundfile.write(tmp_path / "long.wav", noise, 22050)
    soundfile.write(tmp_path / "short.wav", noise[: 79 * 512 - 200], 22050)
    _, (result,), _ = analyze(["long.wav", "short.wav"])
    good, reject = result.analyses
    assert good.channels == 1
    assert reject.reason == "too_short"
