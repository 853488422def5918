"""Erasures that Redis has yet to follow: what an erased entity left there, written down by the transaction that erased it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db import forecasts
from db.forecasts import Question
from db.models import Entity, Erasure, Job

#: Erasures that one round takes up. What is left waits for the next.
LIMIT = 100


def begin(session: Session, entity: Entity) -> Erasure:
    """Write down what Redis may hold of the entity. Read under the locks of its erasure, before its rows go: nothing is added later."""
    of_entity = (Job.tenant_id == entity.tenant_id, Job.entity_id == entity.id)
    batches = session.scalars(select(Job.parent_id).where(*of_entity, Job.parent_id.is_not(None)).distinct())
    left = Erasure(
        tenant_id=entity.tenant_id,
        jobs=list(session.scalars(select(Job.id).where(*of_entity))),
        batches=[batch for batch in batches if batch is not None],
        questions=[asdict(question) for question in forecasts.questions(session, entity.tenant_id, entity.id)],
    )
    session.add(left)
    session.flush()
    return left


def waiting(session: Session) -> Sequence[Erasure]:
    """Those that Redis has not followed, oldest first."""
    return session.scalars(select(Erasure).order_by(Erasure.id).limit(LIMIT)).all()


def end(session: Session, erasure: Erasure) -> None:
    """Redis has forgotten. Ended again, by another process, it stays ended."""
    session.execute(delete(Erasure).where(Erasure.id == erasure.id), execution_options={"synchronize_session": False})


def questions(erasure: Erasure) -> list[Question]:
    return [Question(**asked) for asked in erasure.questions]
