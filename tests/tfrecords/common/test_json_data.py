import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from tfrecords.common.json_data import build, parse


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int
    rate: float = 1.0

    def __post_init__(self):
        if self.size < 0:
            raise ValueError(f"`size` must be at least 0, got {self.size}")


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    inner: Mapping[str, Inner]
    items: tuple[str, ...] = ()
    pair: tuple[int, str] = (0, "")
    maybe: Inner | None = None
    flag: bool = False
    by_number: Mapping[int, int] = dataclasses.field(default_factory=dict)
    counts: Counter[int] = dataclasses.field(default_factory=Counter)
    values: np.ndarray | None = None


LEAST = {"name": "a", "inner": {}}


def test_every_kind_of_field():
    text = """{"name": "é", "inner": {"x": {"size": 1, "rate": 2}}, "items": ["a", "a"], "pair": [1, "b"],
      "maybe": {"size": 0}, "flag": true, "by_number": {"10": 3}, "counts": {"7": 2}, "values": [1, 2.5]}"""
    made = build(Outer, parse(text))
    assert dataclasses.replace(made, values=None) == Outer(
        "é", {"x": Inner(1, 2.0)}, ("a", "a"), (1, "b"), Inner(0), True, {10: 3}, Counter({7: 2})
    )
    assert isinstance(made.inner["x"].rate, float)
    assert isinstance(made.counts, Counter)
    assert made.values.dtype == np.float64
    assert made.values.tolist() == [1, 2.5]
    assert build(Outer, LEAST) == Outer("a", {})
    assert build(Outer, LEAST | {"maybe": None}).maybe is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"name": 1}, "^name must be a text, got 1$"),
        ({"name": None}, "^name must be a text, got None$"),
        ({"inner": []}, "^inner must be an object, got a list$"),
        ({"inner": {"x": {}}}, r"^inner\.x\.size is missing$"),
        ({"inner": {"x": {"size": 1.0}}}, r"^inner\.x\.size must be a whole number, got 1\.0$"),
        ({"inner": {"x": {"size": True}}}, r"^inner\.x\.size must be a whole number, got True$"),
        ({"inner": {"x": {"size": 2**63}}}, r"^inner\.x\.size must be a number of 64 bits, got one of 19 digits$"),
        ({"inner": {"x": {"size": -1}}}, r"^inner\.x: size must be at least 0, got -1$"),
        ({"inner": {"x": {"size": 1, "rate": "1"}}}, r"^inner\.x\.rate must be a number, got '1'$"),
        ({"inner": {"x": {"size": 1, "rate": math.inf}}}, r"^inner\.x\.rate must be a finite number, got inf$"),
        ({"inner": {"x": {"size": 1, "rate": 10**400}}}, r"^inner\.x\.rate must be a number of 64 bits"),
        ({"inner": {"x": {"size": 1, "more": 1}}}, r"^inner\.x\.more is not known$"),
        ({"items": ["a", 1]}, r"^items\[1\] must be a text, got 1$"),
        ({"items": "ab"}, "^items must be a list, got 'ab'$"),
        ({"pair": [1]}, "^pair must have 2 items, got 1$"),
        ({"maybe": 3}, "^maybe must be an object, got 3$"),
        ({"flag": 1}, "^flag must be true or false, got 1$"),
        ({"by_number": {"01": 1}}, "^by_number must have whole numbers as names, got '01'$"),
        ({"by_number": {"x": 1}}, "^by_number must have whole numbers as names"),
        ({"by_number": {"9" * 30: 1}}, "^by_number must have whole numbers as names"),
        ({"values": [0.0, math.nan]}, r"^values\[1\] must be a finite number, got nan$"),
        ({"values": [[0.0]]}, r"^values\[0\] must be a number, got a list$"),
    ],
)
def test_what_no_field_may_hold(damage, message):
    with pytest.raises(ValueError, match=message):
        build(Outer, LEAST | damage)


def test_names_that_are_no_fields_are_let_through_if_that_is_asked_for():
    assert build(Inner, {"size": 1, "more": []}, more=True) == Inner(1)
    nested = {"name": "a", "inner": {"x": {"size": 1, "more": 1}}, "more": 2}
    assert build(Outer, nested, more=True).inner == {"x": Inner(1)}


@pytest.mark.parametrize("value", [None, 3, "x", [], True])
def test_what_is_no_object_at_all(value):
    with pytest.raises(ValueError, match=r"^it must be an object"):
        build(Inner, value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": [-Infinity]}', "-Infinity is no number"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is there twice"),
        ("[" * 200_000 + "]" * 200_000, "nested too deeply"),
        ("9" * 10_000, "digits"),
    ],
)
def test_text_that_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_a_long_value_is_told_on_one_short_line():
    with pytest.raises(ValueError) as error:
        build(Inner, json.loads(json.dumps({"size": "x\n" * 1000})))
    assert len(str(error.value)) < 100
    assert "\n" not in str(error.value)
