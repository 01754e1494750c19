"""Read JSON into dataclasses, with every value checked against the type of its field.

A person or a disk may have changed a file since a program wrote it, so nothing is trusted: `parse` checks the JSON,
`build` the types, and the dataclasses check ranges in `__post_init__`.
"""

import collections
import collections.abc
import dataclasses
import functools
import json
import math
import types
import typing
from typing import Any, NoReturn, TypeVar

import numpy as np

T = TypeVar("T")

# The largest integer that NumPy and TensorFlow hold.
_MAX_INT = 2**63 - 1
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def parse(text: str) -> Any:
    """Parse JSON.

    Raises:
      ValueError: it is not JSON, holds NaN or infinity, a name twice in one object, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return made


def build(kind: type[T], value: Any, *, more: bool = False) -> T:
    """Make a dataclass of parsed JSON.

    Args:
      kind: a dataclass with fields of these types: bool, int, float, str, Any, np.ndarray for [n] float64, dataclasses;
        tuples, mappings and counters of these; unions with None.
      value: an object from `parse`, with a value for each field that has no default.
      more: ignore names that are not fields.

    Raises:
      ValueError: a value is missing, of another type, not finite or beyond 64 bits, or `__post_init__` raised it. The
        message begins with the value's place, such as parts.fold_0.shards[1].bytes.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Point:
      ...     x: int
      >>> build(Point, parse('{"x": 3}'))
      Point(x=3)
    """
    return _build(kind, value, "", more)


def _build(kind: Any, value: Any, where: str, more: bool) -> Any:
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where, more)
    if kind is np.ndarray:
        numbers = _items(value, where)
        return np.array([_scalar(float, number, f"{where}[{at}]") for at, number in enumerate(numbers)], np.float64)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (other,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _build(other, value, where, more)
    if origin is tuple:
        items = _items(value, where)
        kinds = [arguments[0]] * len(items) if arguments[1:] == (...,) else arguments
        if len(kinds) != len(items):
            raise ValueError(f"{where} must have {len(kinds)} items, got {len(items)}")
        return tuple(_build(*item, f"{where}[{at}]", more) for at, item in enumerate(zip(kinds, items, strict=True)))
    if origin in (collections.abc.Mapping, collections.Counter):
        key, kind = arguments[0], arguments[1] if origin is collections.abc.Mapping else int
        pairs = _object(value, where).items()
        made = {_key(key, name, where): _build(kind, item, _below(where, name), more) for name, item in pairs}
        return made if origin is collections.abc.Mapping else collections.Counter(made)
    return _scalar(kind, value, where)


def _dataclass(kind: Any, value: Any, where: str, more: bool) -> Any:
    values, hints = dict(_object(value, where)), _hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := values.keys() - fields.keys():
        if not more:
            raise ValueError(f"{_below(where, min(unknown))} is not known")
        for name in unknown:
            del values[name]
    for name, field in fields.items():
        if name in values:
            values[name] = _build(hints[name], values[name], _below(where, name), more)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{_below(where, name)} is missing")
    try:
        return kind(**values)
    except ValueError as error:
        # Without backticks, as what a file holds is no flag (see terminal.name_flags).
        reason = str(error).replace("`", "")
        raise ValueError(f"{where}: {reason}" if where else reason) from None


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _scalar(kind: Any, value: Any, where: str) -> Any:
    # In Python, a bool is an int as well.
    fits = isinstance(value, int | float if kind is float else kind) and (kind is bool or not isinstance(value, bool))
    if not fits:
        raise ValueError(f"{where or 'it'} must be {_KINDS[kind]}, got {_brief(value)}")
    if isinstance(value, int) and abs(value) > _MAX_INT:
        raise ValueError(f"{where or 'it'} must be a number of 64 bits, got one of {len(str(value))} digits")
    if kind is not float:
        return value
    if not math.isfinite(value):
        raise ValueError(f"{where or 'it'} must be a finite number, got {value}")
    return float(value)


def _key(kind: Any, name: str, where: str) -> Any:
    if kind is str:
        return name
    # Only the form in which Python writes the number, so that no two names mean the same one.
    if not name.isascii() or not name.isdigit() or len(name) > len(str(_MAX_INT)) or str(int(name)) != name:
        raise ValueError(f"{where} must have whole numbers as names, got {_brief(name)}")
    return _scalar(int, int(name), _below(where, name))


def _items(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list, got {_brief(value)}")
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'it'} must be an object, got {_brief(value)}")
    return value


def _below(where: str, name: str) -> str:
    name = _brief(name).strip("'\"")
    return f"{where}.{name}" if where else name


def _brief(value: Any) -> str:
    """Return a value as a short text."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
