"""What an example is, and how the answers look that many have: a page of a list, a stream of events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_CURSOR = "WyI4OWU5MjdkNjFiYzciLCAzXQ"


@dataclass(frozen=True)
class Example:
    """One request as a client would send it, and its answer."""

    #: Id of the operation.
    operation: str
    summary: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    media_type: str = "application/json"
    status: int = 200
    answer: Any = None
    answer_type: str = "application/json"


def page(*rows: Any, more: bool = False) -> dict[str, Any]:
    """A page of these rows, the last one unless there are more."""
    return {"data": list(rows), "next_cursor": _CURSOR if more else None}


def stream(*events: tuple[str, str, Mapping[str, Any]]) -> str:
    """Events as they are sent: place, name and data of each."""
    return "".join(f"id: {place}\nevent: {event}\ndata: {json.dumps(data)}\n\n" for place, event, data in events)
