"""Versions are numbered without gap, exactly one serves, and the way back is always known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from db import registry
from db.audit import By
from db.errors import Conflict, NotFound, Stale
from db.models import Activation, Model, Version, new_id
from db.session import Sessions
from tests.support import rows


@pytest.fixture
def model(sessions: Sessions) -> Model:
    with sessions.begin() as session:
        return rows.model(session)


def publish(sessions: Sessions, of: Model, *args: Any, **fields: Any) -> Version:
    with sessions.begin() as session:
        return rows.publish(session, of, *args, **fields)


def activate(sessions: Sessions, of: Model, semver: str, **more: Any) -> Version:
    with sessions.begin() as session:
        return registry.activate(session, of.tenant_id, of.id, semver, reason="better", by=By("ops"), **more)


def rollback(sessions: Sessions, of: Model) -> Version:
    with sessions.begin() as session:
        return registry.rollback(session, of.tenant_id, of.id, reason="worse", by=By("ops"))


def active(sessions: Sessions, of: Model) -> str | None:
    with sessions.begin() as session:
        found = registry.active(session, of.tenant_id, of.entity_id, of.name)
        return None if found is None else found.semver


def numbers(sessions: Sessions, of: Model) -> list[str]:
    with sessions.begin() as session:
        return [v.semver for v in registry.versions(session, of.tenant_id, of.id, limit=200)][::-1]


def log(sessions: Sessions, of: Model) -> list[tuple[str, str | None, str]]:
    with sessions.begin() as session:
        moves = registry.activations(session, of.tenant_id, of.id, limit=1000)
        return [(m.kind, m.from_version, m.to_version) for m in moves][::-1]


# Models


def test_a_model_is_made_once_per_entity_kind_and_name(sessions: Sessions, model: Model) -> None:
    with sessions.begin() as session:
        again = registry.ensure_model(session, model.tenant_id, model.entity_id, "rhr")
        other = registry.ensure_model(session, model.tenant_id, model.entity_id, "rhr", "anomaly")
        assert again.id == model.id != other.id
        assert registry.find_model(session, model.tenant_id, model.entity_id, "rhr") is again
        assert registry.find_model(session, model.tenant_id, model.entity_id, "hrv") is None


def test_many_that_make_the_same_model_get_the_same(sessions: Sessions, model: Model) -> None:
    def make() -> str:
        with sessions.begin() as session:
            return registry.ensure_model(session, model.tenant_id, model.entity_id, "hrv").id

    assert len(set(rows.at_once(*[make] * 8))) == 1


def test_a_model_of_another_tenants_entity_is_not_found(sessions: Sessions, model: Model) -> None:
    with sessions.begin() as session:
        theirs = rows.tenant(session, "theirs")
        with pytest.raises(NotFound):
            registry.ensure_model(session, theirs.id, model.entity_id, "rhr")


def test_models_are_listed_by_filter_and_page(sessions: Sessions, model: Model) -> None:
    with sessions.begin() as session:
        owner = model.tenant_id
        other = rows.entity(session, owner, "other")
        hrv = registry.ensure_model(session, owner, model.entity_id, "hrv")
        odd = registry.ensure_model(session, owner, other.id, "rhr", "anomaly")

        def listed(**asked: Any) -> list[str]:
            return [m.id for m in registry.models(session, owner, limit=10, **asked)]

        assert listed() == sorted([model.id, hrv.id, odd.id])
        assert listed(entity="user-42") == sorted([model.id, hrv.id])
        assert listed(entity="nobody") == []
        assert listed(name="rhr") == sorted([model.id, odd.id])
        assert listed(kind="anomaly") == [odd.id]
        assert listed(after=listed()[0]) == listed()[1:]
        assert len(registry.models(session, owner, limit=2)) == 2


def test_heads_show_the_active_and_the_latest(sessions: Sessions, model: Model) -> None:
    with sessions.begin() as session:
        first = rows.publish(session, model)
        last = rows.publish(session, model, "never", signature="shape-b")
        empty = registry.ensure_model(session, model.tenant_id, model.entity_id, "hrv")
        assert registry.heads(session, [model, empty]) == {
            model.id: registry.Heads("user-42", first, last),
            empty.id: registry.Heads("user-42", None, None),
        }


# Numbers


@pytest.mark.parametrize(
    ("changes", "semver"),
    [
        ({}, "1.0.1"),
        ({"spec_hash": "spec-b"}, "1.1.0"),
        ({"signature": "shape-b"}, "2.0.0"),
        ({"signature": "shape-b", "spec_hash": "spec-b"}, "2.0.0"),
    ],
)
def test_what_changed_decides_the_number(sessions: Sessions, model: Model, changes: dict, semver: str) -> None:
    assert publish(sessions, model).semver == "1.0.0"
    assert publish(sessions, model, **changes).semver == semver


def test_the_highest_version_is_compared_with_also_when_pruned(sessions: Sessions, model: Model) -> None:
    publish(sessions, model)
    publish(sessions, model, "never", spec_hash="spec-b")
    with sessions.begin() as session:
        registry.delete_version(session, model.tenant_id, model.id, "1.1.0")
    assert publish(sessions, model, spec_hash="spec-b").semver == "1.1.1"
    assert publish(sessions, model).semver == "1.2.0"


SPECS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy")), min_size=1, max_size=10)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(specs=SPECS)
def test_numbers_rise_by_one_step_and_never_leave_a_gap(sessions: Sessions, model: Model, specs: list[tuple[str, str]]) -> None:
    with sessions.begin() as session:
        of = registry.ensure_model(session, model.tenant_id, model.entity_id, new_id("name"))
    made = [publish(sessions, of, signature=shape, spec_hash=shape + spec) for shape, spec in specs]
    for before, after in pairwise(made):
        steps = [(before.major + 1, 0, 0), (before.major, before.minor + 1, 0), (before.major, before.minor, before.patch + 1)]
        changed = [before.signature != after.signature, before.spec_hash != after.spec_hash, True]
        assert (after.major, after.minor, after.patch) == steps[changed.index(True)]


def test_a_job_publishes_once(sessions: Sessions, model: Model) -> None:
    new = rows.new_version()

    def again(version: registry.NewVersion) -> str:
        with sessions.begin() as session:
            how: dict[str, Any] = {"activation": "auto", "gate_passed": True, "actor": "worker"}
            return registry.publish(session, model.tenant_id, model.id, version, **how).id

    first = again(new)
    publish(sessions, model)
    assert again(replace(new, metrics={"mae": 9})) == first
    assert rows.at_once(*[lambda: again(new)] * 4) == [first] * 4
    assert numbers(sessions, model) == ["1.0.0", "1.0.1"]


def test_publications_at_once_stay_gapless_with_one_active(sessions: Sessions, model: Model) -> None:
    made = rows.at_once(*[lambda: publish(sessions, model).semver] * 8)
    assert sorted(made) == [f"1.0.{i}" for i in range(8)]
    with sessions.begin() as session:
        assert session.scalar(select(func.count()).where(Version.active)) == 1
    moves = log(sessions, model)
    assert [before for _, before, _ in moves] == [None, *[to for _, _, to in moves[:-1]]]
    assert moves[-1][2] == active(sessions, model)


def test_moves_at_once_end_with_one_active(sessions: Sessions, model: Model) -> None:
    for _ in range(4):
        publish(sessions, model)
    actions: list[Callable[[], Version]] = [lambda i=i: activate(sessions, model, f"1.0.{i}") for i in range(4)]
    actions += [lambda: publish(sessions, model), lambda: rollback(sessions, model)]
    rows.at_once(*actions)
    with sessions.begin() as session:
        assert session.scalar(select(func.count()).where(Version.active)) == 1
    assert log(sessions, model)[-1][2] == active(sessions, model)


def test_nothing_is_published_to_another_tenants_model(sessions: Sessions, model: Model) -> None:
    with sessions.begin() as session:
        theirs = rows.tenant(session, "theirs")
        how: dict[str, Any] = {"activation": "auto", "gate_passed": True, "actor": "worker"}
        with pytest.raises(NotFound, match="model"):
            registry.publish(session, theirs.id, model.id, rows.new_version(), **how)


# The active flag


@pytest.mark.parametrize(
    ("activation", "gate_passed", "newer_by_days", "takes_over"),
    [
        ("auto", True, 1, True),
        ("auto", True, 0, True),
        ("auto", True, -1, False),
        ("auto", False, 1, False),
        ("always", False, -1, True),
        ("never", True, 1, False),
    ],
)
def test_who_takes_over(
    sessions: Sessions, model: Model, activation: registry.Mode, gate_passed: bool, newer_by_days: int, takes_over: bool
) -> None:
    first = publish(sessions, model)
    second = publish(sessions, model, activation, gate_passed, data_until=first.data_until + timedelta(days=newer_by_days))
    assert active(sessions, model) == (second if takes_over else first).semver
    assert second.active is takes_over


def test_the_first_version_serves_also_when_its_gate_failed(sessions: Sessions, model: Model) -> None:
    publish(sessions, model, "never")
    assert active(sessions, model) is None
    assert log(sessions, model) == []
    publish(sessions, model, "auto", gate_passed=False)
    assert active(sessions, model) == "1.0.1"
    assert log(sessions, model) == [("publish", None, "1.0.1")]


def test_activate_switches_and_says_who_and_why(sessions: Sessions, model: Model) -> None:
    publish(sessions, model)
    publish(sessions, model)
    assert activate(sessions, model, "1.0.0").active
    assert active(sessions, model) == "1.0.0"
    with sessions.begin() as session:
        newest = registry.activations(session, model.tenant_id, model.id, limit=1)[0]
        assert (newest.kind, newest.from_version, newest.to_version) == ("activate", "1.0.1", "1.0.0")
        assert (newest.reason, newest.actor) == ("better", "ops")


def test_activating_the_active_one_is_no_event(sessions: Sessions, model: Model) -> None:
    publish(sessions, model)
    before = log(sessions, model)
    assert activate(sessions, model, "1.0.0").active
    assert log(sessions, model) == before


@pytest.mark.parametrize("semver", ["9.9.9", "1.0", "latest", "", "1.0.0 ", "01.0.0", "99999999999.0.0", "1.0.-1", "1.0.٣"])
def test_an_unknown_version_switches_nothing(sessions: Sessions, model: Model, semver: str) -> None:
    publish(sessions, model)
    with sessions.begin() as session, pytest.raises(NotFound, match="version"):
        registry.activate(session, model.tenant_id, model.id, semver, reason=None, by=By("ops"))
    assert active(sessions, model) == "1.0.0"


def test_a_pruned_version_cannot_come_back(sessions: Sessions, model: Model) -> None:
    publish(sessions, model)
    publish(sessions, model)
    with sessions.begin() as session:
        registry.delete_version(session, model.tenant_id, model.id, "1.0.0")
    with pytest.raises(Conflict) as refused:
        activate(sessions, model, "1.0.0")
    assert refused.value.code == "version_pruned"
    assert active(sessions, model) == "1.0.1"


def test_if_match_refuses_a_caller_who_is_behind(sessions: Sessions, model: Model) -> None:
    publish(sessions, model, "never")
    with pytest.raises(Stale):
        activate(sessions, model, "1.0.0", if_match="1.0.0")
    activate(sessions, model, "1.0.0")
    publish(sessions, model)
    with pytest.raises(Stale) as refused:
        activate(sessions, model, "1.0.0", if_match="1.0.0")
    assert refused.value.code == "precondition_failed"
    assert active(sessions, model) == "1.0.1"
    assert activate(sessions, model, "1.0.0", if_match="1.0.1").semver == "1.0.0"


# The way back. Each story: publications p, activations aN of 1.0.N, rollbacks r, prunings xN; and what serves in the end.


@pytest.mark.parametrize(
    ("story", "serves"),
    [
        ("p p r", "1.0.0"),
        ("p p p r", "1.0.1"),
        ("p p p r r", "1.0.0"),
        ("p p r p r", "1.0.0"),
        ("p p p r p r", "1.0.1"),
        ("p p p r p r r", "1.0.0"),
        ("p p a0 r", "1.0.1"),
        ("p p a0 r r", "1.0.0"),
        ("p p p a0 r r r", "1.0.0"),
        ("p p p x1 r", "1.0.0"),
        ("p p p a1 a2 x1 r", "1.0.0"),
        ("p p p a1 a0 a2 x1 x0 r", None),
        ("p r", None),
        ("p p r r", None),
        ("p p a0 r r r", None),
        ("p p x0 r", None),
    ],
)
def test_rollback_goes_back_as_a_stack(sessions: Sessions, model: Model, story: str, serves: str | None) -> None:
    *steps, last = story.split()
    for step in steps:
        _tell(sessions, model, step)
    if serves is not None:
        _tell(sessions, model, last)
        assert active(sessions, model) == serves
        return
    before = active(sessions, model), log(sessions, model)
    with pytest.raises(Conflict) as refused:
        _tell(sessions, model, last)
    assert refused.value.code == "conflicting_activation"
    assert (active(sessions, model), log(sessions, model)) == before


def _tell(sessions: Sessions, of: Model, step: str) -> None:
    if step == "p":
        publish(sessions, of)
    elif step == "r":
        rollback(sessions, of)
    elif step.startswith("a"):
        activate(sessions, of, f"1.0.{step[1:]}")
    else:
        with sessions.begin() as session:
            registry.delete_version(session, of.tenant_id, of.id, f"1.0.{step[1:]}")


def test_rolling_back_what_never_served(sessions: Sessions, model: Model) -> None:
    publish(sessions, model, "never")
    with pytest.raises(Conflict):
        rollback(sessions, model)


STEPS = st.lists(st.sampled_from(["p", "r", "a0", "a1", "a2", "x0", "x1"]), max_size=14)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens_one_serves_and_the_log_only_grows(sessions: Sessions, model: Model, steps: list[str]) -> None:
    with sessions.begin() as session:
        of = registry.ensure_model(session, model.tenant_id, model.entity_id, new_id("name"))
    publish(sessions, of)
    told = log(sessions, of)
    for step in steps:
        try:
            _tell(sessions, of, step)
        except (Conflict, NotFound):
            assert log(sessions, of) == told
        now = log(sessions, of)
        assert now[: len(told)] == told
        assert [before for _, before, _ in now] == [None, *[to for _, _, to in now[:-1]]]
        assert active(sessions, of) == now[-1][2]
        told = now


# Pruning


@pytest.mark.parametrize(
    ("keep", "serving", "gone"),
    [
        (5, "1.0.3", []),
        (2, "1.0.3", ["1.0.0", "1.0.1"]),
        (2, "1.0.0", ["1.0.1"]),
        (0, "1.0.2", ["1.0.0", "1.0.1", "1.0.3"]),
    ],
)
def test_pruning_keeps_the_newest_and_the_active(sessions: Sessions, model: Model, keep: int, serving: str, gone: list[str]) -> None:
    for _ in range(4):
        publish(sessions, model)
    activate(sessions, model, serving)
    with sessions.begin() as session:
        pruned = registry.prune(session, model.tenant_id, model.id, keep)
        assert sorted(v.semver for v in pruned) == gone
        assert registry.prune(session, model.tenant_id, model.id, keep) == []
    with sessions.begin() as session:
        found = {v.semver: v for v in registry.versions(session, model.tenant_id, model.id, limit=10)}
        assert sorted(s for s, v in found.items() if v.pruned_at is not None) == gone
        kept = {v.artefact_sha256 for s, v in found.items() if s not in gone}
        assert registry.referenced_artefacts(session) == kept
    assert active(sessions, model) == serving


def test_the_active_version_cannot_be_deleted(sessions: Sessions, model: Model) -> None:
    publish(sessions, model)
    with sessions.begin() as session, pytest.raises(Conflict) as refused:
        registry.delete_version(session, model.tenant_id, model.id, "1.0.0")
    assert refused.value.code == "model_is_active"


def test_deleting_again_changes_nothing(sessions: Sessions, model: Model) -> None:
    publish(sessions, model)
    publish(sessions, model)
    with sessions.begin() as session:
        first = registry.delete_version(session, model.tenant_id, model.id, "1.0.0").pruned_at
        assert registry.delete_version(session, model.tenant_id, model.id, "1.0.0").pruned_at == first


def test_an_artefact_two_versions_share_stays_referenced(sessions: Sessions, model: Model) -> None:
    publish(sessions, model, artefact_sha256="same")
    publish(sessions, model, artefact_sha256="same")
    with sessions.begin() as session:
        registry.delete_version(session, model.tenant_id, model.id, "1.0.0")
        assert registry.referenced_artefacts(session) == {"same"}


# Reading


def test_versions_are_paged_newest_first(sessions: Sessions, model: Model) -> None:
    for shape in "aabbc":
        publish(sessions, model, signature=shape)
    with sessions.begin() as session:
        seen: list[str] = []
        after = None
        while page := registry.versions(session, model.tenant_id, model.id, limit=2, after=after):
            seen += [v.semver for v in page]
            after = seen[-1]
    assert seen == ["3.0.0", "2.0.1", "2.0.0", "1.0.1", "1.0.0"]


def test_activations_are_paged_newest_first(sessions: Sessions, model: Model) -> None:
    for _ in range(3):
        publish(sessions, model)
    with sessions.begin() as session:
        first, second = registry.activations(session, model.tenant_id, model.id, limit=2)
        [third] = registry.activations(session, model.tenant_id, model.id, limit=2, after=second.id)
        assert [a.to_version for a in (first, second, third)] == ["1.0.2", "1.0.1", "1.0.0"]


def test_another_tenant_finds_nothing(sessions: Sessions, model: Model) -> None:
    publish(sessions, model)
    publish(sessions, model)
    with sessions.begin() as session:
        theirs = rows.tenant(session, "theirs").id
        how = {"reason": None, "by": By("ops")}
        for ask in (
            lambda: registry.get_model(session, theirs, model.id),
            lambda: registry.version(session, theirs, model.id, "1.0.0"),
            lambda: registry.versions(session, theirs, model.id, limit=1),
            lambda: registry.activations(session, theirs, model.id, limit=1),
            lambda: registry.activate(session, theirs, model.id, "1.0.0", **how),
            lambda: registry.rollback(session, theirs, model.id, **how),
            lambda: registry.prune(session, theirs, model.id, 1),
            lambda: registry.delete_version(session, theirs, model.id, "1.0.0"),
        ):
            with pytest.raises(NotFound):
                ask()
        assert registry.active(session, theirs, model.entity_id, "rhr") is None
        assert registry.models(session, theirs, limit=10) == []
    assert active(sessions, model) == "1.0.1"


def test_a_session_that_read_before_sees_the_flag_where_it_is_now(sessions: Sessions, model: Model) -> None:
    publish(sessions, model)
    publish(sessions, model)
    with sessions() as slow:
        before = registry.version(slow, model.tenant_id, model.id, "1.0.0")
        assert not before.active
        slow.commit()
        activate(sessions, model, "1.0.0")
        with pytest.raises(Conflict, match="active"):
            registry.delete_version(slow, model.tenant_id, model.id, "1.0.0")
        slow.rollback()
    with sessions.begin() as session:
        assert session.scalar(select(func.count()).select_from(Activation)) == 3


def test_what_nobody_knows_the_data_of_gives_way_and_takes_no_place(sessions: Sessions, model: Model) -> None:
    unknown = {"data_from": None, "data_until": None}
    assert publish(sessions, model, **unknown).active, "better a version than no answer"
    assert not publish(sessions, model, gate_passed=False, **unknown).active
    assert publish(sessions, model).active
    assert not publish(sessions, model, **unknown).active


def test_a_version_is_found_by_its_artefact_until_it_is_pruned(sessions: Sessions, model: Model) -> None:
    first = publish(sessions, model, artefact_sha256="aa")
    publish(sessions, model, activation="always", artefact_sha256="bb")
    with sessions.begin() as session:
        found = registry.holding(session, model.tenant_id, model.id, "aa")
        assert found is not None
        assert found.id == first.id
        assert registry.holding(session, model.tenant_id, model.id, "cc") is None
        with pytest.raises(NotFound):
            registry.holding(session, "another", model.id, "aa")
        registry.delete_version(session, model.tenant_id, model.id, first.semver)
        assert registry.holding(session, model.tenant_id, model.id, "aa") is None
