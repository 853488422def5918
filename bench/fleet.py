"""A fleet for the benches: thousands of entities with rows and an active version each, furnished in seconds.

A few networks are really trained; every entity gets one of them with weights a little its own, so that no two artefacts are the same.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sqlalchemy import insert
from sqlalchemy.orm import Session

from bench.ours import Loud
from db import entities, observations, registry
from db.models import Version, new_id
from db.observations import Row
from db.session import Sessions
from ml import artifact
from ml.fitted import Fitted
from ml.shelf import Saved
from ml.spec import ModelSpec
from ml.trainer import fit, prepare

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
CHANNEL = "cpu"
#: Networks that are really trained.
TRAINED = 3
#: Rows that each entity has: two weeks of hours, all that a forecast of theirs reads.
ROWS = 336
#: Entities that one transaction furnishes.
AT_ONCE = 500


def furnish(sessions: Sessions, tenant_id: str, root: Path, number: int, spec: ModelSpec) -> list[str]:
    """The names of so many entities, each with rows of `cpu` and an active version of that spec."""
    learned = [_learned(seed, spec) for seed in range(TRAINED)]
    names = [f"e{n:05}" for n in range(number)]
    for first in range(0, number, AT_ONCE):
        some = names[first : first + AT_ONCE]
        with sessions.begin() as session:
            observations.upsert_many(session, tenant_id, _rows(some))
            _publish(session, tenant_id, {name: _own(learned[n % TRAINED], n, name) for n, name in enumerate(some, first)}, root)
    return names


def wave(seed: int, hours: int) -> Sequence[float]:
    """A daily rhythm with noise."""
    random = np.random.default_rng(seed)
    daily = 20 + 5 * np.sin(2 * math.pi * (np.arange(hours) + seed) / 24)
    noisy: list[float] = (daily + random.standard_normal(hours)).tolist()
    return noisy


def _rows(names: Sequence[str]) -> Iterator[tuple[str, Row]]:
    for name in names:
        yield from ((name, Row(CHANNEL, START + n * HOUR, value)) for n, value in enumerate(wave(int(name[1:]), ROWS)))


def _learned(seed: int, spec: ModelSpec) -> Fitted:
    values = np.array(wave(seed, ROWS))
    raw = {CHANNEL: (np.datetime64(START.replace(tzinfo=None), "ms") + np.arange(ROWS) * np.timedelta64(3_600_000, "ms"), values)}
    [found] = fit([prepare("trained", raw, spec)], spec, Loud())
    assert found is not None
    return found[0]


def _own(learned: Fitted, seed: int, name: str) -> Fitted:
    network, generator = copy.deepcopy(learned.network), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1 + 0.01 * torch.rand(parameter.shape, generator=generator))
    return replace(learned, entity=name, network=network)


def _publish(session: Session, tenant_id: str, fleet: dict[str, Fitted], root: Path) -> None:
    known = entities.find_many(session, tenant_id, fleet)
    models = registry.ensure_models(session, tenant_id, {(entity.id, CHANNEL) for entity in known.values()})
    made = [(models[known[name].id, CHANNEL], fitted, artifact.save(fitted, root)) for name, fitted in fleet.items()]
    session.execute(insert(Version), [_version(tenant_id, *each) for each in made])


def _version(tenant_id: str, model_id: str, fitted: Fitted, saved: Saved) -> dict[str, Any]:
    about = {"recipe": "device-metric", "target": fitted.target, "spec": fitted.spec.as_dict(), "spec_hash": fitted.spec.fingerprint()}
    kept = {"artefact_sha256": saved.sha256, "artefact_bytes": saved.bytes, "data_from": fitted.data_from, "data_until": fitted.data_until}
    numbers = {"major": 1, "minor": 0, "patch": 0, "active": True, "fence": 1}
    told = {"signature": fitted.spec.signature(fitted.target), "served_by": fitted.served_by, "metrics": {}, "gate": {}}
    return {"id": new_id("ver"), "tenant_id": tenant_id, "model_id": model_id, "job_id": new_id("job"), **about, **kept, **numbers, **told}
