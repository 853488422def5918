"""Questions: which version answers a prediction, and whether the answer is known already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from db import forecasts, ledger, registry
from db.errors import NotFound
from db.models import Entity, Job, Json, Version
from ml.errors import SpecInvalid
from tasks.jobs import PredictJob, digest
from tasks.runtime import Runtime


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

    @property
    def job(self) -> PredictJob:
        return PredictJob(self.entity, self.target, self.horizon, self.level, self.semver)

    @property
    def asked(self) -> forecasts.Question:
        return forecasts.Question(self.answering.version_id, self.target, self.answering.data_rev, self.horizon, self.level)

    def digest(self, job: Mapping[str, Any]) -> str:
        """Two jobs ask for the same thing only of the same version and the same data."""
        return digest(dict(job), self.answering.version_id, self.answering.data_rev)


def resolve(
    session: Session, tenant_id: str, entity: str, target: str, horizon: int | None, level: float | None, semver: str | None
) -> Question:
    """Fill in what is left open from the version that would answer. Raises NotFound, NoActiveVersion, SpecInvalid."""
    answering = registry.answering(session, tenant_id, entity, target, semver)
    longest = answering.spec["horizon"]
    steps = horizon if horizon is not None else longest
    if not 1 <= steps <= longest:
        raise SpecInvalid("horizon", steps, f"version {answering.semver} forecasts 1 to {longest} steps")
    return Question(tenant_id, entity, answering, target, steps, level if level is not None else answering.spec["level"], semver)


def serving(session: Session, tenant_id: str, entity: Entity, name: str, semver: str | None) -> Version:
    """The version that answers for a model, whole. Raises as `registry.answering` does."""
    return session.get_one(Version, registry.answering(session, tenant_id, entity.name, name, semver).version_id)


def known(runtime: Runtime, session: Session, question: Question) -> tuple[Job, Json] | None:
    """The job that made the answer and the forecast, if it is not older than the cache's time to live."""
    tenant_id = question.tenant_id
    body = runtime.cache.get(tenant_id, question.asked) or _stored(runtime, session, tenant_id, question.asked)
    if body is None:
        return None
    try:
        maker = ledger.get(session, tenant_id, body["job_id"])
    except NotFound:  # purged: the question is asked anew
        return None
    return maker, body["forecast"] | {"cached": True}


def _stored(runtime: Runtime, session: Session, tenant_id: str, asked: forecasts.Question) -> Json | None:
    """Postgres's copy of a cached forecast, for when Redis was wiped or is slow. It serves as long as the cached one would have."""
    stored = forecasts.find(session, tenant_id, asked)
    if stored is None:
        return None
    left = runtime.settings.forecast_ttl_s - (datetime.now(UTC) - stored.made_at).total_seconds()
    if left <= 0:
        return None
    body = {"job_id": stored.job_id, "forecast": stored.body}
    runtime.cache.put(tenant_id, asked, body, left)
    return body
