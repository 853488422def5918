"""Questions: which version answers a prediction, and whether the answer is known already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from db import entities, forecasts, ledger, registry
from db.errors import NoActiveVersion, NotFound
from db.models import Entity, Job, Json, Version
from ml.errors import SpecInvalid
from tasks.jobs import Ahead, PredictJob, WhatIfJob, digest
from tasks.readiness import require_channel
from tasks.runtime import Runtime
from tasks.sources import is_outside, origin, require


@dataclass(frozen=True, slots=True)
class Question:
    """A prediction resolved: which version of which entity's data is asked for how many steps."""

    tenant_id: str
    entity: str
    answering: registry.Answering
    target: str
    horizon: int
    level: float
    #: As the client pinned it.
    semver: str | None
    #: What the client says of the steps ahead, beside or against what is stored.
    future: Ahead | None = None
    #: Where the rows are read: as the client says, else where the version's training read.
    source: str | None = None
    #: Where the answer goes besides.
    sink: str | None = None

    @property
    def job(self) -> PredictJob:
        return PredictJob(self.entity, self.target, self.horizon, self.level, self.semver, self.future, self.source, self.sink)

    @property
    def kept(self) -> bool:
        """Whether others may be answered with the answer: not with one to a future or a source of the asker's own."""
        return keeps(self.future, self.source, self.answering.source)

    @property
    def asked(self) -> forecasts.Question:
        return forecasts.Question(self.answering.version_id, self.target, self.answering.data_rev, self.horizon, self.level)

    def digest(self, job: Mapping[str, Any]) -> str:
        """Two jobs ask for the same thing only of the same version and the same data."""
        return digest(dict(job), self.answering.version_id, self.answering.data_rev)


def keeps(future: Ahead | None, source: str | None, own: str | None) -> bool:
    return future is None and origin(source) == own


def resolve(session: Session, runtime: Runtime, tenant_id: str, job: PredictJob | WhatIfJob) -> Question:
    """Fill in what is left open from the version that would answer. Raises NotFound, NoActiveVersion, SpecInvalid."""
    entity, target, semver, horizon, level, future = job.entity, job.target, job.version, job.horizon, job.level, job.future
    answering = _answering(session, tenant_id, job)
    source = job.source or answering.source
    require(session, runtime, tenant_id, source)
    longest = answering.spec["horizon"]
    steps = horizon if horizon is not None else longest
    if not 1 <= steps <= longest:
        raise SpecInvalid("horizon", steps, f"version {answering.semver} forecasts 1 to {longest} steps")
    if future is not None:
        _require_known_ahead(answering, future, steps)
    certain = level if level is not None else answering.spec["level"]
    sink = job.sink if isinstance(job, PredictJob) else None
    return Question(tenant_id, entity, answering, target, steps, certain, semver, future, source, sink)


def _answering(session: Session, tenant_id: str, job: PredictJob | WhatIfJob) -> registry.Answering:
    """Raises SpecInvalid where there is no model, and no channel of ours either that one could be trained of; a source may have it."""
    try:
        return registry.answering(session, tenant_id, job.entity, job.target, job.version, horizon=job.horizon, level=job.level)
    except NoActiveVersion:
        entity = entities.get(session, tenant_id, job.entity)
        # A model may have another name than its target.
        if not is_outside(job.source) and registry.find_model(session, tenant_id, entity.id, job.target) is None:
            require_channel(entity.name, job.target, [channel.name for channel in entities.channels(session, entity.id)])
        raise


def _require_known_ahead(answering: registry.Answering, future: Ahead, steps: int) -> None:
    known = known_ahead(answering)
    for channel, values in future.items():
        if channel not in known:
            raise SpecInvalid("future", channel, f"version {answering.semver} knows ahead: {', '.join(known) or 'no channel'}")
        if len(values) < steps:
            raise SpecInvalid("future", channel, f"{len(values)} numbers; the forecast has {steps} steps, and each needs one")


def known_ahead(answering: registry.Answering) -> list[str]:
    """The channels whose future the version reads."""
    found: list[str] = answering.spec.get("future_covariates", [])
    return found


def require_changeable(answering: registry.Answering, scenarios: Sequence[Mapping[str, Any]]) -> None:
    """Raises SpecInvalid for the first change of a future that the version does not read, or not so far."""
    for n, scenario in enumerate(scenarios):
        for m, change in enumerate(scenario["changes"]):
            steps = change.get("steps", "all")
            if steps != "all" and "future" in steps:
                _require_changeable(answering, change["channel"], steps["future"], f"scenarios.{n}.changes.{m}.steps")


def _require_changeable(answering: registry.Answering, channel: str, steps: int, field: str) -> None:
    known, longest = known_ahead(answering), answering.spec["horizon"]
    if channel not in known:
        there = ", ".join(known) or "no channel"
        raise SpecInvalid(field, steps, f"{channel} is not known ahead, so its future cannot be changed; known ahead: {there}")
    if steps > longest:
        raise SpecInvalid(field, steps, f"version {answering.semver} forecasts 1 to {longest} steps")


def serving(session: Session, tenant_id: str, entity: Entity, name: str, semver: str | None, kind: str = "forecast") -> Version:
    """The version that answers for a model, whole. Raises as `registry.answering` does."""
    return session.get_one(Version, registry.answering(session, tenant_id, entity.name, name, semver, kind).version_id)


def known(runtime: Runtime, session: Session, question: Question) -> tuple[Job, Json] | None:
    """The job that made the answer and the forecast, if it is not older than the cache's time to live.

    A question that brings its own future or source is answered for itself alone: nothing kept speaks of those. One whose answer is to go
    into a sink has a job of its own, which sees to that.
    """
    left_s = _left_s(runtime, question.answering)
    if not question.kept or question.sink is not None or left_s <= 0:
        return None
    tenant_id = question.tenant_id
    body = runtime.cache.get(tenant_id, question.asked) or _stored(runtime, session, tenant_id, question.asked, left_s)
    if body is None:
        return None
    try:
        maker = ledger.get(session, tenant_id, body["job_id"])
    except NotFound:  # purged: the question is asked anew
        return None
    return maker, body["forecast"] | {"cached": True}


def _left_s(runtime: Runtime, answering: registry.Answering) -> float:
    """For how many seconds a forecast still serves as an answer."""
    if answering.made_at is None:
        return 0.0
    return fresh_s(runtime, answering.source) - (datetime.now(UTC) - answering.made_at).total_seconds()


def fresh_s(runtime: Runtime, source: str | None) -> float:
    """For how long an answer made from there is given again. Nobody tells us of a source's new rows, as ingests tell of our own."""
    config = runtime.sources.configs.get(source) if source is not None else None
    return runtime.settings.forecast_ttl_s if config is None else min(config.fresh_s, runtime.settings.forecast_ttl_s)


def _stored(runtime: Runtime, session: Session, tenant_id: str, asked: forecasts.Question, left_s: float) -> Json | None:
    """Postgres's copy of a cached forecast, for when Redis was wiped or is slow. It serves as long as the cached one would have."""
    stored = forecasts.find(session, tenant_id, asked)
    if stored is None:
        return None
    body = {"job_id": stored.job_id, "forecast": stored.body}
    runtime.cache.put(tenant_id, asked, body, left_s)
    return body
