"""Rows for tests: the least that the tables ask for, each field open to be set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from db import entities, registry, tenants
from db.models import Entity, Job, Model, Schedule, Tenant, Version, new_id
from db.observations import Row
from db.registry import NewVersion

START = datetime(2026, 1, 1, tzinfo=UTC)
Result = TypeVar("Result")


def tenant(session: Session, name: str = "acme") -> Tenant:
    return tenants.create_tenant(session, name, max_unfinished=100, max_running=10)


def entity(session: Session, tenant_id: str, name: str = "user-42", **fields: Any) -> Entity:
    return entities.put(session, tenant_id, name, **fields)


def model(session: Session, tenant_name: str = "acme", entity_name: str = "user-42", name: str = "rhr") -> Model:
    """A model of a new entity of a new tenant."""
    owner = tenant(session, tenant_name)
    return registry.ensure_model(session, owner.id, entity(session, owner.id, entity_name).id, name)


def job(session: Session, tenant_id: str, **fields: Any) -> Job:
    """A queued training, unless told otherwise."""
    given = {"kind": "train", "spec": {}, "spec_hash": new_id("hash"), "label": "user-42 rhr", "queue": "train", "max_attempts": 3}
    row = Job(tenant_id=tenant_id, **(given | fields))
    session.add(row)
    session.flush()
    return row


def new_version(**fields: Any) -> NewVersion:
    """A version as a training would hand it in, from a job of its own."""
    given: dict[str, Any] = {
        "job_id": new_id("job"),
        "fence": 1,
        "recipe": "health-daily",
        "target": "rhr",
        "spec": {"window": 30},
        "spec_hash": "spec-a",
        "signature": "shape-a",
        "served_by": "lstm",
        "metrics": {"mae": 1.5},
        "gate": {"passed": True},
        "warnings": [],
        "artefact_sha256": new_id("sha"),
        "artefact_bytes": 1000,
        "data_from": START,
        "data_until": START + timedelta(days=30),
    }
    return NewVersion(**(given | fields))


def publish(session: Session, of: Model, activation: registry.Mode = "auto", gate_passed: bool = True, **fields: Any) -> Version:
    new = new_version(**fields)
    return registry.publish(session, of.tenant_id, of.id, new, activation=activation, gate_passed=gate_passed, actor="worker")


def schedule(session: Session, tenant_id: str) -> Schedule:
    told = {"kind": "train", "template": {}, "job_order": {}, "every_s": 3600, "time_zone": "UTC", "missed": "once"}
    made = Schedule(tenant_id=tenant_id, name="nightly", **told)
    session.add(made)
    return made


def series(channel: str, values: Sequence[float], start: datetime = START, step: timedelta = timedelta(days=1)) -> list[Row]:
    """Values at even steps."""
    return [Row(channel, start + i * step, value) for i, value in enumerate(values)]


def at_once(*actions: Callable[[], Result]) -> list[Result]:
    """What each action returns, all begun together in threads."""
    with ThreadPoolExecutor(len(actions)) as pool:
        return [future.result(timeout=60) for future in [pool.submit(action) for action in actions]]
