"""Logging in: a person shows a key once, and the browser is known by a cookie that no script can read."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import cast
from urllib.parse import quote, urlencode

from flask import Blueprint, Flask, Response, current_app, g, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from db import logins
from tasks.settings import Settings
from webapp.auth import COOKIE, door, same_origin
from webapp.context import runtime
from webapp.paper import sheet
from webapp.throttle import Window

blp = Blueprint("logins", __name__)

#: The blueprint whose views need a login.
PAGES = "dashboard"
#: Where the app keeps its count of failed logins.
TRIES = "fleetcast-tries"


def watch(app: Flask, settings: Settings) -> None:
    """Lead whoever is not logged in from every page of the dashboard to the login; of the others, say who they are."""
    app.extensions[TRIES] = Window(settings, settings.login_tries_per_minute)

    @app.before_request
    def check() -> AnyResponse | None:
        if request.blueprint != PAGES or request.method == "OPTIONS":
            return None
        shown = request.cookies.get(COOKIE, "")
        identity = door().admit(shown) if shown else None
        if identity is None or "read" not in identity.scopes:
            return redirect(f"/login?{urlencode({'next': _here()})}", 303)
        g.identity, g.presented = identity, shown
        return None


@blp.get("/login")
def ask_key() -> Response:
    return _form(200)


@blp.post("/login")
def log_in() -> AnyResponse:
    """Show a key. Wrong ones are counted, and after too many the next is not even looked up."""
    if not same_origin(request):
        return _form(403, "This form was not sent from this page. Reload it and try again.")
    who, tries = _address(), cast(Window, current_app.extensions[TRIES])
    wait_s = tries.full(who)
    if wait_s:
        return _form(429, f"Too many failed logins from here. Try again in {wait_s} s.", wait_s)
    key = request.form.get("key", "").strip()
    identity = None if key.startswith(logins.PREFIX) else door().admit(key)
    if identity is None:
        tries.take(who)
        return _form(401, "This key is unknown, expired or revoked.")
    if "read" not in identity.scopes:
        return _form(403, "This key may not read. The dashboard needs one with the scope read.")
    lasts = timedelta(hours=runtime().settings.login_hours)
    with runtime().sessions.begin() as session:
        shown = logins.begin(session, identity, lasts)
    response = redirect(_local(request.form.get("next", "")), 303)
    response.set_cookie(COOKIE, shown, max_age=lasts, secure=_by_tls(), httponly=True, samesite="Strict")
    return response


@blp.post("/logout")
def log_out() -> AnyResponse:
    if not same_origin(request):
        return _form(403, "This was not sent from a page of the dashboard.")
    shown = request.cookies.get(COOKIE, "")
    with runtime().sessions.begin() as session:
        logins.end(session, shown)
    door().forget(shown)
    response = redirect("/login", 303)
    response.delete_cookie(COOKIE, secure=_by_tls(), httponly=True, samesite="Strict")
    return response


def _form(code: int, said: str = "", wait_s: int = 0) -> Response:
    headers = {"Retry-After": str(wait_s)} if wait_s else {}
    return sheet("login.html", code, headers, said=said, next=_local(request.values.get("next", "")))


def _by_tls() -> bool:
    """The browser itself says so, whatever a proxy between forgets to pass on."""
    return request.is_secure or request.headers.get("Origin", "").startswith("https:")


def _here() -> str:
    query = request.query_string.decode("ascii", "replace")
    return quote(request.path) + (f"?{query}" if query else "")


def _local(path: str) -> str:
    """A page of ours to go to. What a browser could read as another host's leads to the first page."""
    return path if path.startswith("/") and not path.startswith("//") and path.isprintable() and "\\" not in path else "/"


def _address() -> str:
    """Who tries, as Redis may know it: for a minute, and not by the address itself."""
    return "login:" + hashlib.sha256((request.remote_addr or "").encode()).hexdigest()[:16]
