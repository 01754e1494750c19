"""Dataclass fields that carry their flag, help, limits and parser; flags, checks and JSON derive from them."""

import dataclasses
import math
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from absl import flags

from tfrecords.common.command_line import UserError

_KEY = "setting"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a field says of itself; see `setting`."""

    help: str
    flag: str
    minimum: float | None
    maximum: float | None
    above: float | None
    below: float | None
    choices: Collection[str]
    parse: Callable[[str], Any] | None
    to_text: Callable[[Any], str] | None
    describe: str | Mapping[Any, str]

    @property
    def rule(self) -> str:
        """Which values are allowed, as the end of "must be ..."."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        first = None if self.minimum is None else f"from {self.minimum}"
        if self.maximum is not None:
            return f"{first} to {self.maximum}"
        if self.below is not None:
            return f"{first} to below {self.below}"
        return f"above {self.above}" if self.above is not None else f"at least {self.minimum}"

    def allows(self, value: Any) -> bool:
        """Whether a value keeps the rule; None never does if there is one."""
        if self.choices:
            return value in self.choices
        bounds = (self.minimum, self.maximum, self.above, self.below)
        if all(bound is None for bound in bounds):
            return True
        return (
            value is not None
            and (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


def setting(
    default: Any,
    *,
    help: str,  # noqa: A002 - as absl and argparse call it
    flag: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Collection[str] = (),
    parse: Callable[[str], Any] | None = None,
    to_text: Callable[[Any], str] | None = None,
    describe: str | Mapping[Any, str] = "",
) -> Any:
    """Return a dataclass field that is a setting.

    Args:
      default: its value where none is given.
      help: of its flag.
      flag: name of its flag; by default the field's own.
      minimum: the smallest value.
      maximum: the largest value.
      above: every value is larger.
      below: every value is smaller.
      choices: the values that there are.
      parse: makes a value of the flag's text, where that is neither a number nor the value itself.
      to_text: undoes `parse`.
      describe: how a report says a value that is not 0 or empty, such as "labels smoothed by {:g}"; or words by value.
    """
    made = Setting(help, flag, minimum, maximum, above, below, choices, parse, to_text, describe)
    metadata = {_KEY: made}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def settings_of(kind: type) -> Mapping[str, Setting]:
    """The settings of a dataclass, by the names of their fields."""
    return {
        field.name: dataclasses.replace(field.metadata[_KEY], flag=field.metadata[_KEY].flag or field.name)
        for field in dataclasses.fields(kind)
        if _KEY in field.metadata
    }


def default_of(kind: type, name: str) -> Any:
    """A field's default value."""
    field = next(field for field in dataclasses.fields(kind) if field.name == name)
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def check(values: Any) -> None:
    """Raise UserError unless every setting of a dataclass has a value that it may have."""
    optional = _optional_fields(type(values))
    for name, each in settings_of(type(values)).items():
        value = getattr(values, name)
        if value is None and name in optional:
            continue
        if not each.allows(value):
            raise UserError(f"`{name}` must be {each.rule}, got {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"`{name}` must be a finite number, got {value!r}")


def _optional_fields(kind: type) -> set[str]:
    """Return the names of a dataclass's fields that may be None."""
    return {name for name, hint in typing.get_type_hints(kind).items() if type(None) in typing.get_args(hint)}


def define_flags(
    kind: type,
    flag_values: flags.FlagValues,
    *,
    skip: Collection[str] = (),
    defaults: Mapping[str, str] | None = None,
) -> None:
    """Define a flag for each setting of a dataclass.

    Args:
      kind: the dataclass.
      flag_values: to which they are added.
      skip: fields that get no flag.
      defaults: for a field whose default is not always the same, what its help says of it; such a flag is None unless
        it is given.
    """
    defaults, hints = defaults or {}, typing.get_type_hints(kind)
    for name, each in settings_of(kind).items():
        if name in skip:
            continue
        words, default = each.help, default_of(kind, name)
        if name in defaults:
            words, default = f"{words}; by default {defaults[name]}", None
        elif each.to_text is not None and default is not None:
            default = each.to_text(default)
        types = {hints[name], *typing.get_args(hints[name])}
        if each.parse is not None:
            define = flags.DEFINE_string
        elif bool in types:
            define = flags.DEFINE_bool
        elif float in types:
            define = flags.DEFINE_float
        else:
            define = flags.DEFINE_integer if int in types else flags.DEFINE_string
        define(each.flag, default, words, flag_values=flag_values)


def from_flags(kind: type, flag_values: flags.FlagValues, *, skip: Collection[str] = ()) -> dict[str, Any]:
    """Return what the flags of a dataclass hold, by the names of its fields; nothing for those that are None.

    Raises:
      UserError: the text of a flag is no value of its setting.
    """
    values: dict[str, Any] = {}
    for name, each in settings_of(kind).items():
        if name in skip or (value := flag_values[each.flag].value) is None:
            continue
        try:
            values[name] = each.parse(value) if each.parse is not None else value
        except UserError as error:
            raise UserError(f"`{each.flag}`: {error}") from None
    return values


def to_flags(values: Any, *, skip: Collection[str] = ()) -> dict[str, Any]:
    """Return the settings of a dataclass as their flags would give them, by the names of the flags."""
    return {
        each.flag: each.to_text(getattr(values, name)) if each.to_text is not None else getattr(values, name)
        for name, each in settings_of(type(values)).items()
        if name not in skip
    }


def flag_meaning(kind: type, flag: str, value: Any) -> Any:
    """Return the value that a flag's text stands for; for None, as of a file from before the flag, the default."""
    for name, each in settings_of(kind).items():
        if each.flag == flag:
            if value is None:
                return default_of(kind, name)
            return each.parse(value) if each.parse is not None and isinstance(value, str) else value
    return value


def parse_path(text: str) -> Path | None:
    """Return a path, None for an empty text."""
    return Path(text) if text else None
