"""Pages of a list: a cursor says where the last one ended, and serves only the list and the filters it was made for."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from webapp.problems import Refusal, fault, invalid
from webapp.schemas.fields import name_fault

Row = TypeVar("Row")
Mark = TypeVar("Mark")

_SEMVER = re.compile(r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){2}")


def encode(mark: Any, filters: Mapping[str, Any]) -> str:
    """`mark` is the sort key of a page's last row, as JSON can carry it."""
    return base64.urlsafe_b64encode(json.dumps([_binding(filters), mark]).encode()).decode().rstrip("=")


def decode(cursor: str | None, filters: Mapping[str, Any], read: Callable[[Any], Mark]) -> Mark | None:
    """What `read` makes of the mark in a cursor; None without a cursor. Raises Refusal for one that this list never gave out.

    A cursor is not signed: `read` raises ValueError or TypeError for what cannot be a mark, before Postgres sees it.
    """
    if cursor is None:
        return None
    try:
        binding, mark = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        found = read(mark)
    except (ValueError, TypeError, RecursionError):
        raise _unknown() from None
    if binding != _binding(filters):
        raise _unknown()
    return found


def number(mark: Any) -> int:
    if type(mark) is not int or not 0 <= mark < 2**63:
        raise ValueError(mark)
    return mark


def text(mark: Any) -> str:
    if not isinstance(mark, str) or name_fault(mark) is not None:
        raise ValueError(mark)
    return mark


def semver(mark: Any) -> str:
    if not isinstance(mark, str) or _SEMVER.fullmatch(mark) is None:
        raise ValueError(mark)
    return mark


def page(rows: Sequence[Row], limit: int, mark: Callable[[Row], Any], filters: Mapping[str, Any]) -> dict[str, Any]:
    """The page of a list that was asked for one row more than its limit: the extra row says that there is a next page."""
    shown = rows[:limit]
    return {"data": shown, "next_cursor": encode(mark(shown[-1]), filters) if len(rows) > limit else None}


def _binding(filters: Mapping[str, Any]) -> str:
    told = json.dumps(filters, sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _unknown() -> Refusal:
    return invalid(fault("/query/cursor", "unknown_cursor", "This cursor was not given out for this list and these filters."))
