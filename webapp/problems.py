"""Problems at the edge: whatever was raised leaves as one RFC 9457 object, with the request's id and never a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import structlog
from flask import Flask, Response, current_app, g, request
from psycopg import OperationalError as DriverError
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from db.errors import StoreError
from ml.errors import ModelError, SpecInvalid
from tasks import logs, problems
from webapp.context import request_id

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
#: Most faults that one answer lists.
LISTED = 100
#: Seconds after which the same request may succeed.
RETRY_AFTER = {
    "job_not_finished": 1,
    "quota_exceeded": 10,
    "queue_saturated": 30,
    "source_unavailable": 10,
    "unavailable": 5,
    "too_many_streams": 10,
    "streams_saturated": 10,
}

_BY_STATUS = {
    401: "unauthenticated",
    403: "forbidden_scope",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    412: "precondition_failed",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "validation_failed",
}
#: How marshmallow's sentences begin, and the code of a fault that says so.
_FAULTS = (
    ("Unknown field", "unknown_field"),
    ("Missing data", "required"),
    ("Field may not be null", "null"),
    ("Not a valid", "wrong_type"),
    ("Invalid input type", "wrong_type"),
    ("Must be one of", "not_allowed"),
    ("Must be greater", "out_of_bounds"),
    ("Must be less", "out_of_bounds"),
    ("Number too large", "out_of_bounds"),
    ("Special numeric values", "out_of_bounds"),
    ("Shorter than", "too_short"),
    ("Longer than", "too_long"),
    ("Length must be", "wrong_length"),
    ("Not supported", "not_supported"),
)

Fault = dict[str, str]


class Refusal(Exception):
    """The edge itself says no. `code` is one of the catalogue's; `extra` joins the problem object."""

    def __init__(self, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra


def fault(pointer: str, code: str, detail: str) -> Fault:
    return {"pointer": pointer, "code": code, "detail": detail}


def invalid(*faults: Fault) -> Refusal:
    """422: these fields are not valid."""
    first = faults[0]
    return Refusal("validation_failed", f"{first['pointer'] or 'The body'}: {first['detail']}", errors=list(faults[:LISTED]))


def pointer(*steps: str | int) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def faults_of(messages: Any, *steps: str | int) -> Iterator[Fault]:
    """The faults in what marshmallow collected: sentences in lists, in mappings by field or index."""
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            yield from faults_of(inner, *steps, *(() if key == "_schema" else (key,)))
    elif isinstance(messages, list):
        for inner in messages:
            yield from faults_of(inner, *steps)
    else:
        yield fault(pointer(*steps), _fault_code(str(messages)), str(messages))


def _fault_code(sentence: str) -> str:
    return next((code for start, code in _FAULTS if sentence.startswith(start)), "invalid")


def answer(body: Mapping[str, Any], headers: Iterable[tuple[str, str]] = ()) -> Response:
    """A problem object as an HTTP answer."""
    text = logs.keyless(current_app.json.dumps({**body, "instance": request_id()}))
    response = Response(text, status=body["status"], content_type=MEDIA_TYPE, headers=list(headers))
    if body["code"] in RETRY_AFTER:
        response.headers.setdefault("Retry-After", str(RETRY_AFTER[body["code"]]))
    return response


def register(app: Flask) -> None:
    """The one place where errors become answers. Flask takes the handler of the nearest class."""
    app.register_error_handler(Refusal, _refused)
    app.register_error_handler(ModelError, _known)
    app.register_error_handler(StoreError, _known)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(DBAPIError, _database)
    app.register_error_handler(PoolExhausted, _database)
    app.register_error_handler(DriverError, _database)  # from a COPY, which goes past SQLAlchemy
    app.register_error_handler(Exception, _unknown)


def _refused(error: Refusal) -> Response:
    return answer(problems.problem(error.code, error.detail, **error.extra), error.headers.items())


def _known(error: ModelError | StoreError) -> Response:
    body = problems.of(error)
    if isinstance(error, SpecInvalid):
        body["errors"] = [{**e, "pointer": _spec_pointer(error.field)} for e in body["errors"]]
    return answer(body)


def _spec_pointer(field: str) -> str:
    """Where this request has, or should have, the field: beside `spec` or inside it, in the body or in the query."""
    steps = field.split(".")
    if request.method == "GET" or steps[0] in request.args:
        return pointer("query", *steps)
    outside = steps[0] in g.get("body_keys", ()) or steps[0] in ("recipe", "target", "channels", "hours", "source")
    place = g.get("body_place", ())  # where a body stands that is part of another one
    return pointer(*place, *steps) if outside else pointer(*place, "spec", *steps)


def _http(error: HTTPException) -> AnyResponse:
    if error.response is not None or error.code is None or error.code < 400:
        return error.get_response()
    default = "malformed_request" if error.code < 500 else "internal"
    detail = "There is nothing at this path." if error.code == 404 else error.description or error.name
    body = problems.problem(_BY_STATUS.get(error.code, default), detail) | {"status": error.code}
    return answer(body, [(name, value) for name, value in error.get_headers() if name.lower() != "content-type"])


def _database(error: DBAPIError | PoolExhausted | DriverError) -> Response:
    """Postgres away, restarting or out of connections. Anything else that it says is our mistake."""
    if isinstance(error, OperationalError | PoolExhausted | DriverError) or getattr(error, "connection_invalidated", False):
        log.warning("database_unavailable", request_id=request_id(), endpoint=request.endpoint, error=type(error).__name__)
        return answer(problems.problem("unavailable", "The database does not answer."))
    return _unknown(error)


def _unknown(error: Exception) -> Response:
    log.error("request_failed", request_id=request_id(), endpoint=request.endpoint, exc_info=error)
    return answer(problems.problem("internal", "Something failed on our side. The operator finds it under this answer's `instance`."))
