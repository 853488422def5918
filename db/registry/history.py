"""What was trained and what served: versions by their numbers, and the log of moves."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Activation, Json, Version
from db.registry.lineages import get_model
from db.registry.rows import FRESH, SEMVER, newest_first, numbers, require


def versions(session: Session, tenant_id: str, model_id: str, *, limit: int, after: str | None = None) -> list[Version]:
    """Newest first, pruned ones too. `after` is the number of the last version of the page before."""
    model = get_model(session, tenant_id, model_id)
    asked = sa.select(Version).where(Version.model_id == model.id)
    if after is not None:
        asked = asked.where(sa.tuple_(*SEMVER) < numbers(after))
    return list(session.scalars(asked.order_by(*newest_first()).limit(limit)))


def version(session: Session, tenant_id: str, model_id: str, semver: str) -> Version:
    asked = sa.select(Version).where(Version.tenant_id == tenant_id, Version.model_id == model_id, sa.tuple_(*SEMVER) == numbers(semver))
    return require(session.scalar(asked, execution_options=FRESH), "version", semver)


def activations(session: Session, tenant_id: str, model_id: str, *, limit: int, after: int | None = None) -> list[Activation]:
    """Newest first. `after` is the id of the last one of the page before."""
    model = get_model(session, tenant_id, model_id)
    asked = sa.select(Activation).where(Activation.model_id == model.id)
    if after is not None:
        asked = asked.where(Activation.id < after)
    return list(session.scalars(asked.order_by(Activation.id.desc()).limit(limit)))


def references(session: Session, tenant_id: str, version_ids: Collection[str]) -> dict[str, Json | None]:
    """By id, what each version's inputs and errors were like while it was made; None of one whose release kept nothing."""
    asked = sa.select(Version.id, Version.reference).where(Version.tenant_id == tenant_id, Version.id.in_(version_ids))
    return dict(session.execute(asked).all())


def referenced_artefacts(session: Session) -> set[str]:
    """Artefacts that a version of any tenant still needs. All others are rubbish."""
    return set(session.scalars(sa.select(Version.artefact_sha256).where(Version.pruned_at.is_(None)).distinct()))
