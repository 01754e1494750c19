import dataclasses
import io

import numpy as np
import pyarrow.parquet as pq
import pytest

from beam_predict.model import ModelFacts
from beam_predict.rows import TrackPrediction, as_parquet, entropy_bits, name_track, readable
from beam_preprocess.audio import Reject
from beam_preprocess.audio.front_end import FrontEndConfig
from trainer.evaluation.calibration import Calibration
from trainer.evaluation.confidence import Confidence

FACTS = ModelFacts(
    location="JOB",
    is_export=False,
    name="time",
    labels=("hip hop", "jazz", "caf\udce9"),
    genres=None,
    front_end=FrontEndConfig(),
    resizes=False,
    patch_frames=80,
    mean=(0.0,) * 40,
    std=(1.0,) * 40,
    fingerprint="f" * 64,
)


def row(track_id, *probabilities, units=None, **fields):
    made = TrackPrediction(track_id, duration_s=30.0, **fields)
    for patch in probabilities:
        values = [np.array([patch], np.float32), *([] if units is None else [np.array([units], np.float32)])]
        made.add(values)
    return made


ROWS = [
    row("a/1.wav", (0.1, 0.9, 0.0), (0.3, 0.7, 0.0)),
    row("a/caf\udce9.wav", (0.2, 0.2, 0.6)),
    row("b.wav", note="silent"),
    row("c.wav", reject=Reject("empty", "no samples \udc80")),
]


def read(data):
    return pq.read_table(io.BytesIO(data))


def test_a_track_is_the_mean_of_its_patches():
    rows = read(as_parquet(ROWS, FACTS, embedding=False)).to_pylist()
    assert [one["label"] for one in rows] == ["jazz", "caf\\xe9", None, None]
    assert rows[0]["probability"] == pytest.approx(0.8)
    assert rows[0]["p_hip hop"] == pytest.approx(0.2)
    assert rows[1]["p_caf\\xe9"] == pytest.approx(0.6)
    assert [one["track"] for one in rows] == ["a/1.wav", "a/caf\\xe9.wav", "b.wav", "c.wav"]
    assert (rows[3]["reject_reason"], rows[3]["reject_detail"]) == ("empty", "no samples \\x80")


def test_the_same_rows_give_the_same_bytes():
    assert as_parquet(ROWS, FACTS, embedding=False) == as_parquet(ROWS, FACTS, embedding=False)


def test_types_are_the_same_where_nothing_is_known():
    of_rejects = read(as_parquet(ROWS[3:], FACTS, embedding=True)).schema
    of_all = read(as_parquet([row("x", (0.1, 0.9, 0.0), units=(1, 2))], FACTS, embedding=True))
    assert of_rejects == of_all.schema
    assert of_all.column("embedding").to_pylist() == [[1, 2]]


def test_of_tags_the_most_probable_genre_and_no_entropy():
    tags = dataclasses.replace(FACTS, genres=("hip hop",))
    assert name_track(ROWS[0], tags) == ("hip hop", pytest.approx(0.2))
    assert read(as_parquet(ROWS[:1], tags, embedding=False)).column("entropy").to_pylist() == [None]


def test_what_an_answer_is_worth():
    calibration = Calibration(temperature=1.0, least_probability=0.15, coverage=0.9, tracks=50, groups=20)
    confidence = Confidence(calibration, error=0.25, sure_from=0.75, farthest=2.0)
    answers = [confidence.apply(own.means[0], distance) for own, distance in zip(ROWS[:2], (3.0, 1.0), strict=True)]
    rows = [dataclasses.replace(own, answer=answer) for own, answer in zip(ROWS, answers, strict=False)]
    found = read(as_parquet([*rows, ROWS[2]], FACTS, embedding=False))
    assert found.column("set").to_pylist() == [["jazz", "hip hop"], ["caf\\xe9", "hip hop", "jazz"], None]
    assert found.column("sure").to_pylist() == [True, False, None]
    assert found.column("familiar").to_pylist() == [False, True, None]
    assert found.column("confidence").to_pylist() == [pytest.approx(0.8), pytest.approx(0.6), None]


def test_entropy():
    assert entropy_bits(np.array([0, 1, 0])) == 0
    assert entropy_bits(np.full(4, 0.25)) == 2


def test_readable():
    assert readable("日本 é") == "日本 é"
