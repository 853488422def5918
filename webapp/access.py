"""What every request is given and every answer carries: an id, headers that keep browsers careful, and a line in the log."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any

import structlog
from flask import Flask, Response, g, has_request_context, request

from webapp.context import wsgi

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = structlog.get_logger()

#: A request id of the caller's own that is kept.
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
#: Answers are data for one caller's programs. Nothing in them is to be run, framed or guessed at, and nobody on the way may keep them;
#: `no-cache` is not `no-store`: the caller's own cache may keep an answer with an ETag, and asks whether it still holds.
CAREFUL = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "private, no-cache"),
)
_QUIET = ("GET", "HEAD", "OPTIONS")


def keep_book(app: Flask, log_requests: str) -> None:
    """`log_requests`: `all`, `none`, or `writes`: those that change something or are refused, without the flood of polls."""

    @app.before_request
    def number() -> None:
        given = wsgi("HTTP_X_REQUEST_ID")
        about = g._get_current_object()
        about.request_id = given if given and _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(10)}"
        about.began = time.perf_counter()

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        if log_requests == "all" or (log_requests == "writes" and (request.method not in _QUIET or response.status_code >= 400)):
            _note(response)
        return response

    app.wsgi_app = _careful(app.wsgi_app)  # type: ignore[method-assign, assignment]


def _careful(serve: WSGIApplication) -> WSGIApplication:
    """Adds the headers that a view has not set itself, behind Flask, whose own way of doing so takes longer than finding a job's status."""

    def served(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            given = {name for name, _ in headers}
            return start_response(status, headers + [pair for pair in CAREFUL if pair[0] not in given], exc_info)

        return serve(environ, start)

    return served


def _note(response: Response) -> None:
    """The route, not the path: names of entities are people's data, and belong in no log."""
    log.info(
        "request",
        method=request.method,
        route=request.url_rule.rule if request.url_rule else None,
        status=response.status_code,
        ms=round(1000 * (time.perf_counter() - g.began), 1),
        **_about(response),
    )


def _about(response: Response) -> dict[str, Any]:
    """The job that the request is about, or that it made."""
    job = (request.view_args or {}).get("job_id") or response.headers.get("Location", "").rpartition("/jobs/")[2]
    return {"job": job} if job else {}


def name_request(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For structlog: whatever is logged while a request is served says which one, and whose."""
    if has_request_context():
        event.setdefault("request_id", g.get("request_id"))
        identity = g.get("identity")
        if identity is not None:
            event.update(tenant=identity.tenant_id, key=identity.key_id)
    return event
