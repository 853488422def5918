"""Below SQLAlchemy's drivers: other makers' clients, whose errors some drivers let through. A room of ours knows each, if it is there."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType

#: By dialect, the room that knows it: `BELOW`, its errors, and `passes`, which of them may be well in a moment; `hurry` and `in_time`,
#: which make its connections and statements end within the time that they are given.
_ROOMS: Mapping[str, str] = {"bigquery": "db.bigquery"}


def below(dialect: str) -> ModuleType | None:
    """The room of a dialect's client. None where the driver raises its own errors only, or is not here."""
    room = _ROOMS.get(dialect)
    try:
        return importlib.import_module(room) if room else None
    except ModuleNotFoundError:
        return None


def errors_of(client: ModuleType | None) -> tuple[type[Exception], ...]:
    return () if client is None else client.BELOW


def passes(client: ModuleType | None, error: BaseException | None) -> bool:
    """Whether the client knows of this error that it may pass by itself."""
    return client is not None and error is not None and bool(client.passes(error))
