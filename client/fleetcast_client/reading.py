"""How answers are read: JSON becomes frozen values, and what this release does not know is kept beside them."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

Reader = Callable[[Any], Any]
#: By the member's name in JSON: the field, and how its value is read.
Members = Mapping[str, tuple[str, Reader]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the service answered. A newer service may tell more: `more` holds it, as it came."""

    more: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """From JSON. A member that an older service does not tell is None."""
        known = _members(cls)
        mine = {name: reader(told.get(member)) for member, (name, reader) in known.items()}
        return cls(more={member: value for member, value in told.items() if member not in known}, **mine)


#: Each kind is looked through once.
_LOOKED_THROUGH: dict[type[Answer], Members] = {}


def _members(kind: type[Answer]) -> Members:
    """Of a kind of answer. A field whose name is a word of Python's ends in `_`."""
    if kind not in _LOOKED_THROUGH:
        hints, own = get_type_hints(kind), (each.name for each in fields(kind) if each.name != "more")
        _LOOKED_THROUGH[kind] = {name.rstrip("_"): (name, _reader(hints[name])) for name in own}
    return _LOOKED_THROUGH[kind]


def _reader(hint: Any) -> Reader:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _choice([option for option in inner if option is not types.NoneType])
    if hint is datetime:
        return _unless_null(datetime.fromisoformat)
    if isinstance(hint, type) and issubclass(hint, Answer):
        return _unless_null(hint.read)
    if origin is tuple:
        one = _reader(inner[0])
        return _unless_null(lambda values: tuple(map(one, values)))
    if origin is not None and issubclass(origin, Mapping):
        each = _reader(inner[1])
        return _unless_null(lambda values: {key: each(value) for key, value in values.items()})
    return lambda value: value


def _unless_null(read: Reader) -> Reader:
    return lambda value: None if value is None else read(value)


def _choice(options: Sequence[Any]) -> Reader:
    """The only one, or the kind of answer whose members these are."""
    if len(options) == 1:
        return _reader(options[0])
    return _unless_null(lambda told: min(options, key=lambda kind: _strangeness(kind, told)).read(told))


def _strangeness(kind: type[Answer], told: Mapping[str, Any]) -> tuple[int, int]:
    """How many members are not of this kind; among equals, how many of its own are missing."""
    needed = {each.name.rstrip("_") for each in fields(kind) if each.default is MISSING and each.name != "more"}
    return len(told.keys() - _members(kind).keys()), len(needed - told.keys())
