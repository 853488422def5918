"""Whom a submission is about: names as given, or those that a selector finds, never more than a batch may hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.sources import is_outside
from tasks.templates import meant
from webapp.context import runtime, tenant_id
from webapp.paths import require_nameable
from webapp.problems import fault, invalid
from webapp.schemas.selection import Selection


def named(whom: Selection) -> tuple[str, ...]:
    """The names. Raises Refusal when they are too many, NotFound when a selector finds none."""
    names = whom.names if whom.selector is None else _found(whom.selector)
    most = runtime().settings.max_batch
    if len(names) > most:
        field = "entities" if whom.selector is None else "selector"
        raise invalid(fault(f"/{field}", "too_long", f"{len(names)} entities; one batch may hold {most}."))
    return names


def require_makeable(source: str | None, names: Sequence[str]) -> None:
    """An entity that only a source knows is made, so its name must be one that paths can hold. Raises Refusal."""
    if is_outside(source):
        for name in names:
            require_nameable(name, "/entity" if len(names) == 1 else "/entities")


def _found(selector: Mapping[str, Any]) -> tuple[str, ...]:
    with runtime().sessions() as session:
        return meant(session, tenant_id(), selector)
