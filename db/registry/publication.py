"""Publication: versions written under the next number, kept for a while, and pruned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db import audit
from db.audit import OPERATOR, By
from db.errors import Conflict
from db.models import Json, Version
from db.registry.activation import move
from db.registry.history import version
from db.registry.rows import FRESH, lock, newest, newest_first, serving

Mode = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A trained version on its way into the registry; the fields are those of `db.models.Version`."""

    job_id: str
    fence: int
    recipe: str | None
    target: str
    spec: Json
    spec_hash: str
    signature: str
    served_by: str
    metrics: Json
    gate: Json
    warnings: list[Json]
    artefact_sha256: str
    artefact_bytes: int
    data_from: datetime | None
    data_until: datetime | None
    reference: Json | None = None
    source: str | None = None


def publish(
    session: Session, tenant_id: str, model_id: str, new: NewVersion, *, activation: Mode, gate_passed: bool, actor: str
) -> Version:
    """Write a version down under the next number, and make it active if it may be. A job's second call finds what the first wrote."""
    model = lock(session, tenant_id, model_id)
    done = session.scalar(sa.select(Version).where(Version.model_id == model.id, Version.job_id == new.job_id))
    if done is not None:
        return done
    major, minor, patch = _next_number(newest(session, model), new)
    published = Version(tenant_id=tenant_id, model_id=model.id, major=major, minor=minor, patch=patch, active=False, **asdict(new))
    session.add(published)
    session.flush()
    current = serving(session, model)
    if _takes_over(new, current, activation, gate_passed):
        move(session, current, published, kind="publish", reason=None, actor=actor)
    return published


def holding(session: Session, tenant_id: str, model_id: str, artefact_sha256: str) -> Version | None:
    """The version of the model that has this artefact. The model's row stays locked, so that nobody publishes another one meanwhile."""
    model = lock(session, tenant_id, model_id)
    held = sa.select(Version).where(Version.model_id == model.id, Version.artefact_sha256 == artefact_sha256, Version.pruned_at.is_(None))
    return session.scalar(held.order_by(*newest_first()).limit(1), execution_options=FRESH)


def publish_and_prune(
    session: Session, tenant_id: str, model_id: str, new: NewVersion, *, activation: Mode, actor: str, keep: int
) -> Version:
    """Publish by the verdict of the version's own gate, and keep the newest `keep` of the model: what every kind of training ends with."""
    published = publish(session, tenant_id, model_id, new, activation=activation, gate_passed=bool(new.gate["passed"]), actor=actor)
    prune(session, tenant_id, model_id, keep)
    return published


def _next_number(highest: Version | None, new: NewVersion) -> tuple[int, int, int]:
    """Major: consumers see another shape. Minor: the same shape from another spec. Patch: the same spec, trained again."""
    if highest is None:
        return 1, 0, 0
    if highest.signature != new.signature:
        return highest.major + 1, 0, 0
    if highest.spec_hash != new.spec_hash:
        return highest.major, highest.minor + 1, 0
    return highest.major, highest.minor, highest.patch + 1


def _takes_over(new: NewVersion, current: Version | None, activation: Mode, gate_passed: bool) -> bool:
    if activation != "auto":
        return activation == "always"
    if current is None:
        return True  # better a version that failed its gate, and says so, than no answer
    return gate_passed and _as_recent(new, current)


def _as_recent(new: NewVersion, current: Version) -> bool:
    """What nobody knows the data of is older than all."""
    return current.data_until is None or (new.data_until is not None and new.data_until >= current.data_until)


def prune(session: Session, tenant_id: str, model_id: str, keep: int) -> list[Version]:
    """Mark all but the newest `keep` versions as pruned, never the active one. Their artefacts are the caller's to remove, after commit."""
    model = lock(session, tenant_id, model_id)
    held = sa.select(Version).where(Version.model_id == model.id, Version.pruned_at.is_(None)).order_by(*newest_first())
    surplus = [v for v in session.scalars(held.offset(keep), execution_options=FRESH) if not v.active]
    _mark_pruned(session, surplus)
    return surplus


def delete_version(session: Session, tenant_id: str, model_id: str, semver: str, *, by: By = OPERATOR) -> Version:
    """Prune one version by hand. Its row stays, so that its number is never given out again."""
    lock(session, tenant_id, model_id)
    doomed = version(session, tenant_id, model_id, semver)
    if doomed.active:
        raise Conflict("model_is_active", f"Version {semver} is active; activate another one first.")
    if doomed.pruned_at is None:
        audit.write(session, tenant_id, audit.VERSION_DELETED, model_id, by, version=semver)
    _mark_pruned(session, [doomed])
    return doomed


def _mark_pruned(session: Session, versions: Sequence[Version]) -> None:
    now = session.scalar(sa.select(sa.func.clock_timestamp()))
    for doomed in versions:
        doomed.pruned_at = doomed.pruned_at or now
    session.flush()
