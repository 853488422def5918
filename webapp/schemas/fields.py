"""Strict fields: a number is no string, a bool no number, a text holds no control characters, a moment is in UTC."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validate

#: C0 and C1 controls (Postgres refuses NUL), and halves of surrogate pairs, which no encoding can carry.
_UNCLEAN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
NAME_LENGTH = 200
#: Moments outside are typing errors; inside, every library on the way agrees on them.
YEARS = range(1900, 2200)
#: Whole numbers that JSON readers everywhere keep exactly.
EXACT = 2**53
#: Members of a list that are looked at until other requests of this process get a turn.
TURN = 2_000
#: Wrong members of a list after which the others are not looked at.
MOST_WRONG = 100
#: A date, or a date and a time after T or a space. Python takes any sign between the two, a NUL as well, and reads the offset of a bare
#: date (2026-01-01+02:00) as a time.
_MOMENT = re.compile(r"(?:[0-9]{4}-?[0-9]{2}-?[0-9]{2}|[0-9]{4}-?W[0-9]{2}(?:-?[0-9])?)(?:[T ][0-9:.,]+(?:Z|[+-][0-9:.]+)?)?")
#: Python also reads 1_0, ٣ and the digits between two spaces.
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


def name_fault(name: str) -> str | None:
    """Why this cannot be the name of an entity, a channel or a model; None when it can."""
    if not 1 <= len(name) <= NAME_LENGTH:
        return f"Length must be between 1 and {NAME_LENGTH}."
    if _UNCLEAN.search(name):
        return "Control characters and lone surrogates are not allowed."
    return None


def moment(text: str) -> datetime:
    """An ISO 8601 moment in UTC; one without an offset is taken as UTC. Raises ValueError, and TypeError for what is no text."""
    if _MOMENT.fullmatch(text) is None:
        raise ValueError(text)
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


class Digits(fields.Integer):
    """A whole number within bounds, in a query string."""

    def __init__(self, low: int, high: int, **about: Any) -> None:
        super().__init__(validate=validate.Range(low, high), **about)

    def _validated(self, value: Any) -> int:
        return super()._validated(_plain_number(self, value))


class Decimal(fields.Float):
    """A number within bounds, in a query string."""

    def __init__(self, low: float, high: float, **about: Any) -> None:
        super().__init__(allow_nan=False, validate=validate.Range(low, high), **about)

    def _validated(self, value: Any) -> float:
        return super()._validated(_plain_number(self, value))


def _plain_number(field: fields.Field[Any], value: Any) -> str:
    if not isinstance(value, str) or _NUMBER.fullmatch(value) is None:
        raise field.make_error("invalid", input=value)
    return value


class Flag(fields.Boolean):
    """true or false, and nothing that resembles them."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Several(fields.List[Any]):
    """A bounded JSON array; an object is none."""

    def __init__(self, inner: fields.Field[Any], low: int, high: int, **about: Any) -> None:
        self._length = validate.Length(low, high)
        super().__init__(inner, validate=[self._length, *about.pop("validate", ())], **about)

    def _deserialize(self, value: Any, *_: Any, **about: Any) -> list[Any]:
        """Its length first, then its members, until so many are wrong that nobody would read of more."""
        if not isinstance(value, list):
            raise self.make_error("invalid", input=value)
        self._length(value)
        taken: list[Any] = []
        wrong: dict[int, Any] = {}
        for index, member in enumerate(value):
            try:
                taken.append(self.inner.deserialize(member, **about))
            except ValidationError as error:
                wrong[index] = error.messages
            if index % TURN == TURN - 1:
                time.sleep(0)
            if len(wrong) == MOST_WRONG:
                break
        if wrong:
            raise ValidationError(wrong)
        return taken


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
        left = self._size
        for weight in self._weights(value, self.DEPTH):
            left -= weight
            if left < 0:
                raise ValidationError(f"Longer than {self._size} characters.")

    def _weights(self, value: Any, levels: int) -> Iterator[int]:
        """Of every part, one by one: of millions only the first thousands are weighed."""
        if isinstance(value, Mapping | list) and levels == 0:
            raise ValidationError(f"Nested deeper than {self.DEPTH} levels.")
        if isinstance(value, Mapping):
            for key, inner in value.items():
                yield _weigh_leaf(key)
                yield from self._weights(inner, levels - 1)
        elif isinstance(value, list):
            for inner in value:
                yield 1
                yield from self._weights(inner, levels - 1)
        else:
            yield _weigh_leaf(value)


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
    """What goes out. Every member is always there, but for those marked `sometimes`; clients pass over members that they do not know."""

    class Meta:
        unknown = EXCLUDE

    def on_bind_field(self, _: str, field_obj: fields.Field[Any]) -> None:
        field_obj.required = not field_obj.metadata.get("sometimes", False)
