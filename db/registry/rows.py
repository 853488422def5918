"""What the rooms of the registry share: a model's row as a lock, and versions in the order of their numbers."""

from __future__ import annotations

import re
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.errors import NotFound
from db.models import Model, Version

Found = TypeVar("Found")

SEMVER = (Version.major, Version.minor, Version.patch)
_WRITTEN = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})")
# Rows may have changed since this session last read them, while it waited for the model's lock.
FRESH = {"populate_existing": True}


def lock(session: Session, tenant_id: str, model_id: str) -> Model:
    """Whoever holds the model's row allots versions and moves the flag. NO KEY: new jobs that refer to the model need not wait."""
    asked = sa.select(Model).where(Model.tenant_id == tenant_id, Model.id == model_id)
    return require(session.scalar(asked.with_for_update(key_share=True)), "model", model_id)


def serving(session: Session, model: Model) -> Version | None:
    return session.scalar(sa.select(Version).where(Version.model_id == model.id, Version.active), execution_options=FRESH)


def newest(session: Session, model: Model) -> Version | None:
    asked = sa.select(Version).where(Version.model_id == model.id).order_by(*newest_first()).limit(1)
    return session.scalar(asked, execution_options=FRESH)


def newest_first() -> list[sa.UnaryExpression[int]]:
    return [part.desc() for part in SEMVER]


def numbers(semver: str) -> tuple[int, int, int]:
    written = _WRITTEN.fullmatch(semver)
    if written is None:
        raise NotFound("version", semver)
    major, minor, patch = map(int, written.groups())
    return major, minor, patch


def require(row: Found | None, what: str, name: str) -> Found:
    if row is None:
        raise NotFound(what, name)
    return row
