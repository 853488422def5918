"""Names in paths: entity and channel names may hold dots, colons, spaces and slashes, percent-encoded or plain."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from werkzeug.routing import PathConverter

from webapp.problems import Fault, fault, invalid
from webapp.schemas.fields import NAME_LENGTH, name_fault

#: What comes after an entity in a path. Servers decode %2F before routing, so a name with one of these between slashes could not be told
#: from the resource of that name.
RESERVED = frozenset({"observations", "readiness", "forecasts", "anomalies", "accuracy"})


class NameConverter(PathConverter):
    """One or more segments. A name with a line break is routed like any other, to be refused as a name and not as a page."""

    regex = r"[^/][\s\S]*?"


def name_schema(_: Any) -> dict[str, Any]:
    """For the OpenAPI document."""
    return {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH}


def require_nameable(entity: str, where: str = "/path/entity") -> None:
    """An entity can be made under this name. `where` the request has it, as a JSON pointer. Raises Refusal."""
    wrong = path_fault(entity, where)
    if wrong is not None:
        raise invalid(wrong)


def path_fault(entity: str, where: str = "") -> Fault | None:
    """Why no path could hold an entity of this name; None when one can."""
    segments = entity.split("/")
    if RESERVED & set(segments[1:]):
        return fault(where, "reserved", f"After a slash these are taken: {', '.join(sorted(RESERVED))}.")
    if not all(segments) or {".", ".."} & set(segments):
        return fault(where, "invalid", "No empty segment, and none that is . or .., which clients and proxies remove.")
    return None


def watch_paths(app: Flask) -> None:
    """Refuse control characters and endless names before any view hands them to Postgres."""
    app.url_map.converters["name"] = NameConverter
    app.url_map.merge_slashes = False

    @app.before_request
    def check() -> None:
        for name, value in (request.view_args or {}).items():
            wrong = "Not UTF-8." if "\ufffd" in value else name_fault(value)
            if wrong is not None:
                raise invalid(fault(f"/path/{name}", "invalid", wrong))
