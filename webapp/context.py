"""What a request stands in: the runtime of its app, who asks, and under which id it is logged."""

from __future__ import annotations

from typing import Any, cast

from flask import Request, current_app, g, request

from db.audit import By
from db.tenants import Identity
from tasks.runtime import Runtime

EXTENSION = "fleetcast"


def runtime() -> Runtime:
    return cast(Runtime, current_app.extensions[EXTENSION])


def identity() -> Identity:
    return cast(Identity, g.identity)


def tenant_id() -> str:
    return identity().tenant_id


def actor() -> str:
    """Who did it, as logs of moves and receipts name them: the key, by its public part."""
    return f"key:{identity().key_id}"


def by() -> By:
    """The same with the request, as receipts and the audit keep it."""
    return By(actor(), request_id())


def request_id() -> str:
    return cast(str, g.request_id)


def asked() -> Request:
    """The request itself. Each look at it through Flask's proxy takes a microsecond, and every request is looked at often."""
    return cast(Request, cast(Any, request)._get_current_object())


def wsgi(name: str) -> Any:
    """What the server tells of the request under this name (`HTTP_ACCEPT` is the header), or None.

    werkzeug's mapping of headers takes ten times as long to say that one is not there, which most are not.
    """
    return asked().environ.get(name)
