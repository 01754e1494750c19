import numpy as np

from beam_preprocess.audit import analysis
from beam_preprocess.audit.analysis import Batch, Sound, WordReader
from beam_preprocess.config import JobConfig
from beam_preprocess.plan import make_plan
from beam_preprocess.write_shard import Rejected


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


def test_what_was_heard_is_read_back(tmp_path):
    (tmp_path / ".partial").mkdir()
    heard = [Sound(1.5, 8000, 2, 0.1, 0.2, True, "ab"), Rejected("a\udce9.wav", "/in/a", "empty", "no samples")]
    analysis.write_analysis(str(tmp_path), 7, heard)
    assert analysis.read_analysis(str(tmp_path), 7) == heard
    assert analysis.read_analysis(str(tmp_path), 8) == []
