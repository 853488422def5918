"""The app, put together by hand: settings and connections come in with the runtime, and nothing happens at import."""

from __future__ import annotations

import re

from flask import Flask, Response, g, request
from flask.json.provider import DefaultJSONProvider

from db.models import new_id
from tasks.runtime import Runtime
from webapp import entities, health, jobs, models, openapi, predictions, problems, recipes
from webapp.auth import PREFIX, Door, guard
from webapp.context import EXTENSION
from webapp.paths import watch_paths

#: A request id of the caller's own that is kept.
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class _Json(DefaultJSONProvider):
    """Members in the order in which the schemas name them."""

    sort_keys = False


def create_app(runtime: Runtime) -> Flask:
    app = Flask(__name__, static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=runtime.settings.max_body_bytes, MAX_FORM_MEMORY_SIZE=65_536, MAX_FORM_PARTS=16)
    app.json = _Json(app)
    app.extensions[EXTENSION] = runtime
    _number_requests(app)
    guard(app, Door(runtime.sessions))
    watch_paths(app)
    problems.register(app)
    api = openapi.make_api(app)
    for room in (entities, models, predictions, jobs, recipes):
        api.register_blueprint(room.blp, url_prefix=PREFIX)
    for room in (health, openapi):
        api.register_blueprint(room.blp)
    openapi.add_pages(app, api)
    return app


def _number_requests(app: Flask) -> None:
    """Every request has an id: in its answer, in the problems it meets, in the log."""

    @app.before_request
    def number() -> None:
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else new_id("req")

    @app.after_request
    def tell(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        return response
