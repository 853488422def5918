"""Observations on the wire: long or wide rows as JSON, lines of JSON or CSV, told one by one which are taken and which are not."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import IO, Any

from db.observations import Row
from webapp.bodies import LONGEST_KEY, read_json, read_text
from webapp.inflow import lines
from webapp.negotiate import CSV, JSON, LINES
from webapp.problems import LISTED, Fault, Refusal, fault, invalid, pointer
from webapp.schemas.fields import NAME_LENGTH, YEARS, moment, name_fault

#: Most values, and lines, that one request may bring: they wait beside the tables until all are there, in some two gigabytes of disk.
MOST_VALUES = 20_000_000
#: Most channels that one request may name.
MOST_CHANNELS = 1_000
#: Most rows of one request that may be passed over: a body of nothing else would keep this process busy for nothing.
MOST_REJECTED = 100_000
MOST_BLANK = 1_000_000
#: Values after which other requests of this process get a turn.
TURN = 2_000

#: The members of a long row.
LONG = {"at", "channel", "value"}

#: A row that can be taken, or why it cannot.
Told = Row | Fault
#: Reads the cells of a line by the names in the header.
Read = Callable[["Where", dict[str, str]], Iterator[Told]]
#: Where a row stood in the body, as the steps of a pointer.
Where = tuple[str | int, ...]


@dataclass
class Delivery:
    """The rows of one request. Iterating yields those that can be taken; the others are counted and, up to a limit, listed."""

    told: Iterator[Told]
    rejected: int = 0
    faults: list[Fault] = field(default_factory=list)

    def __iter__(self) -> Iterator[Row]:
        channels: set[str] = set()
        for number, row in enumerate(self.told, start=1):
            if number > MOST_VALUES:
                raise Refusal("body_too_large", f"One request may bring {MOST_VALUES} values.")
            if number % TURN == 0:
                time.sleep(0)
            if not isinstance(row, Row):
                self._reject(row)
                continue
            channels.add(row.channel)
            if len(channels) > MOST_CHANNELS:
                raise invalid(fault("", "too_long", f"One request may name {MOST_CHANNELS} channels."))
            yield row

    def _reject(self, reason: Fault) -> None:
        self.rejected += 1
        if self.rejected > MOST_REJECTED:
            raise invalid(*self.faults)
        if len(self.faults) < LISTED:
            self.faults.append(reason)


def delivery(mimetype: str, body: IO[bytes]) -> Delivery:
    """The rows in a body of that type, read as they are asked for. Raises Refusal, then too, for what cannot be read at all."""
    if mimetype == JSON:
        return Delivery(_from_json(body.read()))
    if mimetype not in STREAMED:
        raise Refusal("unsupported_media_type", f"Send one of {', '.join((JSON, *STREAMED))}.")
    return Delivery(STREAMED[mimetype](_not_empty(lines(body, MOST_VALUES))))


def _not_empty(found: Iterator[str]) -> Iterator[str]:
    """Lines of which one at least is not blank, and not too many are."""
    blank, told = 0, False
    for line in found:
        if line.strip():
            told = True
        elif (blank := blank + 1) > MOST_BLANK:
            raise Refusal("body_too_large", f"One request may bring {MOST_BLANK} blank lines.")
        yield line
    if not told:
        raise Refusal("malformed_request", "The body is empty.")


def _from_json(content: bytes) -> Iterator[Told]:
    text = read_text(content)
    if not text.strip():
        raise Refusal("malformed_request", "The body is empty.")
    body = read_json(text)
    if not isinstance(body, dict):
        raise invalid(fault("", "wrong_type", 'Send {"observations": […]} or {"rows": […]}.'))
    unknown = sorted(body.keys() - {"observations", "rows"})
    if unknown:
        raise invalid(*(fault(pointer(name), "unknown_field", "Unknown field.") for name in unknown))
    for name, rows in body.items():
        if not isinstance(rows, list):
            raise invalid(fault(f"/{name}", "wrong_type", "Not a valid list."))
    if not any(body.values()):
        raise invalid(fault("/observations", "required", "Send at least one row."))
    return _from_lists(body)


def _from_lists(body: Mapping[str, list[Any]]) -> Iterator[Told]:
    for index, row in enumerate(body.get("observations", ())):
        yield _long(("observations", index), row)
    for index, row in enumerate(body.get("rows", ())):
        yield from _wide(("rows", index), row)


def _from_lines(found: Iterator[str]) -> Iterator[Told]:
    """Each line an object: long when it has a `channel` and a `value`, else wide."""
    for number, line in enumerate(found, start=1):
        if line.strip():
            yield from _from_line(("line", number), line)


def _from_line(where: Where, line: str) -> Iterator[Told]:
    try:
        row = read_json(line)
    except Refusal as refusal:
        yield fault(pointer(*where), "malformed", refusal.detail)
        return
    if isinstance(row, dict) and row.keys() >= {"channel", "value"}:
        yield _long(where, row)
    else:
        yield from _wide(where, row)


def _from_csv(found: Iterator[str]) -> Iterator[Told]:
    reader = csv.reader(found, strict=True)
    try:
        header = _header(next(reader, []))
        read = _long_cells if set(header) == LONG else _wide_cells
        for cells in reader:
            if cells:
                yield from _from_cells(("line", reader.line_num), header, cells, read)
    except csv.Error as error:
        raise Refusal("malformed_request", f"Not CSV: {error}, line {reader.line_num}.") from None


def _header(cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(names) > MOST_CHANNELS + 2 or max(map(len, names), default=0) > LONGEST_KEY:
        raise invalid(fault("/line/1", "too_long", f"The header may name {MOST_CHANNELS} channels of {NAME_LENGTH} characters."))
    if "at" not in names or len(names) < 2 or len(set(names)) != len(names):
        raise invalid(fault("/line/1", "invalid", "The header must be at,channel,value or at,<channel>,<channel>… with no column twice."))
    return names


def _from_cells(where: Where, header: list[str], cells: list[str], read: Read) -> Iterator[Told]:
    if len(cells) == len(header):
        yield from read(where, dict(zip(header, cells, strict=True)))
    else:
        yield fault(pointer(*where), "wrong_length", f"{len(cells)} cells under a header of {len(header)}.")


def _long_cells(where: Where, row: dict[str, str]) -> Iterator[Told]:
    yield _long(where, row | {"value": _number(row["value"])})


def _wide_cells(where: Where, row: dict[str, str]) -> Iterator[Told]:
    yield from _wide(where, {name: cell if name == "at" else _number(cell) for name, cell in row.items()})


def _number(cell: str) -> float | str | None:
    """An empty cell is no value; one that holds no number stays as it is, to be rejected at its place."""
    if not cell.strip():
        return None
    try:
        return float(cell) if cell.isascii() and "_" not in cell else cell  # Python also reads 1_0 and ٣
    except ValueError:
        return cell


class _Wrong(Exception):
    """A row cannot be taken."""

    def __init__(self, where: Where, code: str, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault(pointer(*where), code, detail)


def _long(where: Where, row: Any) -> Told:
    if not isinstance(row, dict) or row.keys() != LONG:
        return fault(pointer(*where), "wrong_type", "Not an object of at, channel and value.")
    try:
        return Row(_channel((*where, "channel"), row["channel"]), _at((*where, "at"), row["at"]), _value((*where, "value"), row["value"]))
    except _Wrong as wrong:
        return wrong.fault


def _wide(where: Where, row: Any) -> Iterator[Told]:
    """A channel whose value is null or empty was not measured then."""
    if not isinstance(row, dict):
        yield fault(pointer(*where), "wrong_type", "Not an object of at and channels.")
        return
    try:
        at = _at((*where, "at"), row.get("at"))
    except _Wrong as wrong:
        yield wrong.fault
        return
    for name, value in row.items():
        if name != "at" and value is not None:
            yield _cell((*where, name), name, at, value)


def _cell(where: Where, name: str, at: datetime, value: Any) -> Told:
    try:
        return Row(_channel(where, name), at, _value(where, value))
    except _Wrong as wrong:
        return wrong.fault


def _channel(where: Where, name: Any) -> str:
    if not isinstance(name, str):
        raise _Wrong(where, "wrong_type", "Not a valid string.")
    wrong = name_fault(name) if len(name) > NAME_LENGTH else _name_fault(name)  # only what is short is remembered
    if wrong is not None:
        raise _Wrong(where, "invalid", wrong)
    return name


#: Rows name the same few channels over and over.
_name_fault = lru_cache(maxsize=MOST_CHANNELS)(name_fault)


def _at(where: Where, text: Any) -> datetime:
    try:
        return moment(text)
    except (TypeError, ValueError):
        raise _Wrong(where, "wrong_type", f"Not an ISO 8601 moment from {YEARS.start} to {YEARS.stop - 1}.") from None


def _value(where: Where, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Wrong(where, "wrong_type", "Not a valid number.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _Wrong(where, "out_of_bounds", "Must be a finite number.")
    return number


#: The types of body that are read line by line.
STREAMED: Mapping[str, Callable[[Iterator[str]], Iterator[Told]]] = {LINES: _from_lines, CSV: _from_csv}
