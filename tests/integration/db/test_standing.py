"""How an entity stands before a training: the same counts as `observations` tells, and the models that are named after its channels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from db import observations, registry, standing
from db.errors import NotFound
from db.models import Entity
from db.session import Sessions
from tests.support import rows


@pytest.fixture
def user(sessions: Sessions) -> Entity:
    with sessions.begin() as session:
        return rows.entity(session, rows.tenant(session).id)


def test_counts_are_those_of_the_observations(sessions: Sessions, user: Entity) -> None:
    late = datetime(2026, 1, 1, 23, 30, tzinfo=UTC)
    given = [*rows.series("a", [1, 2, 3], start=late, step=timedelta(hours=1)), *rows.series("b", [1])]
    with sessions.begin() as session:
        observations.upsert(session, user, given)
        seen = standing.look(session, user.tenant_id, user.name)
        assert (seen.id, seen.name, seen.kind) == (user.id, user.name, user.kind)
        assert seen.held == observations.coverage(session, user.id)


def test_an_entity_without_a_row_holds_nothing(sessions: Sessions, user: Entity) -> None:
    with sessions.begin() as session:
        seen = standing.look(session, user.tenant_id, user.name)
        assert (seen.held, seen.models) == ({}, {})


def test_only_what_forecasts_a_channel_under_its_name_is_a_model_of_it(sessions: Sessions, user: Entity) -> None:
    with sessions.begin() as session:
        observations.upsert(session, user, [*rows.series("a", [1]), *rows.series("b", [1])])
        model = registry.ensure_model(session, user.tenant_id, user.id, "a")
        registry.ensure_model(session, user.tenant_id, user.id, "b", "anomaly")
        registry.ensure_model(session, user.tenant_id, user.id, "c")
        assert standing.look(session, user.tenant_id, user.name).models == {"a": model.id}


def test_nobody_sees_another_tenants(sessions: Sessions, user: Entity) -> None:
    with sessions.begin() as session, pytest.raises(NotFound):
        standing.look(session, "tnt_other", user.name)
