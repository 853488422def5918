"""One row of observations on the wire: long or wide, of one entity or naming its own; what can be taken of it, and why the rest cannot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from db.observations import Row
from webapp.paths import path_fault
from webapp.problems import Fault, fault, pointer
from webapp.schemas.fields import NAME_LENGTH, YEARS, moment, name_fault

#: Most names of entities and of channels that are remembered as good: rows name the same few over and over.
REMEMBERED = 10_000
#: The members of a long row, but for whose it is.
LONG = {"at", "channel", "value"}
#: The member that says whose a row is.
ENTITY = "entity"
#: As the other schemas say it.
MISSING = "Missing data for required field."


class Owned(NamedTuple):
    """A value that can be taken, and the name of its entity."""

    entity: str
    row: Row


#: What became of a value: taken, or why not.
Told = Owned | Fault
#: Where a row stood in the body, as the steps of a pointer.
Where = tuple[str | int, ...]
#: Whose a row is, and what else it says. Raises Wrong.
Whose = Callable[[Where, Mapping[str, Any]], tuple[str, Mapping[str, Any]]]


class Wrong(Exception):
    """A row cannot be taken."""

    def __init__(self, where: Where, code: str, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault(pointer(*where), code, detail)


def of_one(entity: str) -> Whose:
    """Rows of an entity that is named elsewhere."""
    return lambda _, row: (entity, row)


def of_many(where: Where, row: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Rows that name their own."""
    if ENTITY not in row:
        raise Wrong((*where, ENTITY), "required", "Say whose the row is.")
    return _entity((*where, ENTITY), row[ENTITY]), {name: value for name, value in row.items() if name != ENTITY}


def long(where: Where, row: Any, whose: Whose) -> Iterator[Told]:
    """One value."""
    try:
        entity, told = whose(where, row) if isinstance(row, dict) else ("", {})
        if len(missing := LONG - told.keys()) == 1 and told.keys() < LONG:
            raise Wrong((*where, *missing), "required", MISSING)
        if told.keys() != LONG:
            raise Wrong(where, "wrong_type", "Not an object of at, channel and value.")
        channel, at = _channel((*where, "channel"), told["channel"]), _at((*where, "at"), told["at"])
        yield Owned(entity, Row(channel, at, _value((*where, "value"), told["value"])))
    except Wrong as wrong:
        yield wrong.fault


def wide(where: Where, row: Any, whose: Whose) -> Iterator[Told]:
    """A channel whose value is null or empty was not measured then."""
    if not isinstance(row, dict):
        yield fault(pointer(*where), "wrong_type", "Not an object of at and channels.")
        return
    try:
        entity, told = whose(where, row)
        if "at" not in told:
            raise Wrong((*where, "at"), "required", MISSING)
        at = _at((*where, "at"), told["at"])
    except Wrong as wrong:
        yield wrong.fault
        return
    for name, value in told.items():
        if name != "at" and value is not None:
            yield _cell((*where, name), entity, name, at, value)


def _cell(where: Where, entity: str, name: str, at: datetime, value: Any) -> Told:
    try:
        return Owned(entity, Row(_channel(where, name), at, _value(where, value)))
    except Wrong as wrong:
        return wrong.fault


def _entity(where: Where, name: Any) -> str:
    if not isinstance(name, str):
        raise Wrong(where, "wrong_type", "Not a valid string.")
    wrong = _entity_fault(name) if len(name) > NAME_LENGTH else _known_entity_fault(name)
    if wrong is not None:
        raise Wrong(where, wrong["code"], wrong["detail"])
    return name


def _entity_fault(name: str) -> Fault | None:
    """As a path would be refused that holds it."""
    wrong = name_fault(name)
    return path_fault(name) if wrong is None else fault("", "invalid", wrong)


_known_entity_fault = lru_cache(maxsize=REMEMBERED)(_entity_fault)


def _channel(where: Where, name: Any) -> str:
    if not isinstance(name, str):
        raise Wrong(where, "wrong_type", "Not a valid string.")
    wrong = name_fault(name) if len(name) > NAME_LENGTH else _name_fault(name)  # only what is short is remembered
    if wrong is not None:
        raise Wrong(where, "invalid", wrong)
    return name


_name_fault = lru_cache(maxsize=REMEMBERED)(name_fault)


def _at(where: Where, text: Any) -> datetime:
    try:
        return moment(text)
    except (TypeError, ValueError):
        raise Wrong(where, "wrong_type", f"Not an ISO 8601 moment from {YEARS.start} to {YEARS.stop - 1}.") from None


def _value(where: Where, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(where, "wrong_type", "Not a valid number.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Wrong(where, "out_of_bounds", "Must be a finite number.")
    return number
