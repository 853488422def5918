"""Health: is the process alive, can it work, and how full are the queues. No key, no tenant data."""

from __future__ import annotations

from typing import Any

import redis
from marshmallow import fields, validate
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from db import ledger, migrate
from tasks.jobs import QUEUES
from webapp.context import runtime
from webapp.contract import Blueprint
from webapp.schemas.fields import Out

blp = Blueprint("health", __name__, description="For load balancers and operators")


class Alive(Out):
    """That there is an answer is the answer."""

    status = fields.String(validate=validate.Equal("alive"))


class Ready(Out):
    """Whether each thing that answers depend on is there."""

    ready = fields.Boolean(metadata={"description": "All of it is there."})
    postgres = fields.Boolean()
    redis = fields.Boolean()
    migrations = fields.Boolean(metadata={"description": "The database has every migration this code knows."})


class Depth(Out):
    """How full one queue is."""

    queue = fields.String(validate=validate.OneOf(QUEUES))
    queued = fields.Integer()
    running = fields.Integer()
    oldest_due_s = fields.Float(allow_none=True, metadata={"description": "How long the oldest due job has waited."})


class Depths(Out):
    """How full each queue is."""

    data = fields.List(fields.Nested(Depth))


@blp.route("/healthz")
@blp.response(200, Alive)
def healthz() -> dict[str, str]:
    """The process is alive"""
    return {"status": "alive"}


@blp.route("/readyz")
@blp.response(200, Ready, description="It can work.")
@blp.alt_response(503, schema=Ready, description="Something is missing.")
def readyz() -> tuple[dict[str, bool], int]:
    """Postgres and Redis answer, and the migrations are at head"""
    postgres, migrations = _postgres()
    found = {"postgres": postgres, "redis": _redis(), "migrations": migrations}
    ready = all(found.values())
    return found | {"ready": ready}, 200 if ready else 503


def _postgres() -> tuple[bool, bool]:
    try:
        return True, migrate.at_head(runtime().engine)
    except (DBAPIError, PoolExhausted):
        return False, False


def _redis() -> bool:
    try:
        return bool(runtime().memory.ping())
    except redis.RedisError:
        return False


@blp.route("/queues")
@blp.response(200, Depths)
@blp.refuses("internal", "unavailable")
def queues() -> dict[str, Any]:
    """How full each queue is"""
    empty: dict[str, Any] = {name: {"queue": name, "queued": 0, "running": 0, "oldest_due_s": None} for name in QUEUES}
    with runtime().sessions() as session:
        held = {depth.queue: depth for depth in ledger.queues(session)}
    return {"data": list((empty | held).values())}
