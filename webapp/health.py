"""Health: is the process alive, can it work, and how full are the queues. No key, no tenant data."""

from __future__ import annotations

from typing import Any, cast

import redis
from flask import Flask, current_app
from marshmallow import fields, validate
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from db import ledger, migrate
from tasks.jobs import QUEUES
from tasks.runtime import Runtime
from webapp.contract import Blueprint
from webapp.schemas.fields import Out
from webapp.sight import Sight

EXTENSION = "fleetcast.health"
#: What was found is shown again for so long: nobody needs a key here, and nobody is to make Postgres count as often as they like.
FRESH_S = 1.0
#: What to do where the answer is no.
MIGRATE = "The database lacks migrations of this version; run `fleetcast migrate`."
ANSWER = "Postgres does not answer; `fleetcast doctor` says what is wrong."

blp = Blueprint("health", __name__, description="For load balancers and operators")


class Alive(Out):
    """That there is an answer is the answer."""

    status = fields.String(validate=validate.Equal("alive"))


class Ready(Out):
    """Whether each thing that answers depend on is there."""

    ready = fields.Boolean(metadata={"description": "Requests can be answered. Without Redis they can, only slower."})
    postgres = fields.Boolean()
    redis = fields.Boolean()
    migrations = fields.Boolean(metadata={"description": "The database has every migration this code knows."})
    fix = fields.String(allow_none=True, metadata={"description": "What an operator does about it; null when nothing has to be done."})


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
def readyz() -> tuple[dict[str, Any], int]:
    """Postgres answers, and has every migration of this version

    It may have those of a newer version too: both run while one takes the other's place. Redis is told of, but its absence does not make
    it 503: all web processes share it, and all of them go on without it. What is told is a second old at most.
    """
    found = _sights().readiness.seen()
    return found, 200 if found["ready"] else 503


@blp.route("/queues")
@blp.response(200, Depths)
@blp.refuses("internal", "unavailable")
def queues() -> dict[str, Any]:
    """How full each queue is"""
    return {"data": depths()}


def depths() -> list[Any]:
    """How full each queue is, a second old at most."""
    return _sights().depths.seen()


class Sights:
    """What there is to see, kept by the app."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.readiness = Sight(self._readiness, FRESH_S)
        self.depths = Sight(self._depths, FRESH_S)

    def _readiness(self) -> dict[str, Any]:
        postgres, migrations = self._postgres()
        found = {"ready": postgres and migrations, "postgres": postgres, "redis": self._redis(), "migrations": migrations}
        return found | {"fix": None if found["ready"] else MIGRATE if postgres else ANSWER}

    def _postgres(self) -> tuple[bool, bool]:
        try:
            return True, migrate.standing(self._runtime.engine) is not migrate.Standing.BEHIND
        except (DBAPIError, PoolExhausted):
            return False, False

    def _redis(self) -> bool:
        try:
            return bool(self._runtime.memory.ping())
        except redis.RedisError:
            return False

    def _depths(self) -> list[Any]:
        empty: dict[str, Any] = {name: {"queue": name, "queued": 0, "running": 0, "oldest_due_s": None} for name in QUEUES}
        with self._runtime.sessions() as session:
            held = {depth.queue: depth for depth in ledger.queues(session)}
        return list((empty | held).values())


def _sights() -> Sights:
    return cast(Sights, current_app.extensions[EXTENSION])


def watch(app: Flask, runtime: Runtime) -> None:
    app.extensions[EXTENSION] = Sights(runtime)
