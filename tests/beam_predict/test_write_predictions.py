import pytest

from beam_predict.write_predictions import PredictedShard, count_labels
from beam_preprocess.shards import Rejected, ShardFile
from tests.beam_predict.test_rows import FACTS, ROWS, row


def test_counts_by_label():
    counts = count_labels(ROWS, FACTS)
    assert counts["labels"] == {"caf\udce9": 1, "jazz": 1}
    assert [at for at, number in enumerate(counts["confidence"]["jazz"]) if number] in ([15], [16])
    certain = count_labels([row("x", (0, 1.0000001, 0))], FACTS)
    assert certain["confidence"]["jazz"][-1] == 1


def test_a_result_is_read_back():
    one = PredictedShard(
        fingerprint="f",
        shard=ShardFile("predictions-00000-of-00001.parquet", 4, 100, "0" * 64),
        num_tracks=3,
        rejects=(Rejected("c\udce9.wav", "/in/c.wav", "empty", "no samples"),),
        **count_labels(ROWS, FACTS),
        notes={"silent": 1},
        audio_s=1 / 3,
        work_s={"decode": 0.1},
    )
    assert PredictedShard.from_json(one.to_json()) == one
    for text in ("", "null", "[]", "{}", one.to_json()[:40]):
        with pytest.raises(ValueError, match=r"."):
            PredictedShard.from_json(text)
