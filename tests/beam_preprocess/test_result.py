import json
from collections import Counter

import numpy as np
import pytest

from beam_preprocess.label_sound import LabelSound
from beam_preprocess.write_shard import Rejected, ShardResult
from tfrecords.manifest import BandStatistics, Shard


def result():
    values = np.random.default_rng(0).normal(size=(7, 3)) * np.pi
    return ShardResult(
        part="fold_0",
        fingerprint="abc",
        shard=Shard("music-fold_0.tfrecord-00000-of-00001", 2, 7, 100, "f0" * 32),
        tracks={"R&B": 1, "日本": 1},
        record_frames={4: 1, 3: 1},
        statistics=BandStatistics.of(values),
        rejects=(Rejected("caf\udce9.wav", '/in/"a"\n.wav', "empty", "no samples"),),
        audio_s=1 / 3,
        contents={"caf\udce9.wav": "00ff"},
        sound={"R&B": LabelSound(Counter({22050: 2}), Counter({11000: 1, 8000: 1}), 1, 0)},
        work_s={"decode": 0.1},
    )


def test_round_trip_is_exact():
    one = result()
    text = one.to_json()
    assert text.isascii()
    assert len(text.splitlines()) == 1
    other = ShardResult.from_json(text)
    assert other.to_json() == text
    assert (other.shard, other.tracks, other.record_frames) == (one.shard, one.tracks, one.record_frames)
    assert (other.rejects, other.audio_s, other.part) == (one.rejects, one.audio_s, one.part)
    assert (other.contents, other.work_s, other.sound) == (one.contents, one.work_s, one.sound)
    assert other.statistics.count == 7
    np.testing.assert_array_equal(other.statistics.mean, one.statistics.mean)
    np.testing.assert_array_equal(other.statistics.m2, one.statistics.m2)


def test_results_of_shards_merge_as_if_they_were_one():
    values = np.random.default_rng(1).normal(size=(20, 3))
    read = [
        ShardResult.from_json(json.dumps(json.loads(result().to_json()) | {"statistics": part.to_json()})).statistics
        for part in (BandStatistics.of(values[:3]), BandStatistics.of(values[3:]))
    ]
    merged = BandStatistics.merged(read, 3)
    np.testing.assert_allclose(merged.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(merged.variance, values.var(axis=0), rtol=1e-12)


def test_a_line_of_the_rejects_file():
    line = Rejected("a.wav", "/in/a.wav", "too_short", "0.10 s").to_json()
    assert json.loads(line) == {"track_id": "a.wav", "uri": "/in/a.wav", "reason": "too_short", "detail": "0.10 s"}


@pytest.mark.parametrize("text", ["", "null", "[]", "7", "{", '{"part": "fold_0"}', "torn" * 9])
def test_another_text(text):
    with pytest.raises(ValueError, match=r"."):
        ShardResult.from_json(text)


def test_a_torn_text():
    text = result().to_json()
    for length in range(0, len(text) - 1, 17):
        with pytest.raises(ValueError, match=r"."):
            ShardResult.from_json(text[:length])


def test_a_result_with_a_field_of_another_version():
    with pytest.raises(ValueError, match="more is not known"):
        ShardResult.from_json(json.dumps(json.loads(result().to_json()) | {"more": 1}))
