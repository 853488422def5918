"""Strict fields: a number is no string, a bool no number, a text holds no control characters, a moment is in UTC."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

#: C0 and C1 controls (Postgres refuses NUL), and halves of surrogate pairs, which no encoding can carry.
_UNCLEAN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
NAME_LENGTH = 200
#: Moments outside are typing errors; inside, every library on the way agrees on them.
YEARS = range(1900, 2200)
#: Whole numbers that JSON readers everywhere keep exactly.
EXACT = 2**53


def name_fault(name: str) -> str | None:
    """Why this cannot be the name of an entity, a channel or a model; None when it can."""
    if not 1 <= len(name) <= NAME_LENGTH:
        return f"Length must be between 1 and {NAME_LENGTH}."
    if _UNCLEAN.search(name):
        return "Control characters and lone surrogates are not allowed."
    return None


def moment(text: str) -> datetime:
    """An ISO 8601 moment in UTC; one without an offset is taken as UTC. Raises ValueError."""
    try:
        read = datetime.fromisoformat(text)
        in_utc = read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except OverflowError:
        raise ValueError(text) from None
    if in_utc.year not in YEARS:
        raise ValueError(text)
    return in_utc


def iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Text(fields.String):
    """A bounded text without control characters."""

    def __init__(self, *, low: int = 0, high: int = NAME_LENGTH, **about: Any) -> None:
        super().__init__(validate=[validate.Length(low, high), _clean, *about.pop("validate", ())], **about)


class Name(Text):
    """Of an entity, a channel, a model."""

    def __init__(self, **about: Any) -> None:
        super().__init__(low=1, high=NAME_LENGTH, **about)


class Word(fields.String):
    """One of a few words."""

    def __init__(self, *words: str, **about: Any) -> None:
        super().__init__(validate=validate.OneOf(words), **about)


class Whole(fields.Integer):
    """A whole number within bounds; neither a bool, a text nor 1.0."""

    def __init__(self, low: int = -EXACT, high: int = EXACT, **about: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(low, high), **about)


class Real(fields.Float):
    """A finite number within bounds; neither a bool nor a text."""

    def __init__(self, low: float | None = None, high: float | None = None, **about: Any) -> None:
        super().__init__(allow_nan=False, validate=validate.Range(low, high), **about)

    def _validated(self, value: Any) -> float:
        if isinstance(value, str):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Flag(fields.Boolean):
    """true or false, and nothing that resembles them."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Several(fields.List[Any]):
    """A bounded JSON array; an object is none."""

    def __init__(self, inner: fields.Field[Any], low: int, high: int, **about: Any) -> None:
        super().__init__(inner, validate=[validate.Length(low, high), *about.pop("validate", ())], **about)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Moment(fields.DateTime):
    """A moment in UTC, written `2026-11-20T06:00:00Z`."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> datetime:
        try:
            return moment(value)
        except (TypeError, ValueError):
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE) from None

    def _serialize(self, value: Any, *_: Any, **__: Any) -> str | None:
        return iso(value) if isinstance(value, datetime) else value


class Plain(fields.Dict):
    """A small JSON object of the client's own: kept and given back, never interpreted."""

    def __init__(self, *, most: int = 16, size: int = 4096, **about: Any) -> None:
        super().__init__(validate=_Small(most, size), **about)


class _Small:
    """At most `most` keys, `size` characters and DEPTH levels of clean texts and finite numbers."""

    DEPTH = 4

    def __init__(self, most: int, size: int) -> None:
        self._most = most
        self._size = size

    def __call__(self, value: Mapping[str, Any]) -> None:
        if len(value) > self._most:
            raise ValidationError(f"Longer than {self._most} keys.")
        if self._weigh(value, self.DEPTH) > self._size:
            raise ValidationError(f"Longer than {self._size} characters.")

    def _weigh(self, value: Any, levels: int) -> int:
        if isinstance(value, Mapping | list) and levels == 0:
            raise ValidationError(f"Nested deeper than {self.DEPTH} levels.")
        if isinstance(value, Mapping):
            return sum(self._weigh(key, levels) + self._weigh(inner, levels - 1) for key, inner in value.items())
        if isinstance(value, list):
            return sum(self._weigh(inner, levels - 1) for inner in value) + len(value)
        return _weigh_leaf(value)


def _weigh_leaf(value: Any) -> int:
    if isinstance(value, str):
        _clean(value)
        return len(value) + 1
    if isinstance(value, int) and abs(value) > EXACT:
        raise ValidationError("Number too large.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValidationError("Special numeric values (nan or infinity) are not permitted.")
    return 1


def _clean(text: str) -> None:
    if _UNCLEAN.search(text):
        raise ValidationError("Control characters and lone surrogates are not allowed.")


class In(Schema):
    """What comes in. A field that is not known is refused, never ignored."""

    class Meta:
        unknown = RAISE


class Out(Schema):
    """What goes out."""
