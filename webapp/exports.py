"""Observations on their way out as lines of JSON or as CSV: all of them, read in pages that hold the database for a moment each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flask import Response, request

from db import observations
from db.errors import NotFound
from db.models import Entity
from db.observations import Row
from tasks.runtime import Runtime
from webapp.negotiate import CSV, LINES
from webapp.problems import fault, invalid
from webapp.schemas.fields import iso

#: Rows of a page: some hundred kilobytes in memory, a few milliseconds of the database.
PAGE = 5_000


def export(runtime: Runtime, entity: Entity, query: Mapping[str, Any], form: str) -> Response:
    """The whole selection in that form, written as it is read: nothing is held in memory, no connection while the client is slow."""
    for name in ("limit", "cursor"):
        if name in request.args:
            raise invalid(fault(f"/query/{name}", "not_supported", "Lines and CSV bring all rows at once; pages are for JSON."))
    head, write = WRITERS[form]
    body = (text for part in ([head] if head else [], map(write, _pages(runtime, entity, query))) for text in part)
    return Response(body, content_type=f"{form}; charset=utf-8" if form == CSV else form, headers={"Vary": "Accept"})


def _pages(runtime: Runtime, entity: Entity, query: Mapping[str, Any]) -> Iterator[Sequence[Row]]:
    channels = [query["channel"]] if query["channel"] else None
    rows: Sequence[Row] = ()
    while not rows or len(rows) == PAGE:
        after = (rows[-1].channel, rows[-1].at) if rows else None
        with runtime.sessions() as session:
            if session.get(Entity, entity.id) is None:  # erased meanwhile: the client must not take what it has for all there is
                raise NotFound("entity", entity.name)
            rows = observations.page(
                session, entity, channels=channels, since=query["since"], until=query["until"], limit=PAGE, after=after
            )
        if not rows:
            return
        yield rows


def _lines(rows: Sequence[Row]) -> str:
    return "".join(json.dumps({"channel": row.channel, "at": iso(row.at), "value": row.value}) + "\n" for row in rows)


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows((iso(row.at), row.channel, row.value) for row in rows)
    return out.getvalue()


#: What comes first in each form, and how a page of rows is written. What goes out can be sent in again.
WRITERS: Mapping[str, tuple[str, Callable[[Sequence[Row]], str]]] = {LINES: ("", _lines), CSV: ("at,channel,value\n", _csv)}
