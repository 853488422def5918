"""What a request stands in: the runtime of its app, who asks, and under which id it is logged."""

from __future__ import annotations

from typing import cast

from flask import current_app, g

from db.tenants import Identity
from tasks.runtime import Runtime

EXTENSION = "fleetcast"


def runtime() -> Runtime:
    return cast(Runtime, current_app.extensions[EXTENSION])


def identity() -> Identity:
    return cast(Identity, g.identity)


def tenant_id() -> str:
    return identity().tenant_id


def request_id() -> str:
    return cast(str, g.request_id)
