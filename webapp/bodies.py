"""Bodies: strict JSON in. What Python's reader lets through and JSON does not allow is refused here, before any schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from flask import Request, g, request
from marshmallow import RAISE, Schema, ValidationError
from webargs.core import is_json, missing
from webargs.flaskparser import FlaskParser

from webapp.context import asked
from webapp.problems import Refusal, fault, faults_of, invalid, pointer

#: Keys of one object. The widest that can be taken is a row of a thousand channels.
MOST_KEYS = 2_000
#: Characters of a key. No name is as long, and an answer repeats the key that it refuses.
LONGEST_KEY = 1_000
#: Lists and objects of one body: a million rows, and some. Each takes many times the two characters that it is written with.
MOST_NESTS = 1_010_000


def whole_body() -> bytes:
    """The body of this request. werkzeug silently cuts one without a Content-Length (chunked) at the limit; here it is refused."""
    body, most = request.get_data(), request.max_content_length
    if request.content_length is None and most is not None and len(body) >= most:
        raise Refusal("body_too_large", f"A body may have {most} bytes.")
    if len(body) < (request.content_length or 0):  # the connection broke, which werkzeug takes for the end
        raise Refusal("malformed_request", f"The body breaks off: {len(body)} of {request.content_length} bytes came.")
    return body


def read_text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refusal("malformed_request", "The body is not UTF-8.") from None


def read_json(text: str) -> Any:
    """Parse strictly: no NaN, no key twice, no number of thousands of digits, no abyss of brackets."""
    if text.count("{") + text.count("[") > MOST_NESTS:
        raise Refusal("body_too_large", f"A body may have {MOST_NESTS} lists and objects.")
    try:
        return _STRICT.decode(text)
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


def _plain_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    if len(found) > MOST_KEYS:
        raise ValueError(f"an object has more than {MOST_KEYS} keys")
    if max(map(len, found), default=0) > LONGEST_KEY:
        raise ValueError(f"a key is longer than {LONGEST_KEY} characters")
    return found


#: Made once: json.loads makes one for every body.
_STRICT = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_plain_object)


class Parser(FlaskParser):
    """webargs with our reader, our faults, and no patience for unknown query parameters."""

    DEFAULT_UNKNOWN_BY_LOCATION: Mapping[str, str | None] = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": RAISE}  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self._without_query: dict[Schema, Mapping[str, Any]] = {}

    def parse(self, argmap: Any, req: Request | None = None, *, location: str | None = None, **about: Any) -> Any:
        """What comes of no query at all is found out once: most requests have none, and polls must be quick."""
        if location != "query" or asked().query_string:
            return super().parse(argmap, req, location=location, **about)
        if argmap not in self._without_query:
            self._without_query[argmap] = super().parse(argmap, req, location=location, **about)
        return dict(self._without_query[argmap])

    def _raw_load_json(self, *_: Any) -> Any:
        return json_body()

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        """A parameter given twice would be read once, and nobody could say which."""
        found = super().load_querystring(req, schema)
        again = [name for name, values in req.args.lists() if len(values) > 1 and name not in found.multiple_keys]
        if again:
            raise invalid(*(fault(pointer("query", name), "invalid", "Given more than once.") for name in again))
        return found

    def handle_error(self, error: ValidationError, *_: Any, **__: Any) -> NoReturn:
        messages = error.messages
        assert isinstance(messages, dict)
        found = [f for location, inner in messages.items() for f in faults_of(inner, *(() if location == "json" else (location,)))]
        raise invalid(*found)
