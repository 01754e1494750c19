import numpy as np
import pytest
import soundfile

from beam_preprocess.audio import Block
from beam_preprocess.audit import analysis, fingerprint
from beam_preprocess.audit.analysis import AnalyzedTrack, AnalyzeTracks, Batch, TrackAnalyzer, WordReader
from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.plan import ShardPlan, make_plan
from beam_preprocess.storage import OutputError, message_in
from beam_preprocess.write_shard import Rejected

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


def test_tracks_are_numbered_over_all_batches(make_tracks):
    tracks = make_tracks([(f"{index}.wav", "rock") for index in range(10)])
    plan = make_plan(JobConfig("in", "out", "music", num_shards=4), tracks, ["a", "b"] * 5, {})
    made = [Batch.from_json(item.to_json()) for item in analysis.batches(plan)]
    numbered = [(item.first + place, track) for item in made for place, track in enumerate(item.shard.tracks)]
    assert numbered == list(enumerate(track for track, _ in analysis.tracks_of(plan)))
    assert [item.number for item in made] == [0, 1, 2, 3]


def test_each_fingerprint_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    words = [rng.integers(0, 1 << 32, length, np.uint32) for length in (5, 0, 7, 3, 2)]
    (tmp_path / ".partial").mkdir()
    analysis.write_words(str(tmp_path), 0, iter(words[:3]))
    analysis.write_words(str(tmp_path), 1, iter(words[3:]))
    read = WordReader(str(tmp_path), [3, 2])
    for track in (4, 0, 2, 1, 3):
        np.testing.assert_array_equal(read(track), words[track])


def test_fingerprints_that_cannot_be_read_are_told_as_such(tmp_path):
    (tmp_path / ".partial" / "words-00000.bin").mkdir(parents=True)
    with pytest.raises(OutputError) as info:
        WordReader(str(tmp_path), [1])(0)
    assert message_in(str(info.value)) == f"{tmp_path}/.partial/words-00000.bin cannot be read: Is a directory"


def test_an_analysis_is_read_back(tmp_path):
    (tmp_path / ".partial").mkdir()
    usable = AnalyzedTrack(
        *(8000, 4000, False, True, False),
        duration_s=1.5,
        channels=2,
        clipped_share=0.1,
        silent_share=0.2,
        same_channels=True,
        content="ab",
    )
    analyses = [usable, Rejected("a\udce9.wav", "/in/a", "empty", "no samples")]
    analysis.write_analysis(str(tmp_path), 7, analyses)
    assert analysis.read_analysis(str(tmp_path), 7) == analyses
    assert analysis.read_analysis(str(tmp_path), 8) == []


@pytest.fixture
def analyze(tmp_path):
    """Analyzes files; returns the blocks, the analyses and a reader of fingerprints."""
    (tmp_path / ".partial").mkdir()

    def run(*names, first=0, **changes):
        config = JobConfig("in", str(tmp_path), "music", **changes)
        tracks = tuple(Track(name, str(tmp_path / name), "rock", name, None) for name in names)
        worker = AnalyzeTracks(config, 4)
        worker.setup()
        blocks = list(worker.process(Batch(0, first, ShardPlan("a", "file", tracks, "")).to_json()))
        return blocks, analysis.read_analysis(str(tmp_path), 0), WordReader(str(tmp_path), [len(names)])

    return run


def test_hashes_carry_the_number_of_their_track(analyze, tmp_path, music, monkeypatch):
    # Entries do not wait for the end of a batch.
    monkeypatch.setattr(analysis, "_MAX_WAITING", 10)
    for index in range(2):
        soundfile.write(tmp_path / f"{index}.wav", music("rock", index), 22050)
    blocks, analyses, read = analyze("0.wav", "1.wav", first=40)
    entries = np.concatenate([np.frombuffer(block, fingerprint.ENTRY) for _, block in blocks])
    for number in range(2):
        own = entries["hash"][entries["track"] == 40 + number]
        np.testing.assert_array_equal(np.sort(own), np.sort(fingerprint.entries(0, read(number))["hash"]))
        assert analyses[number].duration_s == 12
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
    blocks, (reject,), read = analyze(name)
    assert (reject.track_id, reject.reason) == (name, reason)
    assert blocks == [(0, b"")]
    assert len(read(0)) == 0


def test_the_shortest_clip_is_that_of_the_preprocessing_job(analyze, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 79 * 512 + 200)
    soundfile.write(tmp_path / "long.wav", noise, 22050)
    soundfile.write(tmp_path / "short.wav", noise[: 79 * 512 - 200], 22050)
    _, (good, reject), _ = analyze("long.wav", "short.wav")
    assert good.channels == 1
    assert reject.reason == "too_short"
