"""The contract: what a view says of itself beside its code, what it reads, refuses and tells; the document shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask
from flask_smorest import Blueprint as SmorestBlueprint
from marshmallow import Schema

from tasks.problems import CATALOGUE
from webapp.auth import BELOW
from webapp.bodies import Parser
from webapp.context import asked
from webapp.problems import fault, invalid, pointer

#: Where the document keeps, while it is being made, the headers and the codes that a view declared.
READS, REFUSES = "x-reads", "x-refuses"
#: Where it tells the schema of each event of a stream, for which OpenAPI 3.1 has no word.
EVENTS = "x-events"


class Blueprint(SmorestBlueprint):  # type: ignore[misc]  # untyped
    """flask-smorest's blueprint, reading bodies our way and knowing what its views refuse."""

    ARGUMENTS_PARSER = Parser()

    def arguments(self, schema: type[Schema] | Schema, **about: Any) -> Any:
        """One instance serves every request: webargs would make one for each, which takes longer than to read with it."""
        reading = super().arguments(schema() if isinstance(schema, type) else schema, **about)

        def decorator(view: Callable[..., Any]) -> Any:
            made = reading(view)
            made.reads_query = about.get("location") == "query" or getattr(view, "reads_query", False)
            return made

        return decorator

    @staticmethod
    def refuses(*codes: str, status: int | None = None) -> Callable[..., Any]:
        """A view's own problems. Those that follow from what it is (a body, a name in its path, a key) are added by `webapp.document`.

        `status` is for a view that answers with another one than the code's own.
        """
        unknown = [code for code in codes if code not in CATALOGUE]
        if unknown:
            raise ValueError(f"Not in the catalogue of problems: {', '.join(unknown)}.")
        told = {f"{status or CATALOGUE[code].status} {code}": True for code in codes}
        decorator: Callable[..., Any] = SmorestBlueprint.doc(**{REFUSES: told})
        return decorator

    @staticmethod
    def reads(*headers: Mapping[str, Any]) -> Callable[..., Any]:
        """The headers that a view reads. (`doc(parameters=…)` would take the place of the query's.)"""
        decorator: Callable[..., Any] = SmorestBlueprint.doc(**{READS: list(headers)})
        return decorator

    @staticmethod
    def tells(events: Mapping[str, type[Schema]]) -> Callable[..., Any]:
        """The events of a stream, and what the data of each holds."""
        decorator: Callable[..., Any] = SmorestBlueprint.doc(**{EVENTS: dict(events)})
        return decorator

    def _prepare_arguments_doc(self, doc: dict[str, Any], doc_info: dict[str, Any], **about: Any) -> dict[str, Any]:
        """Without flask-smorest's own answers to arguments that are not valid."""
        doc_info.get("arguments", {}).pop("responses", None)
        told: dict[str, Any] = super()._prepare_arguments_doc(doc, doc_info, **about)
        return told


def refuse_unread(app: Flask) -> None:
    """A query given to a view that reads none is a mistake of the caller's, who would wait for its effect."""

    @app.before_request
    def check() -> None:
        request = asked()
        if not request.query_string or not request.path.startswith(BELOW):
            return
        view = app.view_functions.get(request.endpoint or "")
        if view is not None and request.args and not getattr(view, "reads_query", False):
            raise invalid(*(fault(pointer("query", name), "unknown_field", "Unknown field.") for name in request.args))
