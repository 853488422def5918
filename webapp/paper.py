"""Paper: how pages for people leave. Nothing in them runs but our own files, and numbers and moments read the same on each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, make_response, render_template, request

from webapp.assets import NOTHING
from webapp.problems import MEDIA_TYPE

#: No script and no style stands in a page itself, so none that somebody wrote into a name can run.
_POLICY = NOTHING + "form-action 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"
#: With no referrer at all, browsers would leave a form's Origin out, which says that it is ours.
_HEADERS = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "same-origin", "Cache-Control": "private, no-store"}


def sheet(template: str, code: int = 200, headers: Mapping[str, str] | None = None, **about: Any) -> Response:
    """A page of the dashboard."""
    response = make_response(render_template(f"dashboard/{template}", **about), code)
    response.headers.update({**_HEADERS, **(headers or {})})
    return response


def readable(response: Response) -> Response:
    """The same refusal as the API's, as a page, where a person asked for one."""
    if response.mimetype != MEDIA_TYPE or not request.accept_mimetypes.accept_html:
        return response
    return sheet("problem.html", response.status_code, problem=json.loads(response.get_data()))


def teach(app: Flask) -> None:
    """How templates write numbers and moments."""
    app.jinja_env.filters.update(figure=figure, percent=percent, moment=moment, machine=machine, lasted=lasted, pretty=pretty)


def figure(number: float | None) -> str:
    """Four significant digits; a dash where there is no number."""
    return "–" if number is None else f"{number:,.4g}" if abs(number) < 10_000 else f"{number:,.0f}"


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def moment(at: datetime | str | None) -> str:
    """In UTC, to the minute."""
    return "–" if at is None else f"{_read(at):%Y-%m-%d %H:%M}"


def machine(at: datetime | str) -> str:
    """For the `datetime` of a `<time>`."""
    return f"{_read(at):%Y-%m-%dT%H:%M:%SZ}"


def lasted(begin: str | None, end: str | None) -> str:
    """From one to the other, or to now; a dash where it has not begun."""
    if begin is None:
        return "–"
    seconds = int(((_read(end) if end else datetime.now(UTC)) - _read(begin)).total_seconds())
    minutes, left = divmod(max(0, seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {left} s" if minutes else f"{left} s"


def _read(at: datetime | str) -> datetime:
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    return found.astimezone(UTC)
