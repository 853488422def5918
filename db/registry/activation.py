"""The active flag: moved by hand or by a publication, and back."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db import audit, deliveries
from db.audit import By
from db.errors import Conflict, Stale
from db.models import Activation, Model, Version
from db.registry.history import version
from db.registry.rows import FRESH, lock, serving


def activate(
    session: Session, tenant_id: str, model_id: str, semver: str, *, reason: str | None, by: By, if_match: str | None = None
) -> Version:
    """Make a version the active one. All is checked before anything is switched. `if_match`: the version the caller thinks is active."""
    model = lock(session, tenant_id, model_id)
    chosen = version(session, tenant_id, model_id, semver)
    if chosen.pruned_at is not None:
        raise Conflict("version_pruned", f"Version {semver} was pruned; its artefact is gone.")
    current = serving(session, model)
    if if_match is not None and (current is None or current.semver != if_match):
        raise Stale(f"Active is {current.semver if current else 'none'}, not {if_match}.")
    if chosen is not current:
        _move_by_hand(session, current, chosen, kind="activate", reason=reason, by=by)
    return chosen


def rollback(session: Session, tenant_id: str, model_id: str, *, reason: str | None, by: By) -> Version:
    """Back to the version that was active before the present one; again, to the one before that. Pruned ones are passed over."""
    model = lock(session, tenant_id, model_id)
    chosen = earlier(session, model)
    if chosen is None:
        raise Conflict("conflicting_activation", "No earlier version to go back to.")
    _move_by_hand(session, serving(session, model), chosen, kind="rollback", reason=reason, by=by)
    return chosen


def earlier(session: Session, model: Model) -> Version | None:
    """The version that a rollback would bring back; None where there is nothing to go back to."""
    current = serving(session, model)
    unpruned = sa.select(Version).where(Version.model_id == model.id, Version.pruned_at.is_(None))
    kept = {v.semver: v for v in session.scalars(unpruned, execution_options=FRESH)}
    return next((kept[semver] for semver in _before(session, model) if semver in kept and kept[semver] is not current), None)


def _before(session: Session, model: Model) -> list[str]:
    """The versions under the present one, latest first: the log played as a stack, on which a rollback pops what it left."""
    stack: list[str] = []
    log = sa.select(Activation.kind, Activation.to_version).where(Activation.model_id == model.id).order_by(Activation.id)
    for kind, to_version in session.execute(log):
        if kind != "rollback":
            stack.append(to_version)
            continue
        while stack and stack[-1] != to_version:
            stack.pop()
    return stack[-2::-1]


def _move_by_hand(session: Session, current: Version | None, chosen: Version, *, kind: str, reason: str | None, by: By) -> None:
    """Besides the model's own log, which leaves with its entity, the audit has it, which stays and tells no reason."""
    move(session, current, chosen, kind=kind, reason=reason, actor=by.actor)
    action = audit.MODEL_ROLLED_BACK if kind == "rollback" else audit.MODEL_ACTIVATED
    told = {"version": chosen.semver, "former": current.semver if current else None}
    audit.write(session, chosen.tenant_id, action, chosen.model_id, by, **told)


def move(session: Session, current: Version | None, chosen: Version, *, kind: str, reason: str | None, actor: str) -> None:
    """Switch the flag, write it in the log, tell webhooks. Two flushes: `one_active` is checked row by row."""
    if current is not None:
        current.active = False
        session.flush()
    chosen.active = True
    session.add(
        Activation(
            tenant_id=chosen.tenant_id,
            model_id=chosen.model_id,
            kind=kind,
            from_version=current.semver if current else None,
            to_version=chosen.semver,
            reason=reason,
            actor=actor,
        )
    )
    session.flush()
    told = {"model": chosen.model_id, "version": chosen.semver, "former": current.semver if current else None}
    deliveries.tell(session, chosen.model_id, "model.rolled_back" if kind == "rollback" else "model.activated", told)
