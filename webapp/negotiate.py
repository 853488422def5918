"""Representations: which each view offers, and which of them the client takes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flask import Flask, request
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from webapp.context import asked, wsgi
from webapp.problems import Refusal

JSON, LINES, CSV, ZIP, EVENTS = "application/json", "application/x-ndjson", "text/csv", "application/zip", "text/event-stream"
SVG = "image/svg+xml"
#: Views that offer anything but JSON, the first being what a client gets that takes everything.
OFFERED: Mapping[str, tuple[str, ...]] = {
    "entities.list_observations": (JSON, LINES, CSV),
    "models.get_artefact": (ZIP,),
    "events.watch_job": (EVENTS,),
    "backtests.get_chart": (SVG,),
}
_ANYTHING = (None, "", "*/*")
#: All is UTF-8, whether that is asked for or not.
_CHARSET = re.compile(r";\s*charset\s*=[^,;]*", re.IGNORECASE)


def chosen() -> str:
    """The representation for this request. Raises Refusal when the client takes none of those that there are."""
    offered = OFFERED.get(request.endpoint or "", (JSON,))
    accept = _CHARSET.sub("", request.headers.get("Accept", ""))
    found = parse_accept_header(accept, MIMEAccept).best_match(offered) if accept.strip() else offered[0]
    if found is None:
        raise Refusal("not_acceptable", f"Accept takes none of what there is: {', '.join(offered)}.")
    return found


def refuse_unacceptable(app: Flask, below: str) -> None:
    """Before a view changes anything: an answer that nobody can take must not follow a deed."""

    @app.before_request
    def check() -> None:
        request = asked()
        accept = wsgi("HTTP_ACCEPT")
        if accept in _ANYTHING or (accept == JSON and request.endpoint not in OFFERED) or not request.path.startswith(below):
            return
        if request.endpoint is not None:
            chosen()
