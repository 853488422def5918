"""Bodies: strict JSON in. What Python's reader lets through and JSON does not allow is refused here, before any schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from flask import g, request
from flask_smorest import Blueprint as SmorestBlueprint
from marshmallow import RAISE, ValidationError
from webargs.core import is_json, missing
from webargs.flaskparser import FlaskParser

from webapp.problems import Refusal, faults_of, invalid


def whole_body() -> bytes:
    """The body of this request. werkzeug silently cuts one without a Content-Length (chunked) at the limit; here it is refused."""
    body, most = request.get_data(), request.max_content_length
    if request.content_length is None and most is not None and len(body) >= most:
        raise Refusal("body_too_large", f"A body may have {most} bytes.")
    return body


def read_text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refusal("malformed_request", "The body is not UTF-8.") from None


def read_json(text: str) -> Any:
    """Parse strictly: no NaN, no key twice, no number of thousands of digits, no abyss of brackets."""
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_key_twice)
    except RecursionError:
        raise Refusal("malformed_request", "The JSON is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise Refusal("malformed_request", f"Not JSON: {error.msg}, line {error.lineno}, column {error.colno}.") from None
    except ValueError as error:  # ours below, and Python's own refusal of very long integers
        raise Refusal("malformed_request", f"Not JSON that can be read: {str(error).partition(';')[0]}.") from None


def json_body() -> Any:
    """The body of this request as JSON; `missing` when it is empty."""
    body = whole_body()
    if not body:
        return missing
    if not is_json(request.mimetype):
        raise Refusal("unsupported_media_type", "Send `Content-Type: application/json`.")
    found = read_json(read_text(body))
    g.body_keys = set(found) if isinstance(found, dict) else set()
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found


class Parser(FlaskParser):
    """webargs with our reader, our faults, and no patience for unknown query parameters."""

    DEFAULT_UNKNOWN_BY_LOCATION: Mapping[str, str | None] = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": RAISE}  # type: ignore[assignment]

    def _raw_load_json(self, *_: Any) -> Any:
        return json_body()

    def handle_error(self, error: ValidationError, *_: Any, **__: Any) -> NoReturn:
        messages = error.messages
        assert isinstance(messages, dict)
        found = [f for location, inner in messages.items() for f in faults_of(inner, *(() if location == "json" else (location,)))]
        raise invalid(*found)


class Blueprint(SmorestBlueprint):  # type: ignore[misc]  # untyped
    """flask-smorest's blueprint, reading bodies our way."""

    ARGUMENTS_PARSER = Parser()
