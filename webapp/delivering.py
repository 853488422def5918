"""A delivery of observations: rows as JSON, lines of JSON or CSV, told one by one which are taken and which are not, within bounds."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any

from tasks.settings import Settings
from webapp.bodies import LONGEST_KEY, read_json, read_text
from webapp.inflow import lines
from webapp.negotiate import CSV, JSON, LINES
from webapp.problems import LISTED, Fault, Refusal, fault, invalid, pointer
from webapp.rows import ENTITY, LONG, Owned, Told, Where, Whose, long, of_many, of_one, wide
from webapp.schemas.fields import NAME_LENGTH

#: Values after which other requests of this process get a turn.
TURN = 2_000


@dataclass
class Delivery:
    """The rows of one request. Iterating yields those that can be taken; the others are counted and, up to a limit, listed."""

    told: Iterator[Told]
    #: `max_batch` bounds the entities, as it does everywhere.
    limits: Settings
    rejected: int = 0
    faults: list[Fault] = field(default_factory=list)

    def __iter__(self) -> Iterator[Owned]:
        channels: set[str] = set()
        entities: set[str] = set()
        for number, row in enumerate(self.told, start=1):
            if number > self.limits.max_values:
                raise Refusal("body_too_large", f"One request may bring {self.limits.max_values} values (MAX_VALUES).")
            if number % TURN == 0:
                time.sleep(0)
            if not isinstance(row, Owned):
                self._reject(row)
                continue
            channels.add(row.row.channel)
            entities.add(row.entity)
            if len(channels) > self.limits.max_channels:
                raise invalid(fault("", "too_long", f"One request may name {self.limits.max_channels} channels (MAX_CHANNELS)."))
            if len(entities) > self.limits.max_batch:
                raise invalid(fault("", "too_long", f"One request may name {self.limits.max_batch} entities (MAX_BATCH)."))
            yield row

    def _reject(self, reason: Fault) -> None:
        self.rejected += 1
        if self.rejected > self.limits.max_rejected:
            raise invalid(*self.faults)
        if len(self.faults) < LISTED:
            self.faults.append(reason)


def delivery(mimetype: str, body: IO[bytes], limits: Settings, entity: str | None = None) -> Delivery:
    """The rows in a body of that type, read as they are asked for; without an `entity` each names its own.

    Raises Refusal, also while they are read, for what cannot be read at all.
    """
    whose = of_many if entity is None else of_one(entity)
    if mimetype == JSON:
        return Delivery(_from_json(body.read(), whose), limits)
    if mimetype not in STREAMED:
        raise Refusal("unsupported_media_type", f"Send one of {', '.join((JSON, *STREAMED))}.")
    return Delivery(STREAMED[mimetype](_not_empty(lines(body, limits.max_values), limits.max_blank), whose, limits), limits)


def _not_empty(found: Iterator[str], most_blank: int) -> Iterator[str]:
    """Lines of which one at least is not blank, and not too many are."""
    blank, told = 0, False
    for line in found:
        if line.strip():
            told = True
        elif (blank := blank + 1) > most_blank:
            raise Refusal("body_too_large", f"One request may bring {most_blank} blank lines (MAX_BLANK).")
        yield line
    if not told:
        raise Refusal("malformed_request", "The body is empty.")


def _from_json(content: bytes, whose: Whose) -> Iterator[Told]:
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
    return _from_lists(body, whose)


def _from_lists(body: Mapping[str, list[Any]], whose: Whose) -> Iterator[Told]:
    for index, row in enumerate(body.get("observations", ())):
        yield from long(("observations", index), row, whose)
    for index, row in enumerate(body.get("rows", ())):
        yield from wide(("rows", index), row, whose)


def _from_lines(found: Iterator[str], whose: Whose, _: Settings) -> Iterator[Told]:
    """Each line an object: long when it has a `channel` and a `value`, else wide."""
    for number, line in enumerate(found, start=1):
        if line.strip():
            yield from _from_line(("line", number), line, whose)


def _from_line(where: Where, line: str, whose: Whose) -> Iterator[Told]:
    try:
        row = read_json(line)
    except Refusal as refusal:
        yield fault(pointer(*where), "malformed", refusal.detail)
        return
    read = long if isinstance(row, dict) and row.keys() >= {"channel", "value"} else wide
    yield from read(where, row, whose)


def _from_csv(found: Iterator[str], whose: Whose, limits: Settings) -> Iterator[Told]:
    reader = csv.reader(found, strict=True)
    try:
        header = _header(next(reader, []), limits.max_channels, named=whose is of_many)
        read = _long_cells if set(header) - {ENTITY} == LONG else _wide_cells
        for cells in reader:
            if cells:
                yield from _from_cells(("line", reader.line_num), header, cells, partial(read, whose=whose))
    except csv.Error as error:
        raise Refusal("malformed_request", f"Not CSV: {error}, line {reader.line_num}.") from None


def _header(cells: list[str], most: int, *, named: bool) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(names) > most + 3 or max(map(len, names), default=0) > LONGEST_KEY:
        raise invalid(fault("/line/1", "too_long", f"The header may name {most} channels of {NAME_LENGTH} characters."))
    needed = ["entity", "at"] if named else ["at"]
    if not set(needed) <= set(names) or len(names) <= len(needed) or len(set(names)) != len(names):
        begin = ",".join(needed)
        fix = f"The header must be {begin},channel,value or {begin},<channel>,<channel>… with no column twice."
        raise invalid(fault("/line/1", "invalid", fix))
    return names


def _from_cells(
    where: Where, header: list[str], cells: list[str], read: Callable[[Where, dict[str, str]], Iterator[Told]]
) -> Iterator[Told]:
    if len(cells) == len(header):
        yield from read(where, dict(zip(header, cells, strict=True)))
    else:
        yield fault(pointer(*where), "wrong_length", f"{len(cells)} cells under a header of {len(header)}.")


def _long_cells(where: Where, row: dict[str, str], whose: Whose) -> Iterator[Told]:
    yield from long(where, row | {"value": _number(row["value"])}, whose)


def _wide_cells(where: Where, row: dict[str, str], whose: Whose) -> Iterator[Told]:
    words = {"at", ENTITY} if whose is of_many else {"at"}
    yield from wide(where, {name: cell if name in words else _number(cell) for name, cell in row.items()}, whose)


def _number(cell: str) -> float | str | None:
    """An empty cell is no value; one that holds no number stays as it is, to be rejected at its place."""
    if not cell.strip():
        return None
    try:
        return float(cell) if cell.isascii() and "_" not in cell else cell  # Python also reads 1_0 and ٣
    except ValueError:
        return cell


#: The types of body that are read line by line.
STREAMED: Mapping[str, Callable[[Iterator[str], Whose, Settings], Iterator[Told]]] = {LINES: _from_lines, CSV: _from_csv}
