"""The forms in which a table writes its moments, and how each is compared and read. Imports no numeric library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import TIMESTAMP, BigInteger, ColumnElement, Date, DateTime, func
from sqlalchemy.types import TypeEngine

from db.sources.source import milliseconds

_DAY = timedelta(days=1)
_DAY_S = 86_400
#: With its offset. BigQuery has another type for moments without one, and compares neither with the other.
STAMP = DateTime(timezone=True).with_variant(TIMESTAMP(timezone=True), "bigquery")


@dataclass(frozen=True, slots=True)
class Form:
    """One form. Of a moment between two that it can write, `write` gives the later: `at >= since` and `at < until` then mean the same."""

    type: TypeEngine[Any]
    write: Callable[[datetime], Any]
    #: As milliseconds since 1970.
    read: Callable[[Any], int]
    #: The UTC day of a column, to be counted.
    day: Callable[[ColumnElement[Any]], ColumnElement[Any]]


def _whole_day(at: datetime) -> date:
    """The day that begins then, or the next one that begins."""
    day = at.astimezone(UTC).date()
    return day if at == datetime(day.year, day.month, day.day, tzinfo=UTC) else day + _DAY


def _number_of(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day


def _day_of(number: Any) -> int:
    """20260131 → that day's midnight. Raises ValueError for what is no day."""
    written = int(number)
    return milliseconds(datetime(written // 10_000, written // 100 % 100, written % 100, tzinfo=UTC))


def _midnight(day: Any) -> int:
    if not isinstance(day, date):
        raise TypeError(f"{type(day).__name__} is no day")
    return milliseconds(datetime(day.year, day.month, day.day, tzinfo=UTC))


def _itself(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return column


def _day_of_epoch(length: int) -> Callable[[ColumnElement[Any]], ColumnElement[Any]]:
    """The number that a day begins with: databases are of two minds whether the quotient of two integers is one."""
    return lambda column: column - column % length


FORMS: Mapping[str, Form] = {
    "timestamp": Form(STAMP, lambda at: at, milliseconds, func.date),
    #: Without an offset, in UTC.
    "datetime": Form(DateTime(), lambda at: at.astimezone(UTC).replace(tzinfo=None), milliseconds, func.date),
    "date": Form(Date(), _whole_day, _midnight, _itself),
    #: 20260131, as keys of date dimensions are written.
    "yyyymmdd": Form(BigInteger(), lambda at: _number_of(_whole_day(at)), _day_of, _itself),
    "epoch_s": Form(
        BigInteger(),
        lambda at: math.ceil(milliseconds(at) / 1000),
        lambda seconds: round(seconds * 1000),
        _day_of_epoch(_DAY_S),
    ),
    "epoch_ms": Form(BigInteger(), milliseconds, int, _day_of_epoch(_DAY_S * 1000)),
}
