"""The app, put together by hand: settings and connections come in with the runtime, and nothing happens at import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.json.provider import DefaultJSONProvider
from flask.sessions import NullSession, SessionInterface

from tasks.runtime import Runtime
from webapp import (
    accuracy,
    anomalies,
    audit,
    backtests,
    dashboard,
    entities,
    erasures,
    events,
    health,
    inflow,
    jobs,
    logins,
    metrics,
    models,
    openapi,
    paper,
    predictions,
    problems,
    recipes,
    schedules,
    webhooks,
)
from webapp.access import keep_book
from webapp.assets import add_assets
from webapp.auth import BELOW, PREFIX, Door, guard
from webapp.context import EXTENSION
from webapp.contract import refuse_unread
from webapp.hub import EXTENSION as HUB
from webapp.hub import Hub
from webapp.negotiate import refuse_unacceptable
from webapp.paths import watch_paths
from webapp.throttle import limit_rate


class _Json(DefaultJSONProvider):
    """Members in the order in which the schemas name them."""

    sort_keys = False


class _NoSession(SessionInterface):
    """No cookie carries anything, so one session that holds nothing does for every request."""

    _empty = NullSession()

    def open_session(self, *_: object) -> NullSession:
        return self._empty


class _App(Flask):
    """Flask without asking each view and hook of each request whether it is a coroutine: none is."""

    session_interface = _NoSession()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(runtime: Runtime) -> Flask:
    app = _App(__name__, static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=runtime.settings.max_body_bytes, MAX_FORM_MEMORY_SIZE=65_536, MAX_FORM_PARTS=16)
    app.json = _Json(app)
    app.extensions[EXTENSION] = runtime
    app.extensions[HUB] = Hub(runtime)
    metrics.watch(app, runtime)
    health.watch(app, runtime)
    keep_book(app, runtime.settings.log_requests)
    guard(app, Door(runtime.sessions))
    logins.watch(app, runtime.settings)
    limit_rate(app, runtime.settings)
    inflow.watch(app, runtime.settings.max_inflows)
    watch_paths(app)
    refuse_unacceptable(app, BELOW)
    refuse_unread(app)
    problems.register(app)
    api = openapi.make_api(app)
    guarded = (entities, erasures, models, predictions, accuracy, backtests, anomalies, schedules, jobs, events, webhooks, audit, recipes)
    for room in guarded:
        api.register_blueprint(room.blp, url_prefix=PREFIX)
    for room in (health, metrics, openapi):
        api.register_blueprint(room.blp)
    openapi.add_pages(app, api)
    add_assets(app)
    paper.teach(app)
    for pages in (logins, dashboard):
        app.register_blueprint(pages.blp)
    return app
