"""Entities come, are found, and go without a trace."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from db import entities, erasures, forecasts, observations, receipts, registry
from db.audit import By
from db.entities import ChannelInfo, Erased, Known
from db.errors import NotFound
from db.forecasts import Question
from db.models import Activation, Attempt, Base, Job
from db.session import Sessions
from tests.support import rows


def test_put_makes_then_updates_and_keeps_what_is_not_told(sessions: Sessions) -> None:
    with sessions.begin() as session:
        owner = rows.tenant(session)
        made = entities.put(session, owner.id, "user-42", kind="user", attributes={"city": "Ghent"})
        again = entities.put(session, owner.id, "user-42")
        assert again is made
        assert (again.kind, again.attributes, again.data_rev) == ("user", {"city": "Ghent"}, 0)
        changed = entities.put(session, owner.id, "user-42", kind="athlete", attributes={})
        assert (changed.kind, changed.attributes) == ("athlete", {})


def test_put_tells_about_channels(sessions: Sessions) -> None:
    with sessions.begin() as session:
        owner = rows.tenant(session)
        rhr, hrv = ChannelInfo("rhr", "bpm", "lower", 30, 120), ChannelInfo("hrv", "ms", "higher")
        user = entities.put(session, owner.id, "user-42", channels=[ChannelInfo("rhr"), rhr, hrv])
        entities.put(session, owner.id, "user-42", channels=[ChannelInfo("rhr", "1/min", "lower", 20)])
        found = [(c.name, c.unit, c.direction, c.lower_bound, c.upper_bound) for c in entities.channels(session, user.id)]
        assert found == [("hrv", "ms", "higher", None, None), ("rhr", "1/min", "lower", 20, None)]


def test_a_tenant_finds_only_its_own(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ours, theirs = rows.tenant(session, "ours"), rows.tenant(session, "theirs")
        user = rows.entity(session, ours.id, "user-42")
        assert entities.get(session, ours.id, "user-42") is user
        assert entities.find_many(session, ours.id, ["user-42", "user-43"]) == {"user-42": Known(user.id, "user-42", user.kind)}
        for refused in (entities.get, entities.delete):
            with pytest.raises(NotFound, match="user-42"):
                refused(session, theirs.id, "user-42")
        assert entities.find_many(session, theirs.id, ["user-42"]) == {}
        assert entities.page(session, theirs.id, limit=10) == []
        assert entities.select(session, theirs.id) == []


def test_pages_follow_each_other_without_gap_or_repeat(sessions: Sessions) -> None:
    with sessions.begin() as session:
        owner = rows.tenant(session)
        for i in range(7):
            rows.entity(session, owner.id, f"e{i}", kind="even" if i % 2 == 0 else "odd")
        seen: list[str] = []
        after = None
        while page := entities.page(session, owner.id, limit=3, after=after):
            seen += [e.name for e in page]
            after = page[-1].id
        assert seen == [f"e{i}" for i in range(7)]
        assert [e.name for e in entities.page(session, owner.id, limit=10, kind="odd")] == ["e1", "e3", "e5"]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ({}, ["a", "b", "c"]),
        ({"kind": "sensor"}, ["a", "b"]),
        ({"has_channel": "t"}, ["b", "c"]),
        ({"attributes": {"floor": 1}}, ["a", "b"]),
        ({"attributes": {"floor": 1, "room": "x"}}, ["b"]),
        ({"attributes": {}}, ["a", "b", "c"]),
        ({"kind": "sensor", "has_channel": "t", "attributes": {"floor": 1}}, ["b"]),
        ({"kind": "nothing"}, []),
        ({"kind": "base"}, ["d"]),
        ({"kind": None, "has_channel": None, "attributes": None}, ["a", "b", "c"]),
    ],
)
def test_selectors(sessions: Sessions, selector: dict, names: list[str]) -> None:
    with sessions.begin() as session:
        owner = rows.tenant(session)
        t = [ChannelInfo("t")]
        rows.entity(session, owner.id, "a", kind="sensor", attributes={"floor": 1})
        rows.entity(session, owner.id, "b", kind="sensor", attributes={"floor": 1, "room": "x"}, channels=t)
        rows.entity(session, owner.id, "c", kind="user", attributes={"floor": 2}, channels=t)
        rows.entity(session, owner.id, "d", kind="base")
        assert [e.name for e in entities.select(session, owner.id, **selector)] == names


def test_ensure_makes_what_is_missing_also_when_many_do(sessions: Sessions) -> None:
    def ensure(names: list[str]) -> dict[str, int]:
        with sessions.begin() as session:
            return {name: e.id for name, e in entities.ensure(session, owner.id, names).items()}

    with sessions.begin() as session:
        owner = rows.tenant(session)
    names = [f"e{i}" for i in range(50)]
    first, *others = rows.at_once(lambda: ensure(names), lambda: ensure(names[::-1]), lambda: ensure(names), lambda: ensure(names[::-1]))
    assert first.keys() == set(names)
    assert all(other == first for other in others)
    assert ensure([]) == {}


def test_delete_erases_everything_and_tells_the_orphans(sessions: Sessions) -> None:
    with sessions.begin() as session:
        model = rows.model(session)
        other = registry.ensure_model(session, model.tenant_id, rows.entity(session, model.tenant_id, "other").id, "rhr")
        user = entities.get(session, model.tenant_id, "user-42")
        observations.upsert(session, user, rows.series("rhr", [60, 61]))
        shared, pruned = rows.publish(session, model), rows.publish(session, model)
        alone = rows.publish(session, model)
        registry.delete_version(session, model.tenant_id, model.id, shared.semver)
        rows.publish(session, other, artefact_sha256=pruned.artefact_sha256)
        question = Question(alone.id, "rhr", 1, 7, 0.9)
        forecasts.store(session, user.tenant_id, question, entity_id=user.id, job_id="j", data_until=rows.START, body={})
        tenant_id = user.tenant_id
    with sessions.begin() as session:
        erased = entities.delete(session, tenant_id, "user-42", by=By("key:abc", "req_1"))
    assert erased.artefacts == {alone.artefact_sha256, shared.artefact_sha256}, "that of a pruned version may lie there still"
    receipt = erased.receipt
    assert (receipt.erased_by, receipt.request_id, receipt.done_at) == ("key:abc", "req_1", None)
    assert receipt.entity_sha256 == receipts.hashed(receipt.id, "user-42")
    assert receipt.erased == {
        "entities": 1,
        "channels": 1,
        "observations": 2,
        "models": 1,
        "versions": 3,
        "activations": 3,
        "forecasts": 1,
        "jobs": 0,
        "idempotency_keys": 0,
        "artefacts": 2,
    }
    assert erasures.questions(erased.erasure) == [question]
    with sessions.begin() as session:
        with pytest.raises(NotFound):
            entities.get(session, tenant_id, "user-42")
        left = {name: session.scalar(select(func.count()).select_from(table)) for name, table in Base.metadata.tables.items()}
        assert {name for name, count in left.items() if count} == {
            "tenants",
            "entities",
            "models",
            "versions",
            "activations",
            "erasures",
            "receipts",
            "audit",
        }
        assert left["entities"] == left["models"] == left["versions"] == 1
        assert session.scalars(select(Activation.model_id)).all() == [other.id]


def test_delete_leaves_jobs_that_tell_nothing(sessions: Sessions) -> None:
    secret = {"entity": "user-42"}
    with sessions.begin() as session:
        model = rows.model(session)
        ours = {"entity_id": model.entity_id, "model_id": model.id, "spec": secret, "client_metadata": secret, "progress": secret}
        queued = rows.job(session, model.tenant_id, **ours)
        lease = {"fence": 7, "lease_until": func.now() + timedelta(seconds=30)}
        running = rows.job(session, model.tenant_id, state="running", **lease, **ours)
        ended = {"state": "succeeded", "finished_at": func.now(), "result": secret, "error": secret, "warnings": [secret]}
        succeeded = rows.job(session, model.tenant_id, **ended, **ours)
        session.add(Attempt(fence=7, tenant_id=model.tenant_id, job_id=running.id, number=1, worker="w", error=secret))
    with sessions.begin() as session:
        entities.delete(session, model.tenant_id, "user-42")
    with sessions.begin() as session:
        jobs = session.scalars(select(Job).order_by(Job.id)).all()
        assert [(j.id, j.state) for j in jobs] == [
            (queued.id, "cancelled"),
            (running.id, "cancelled"),
            (succeeded.id, "succeeded"),
        ]
        for table in ("jobs", "attempts"):
            assert not [row for row in session.scalars(text(f"SELECT t::text FROM {table} t")) if "user-42" in row]


@pytest.mark.parametrize("column", ["label", "spec", "result"])
def test_a_finished_job_forgets_only_by_erasure(sessions: Sessions, column: str) -> None:
    with sessions.begin() as session:
        model = rows.model(session)
        ended = {"state": "succeeded", "finished_at": func.now(), "result": {"mae": 1}}
        one = rows.job(session, model.tenant_id, entity_id=model.entity_id, **ended)
        none = rows.job(session, model.tenant_id, **ended)
    for job in (one, none):
        with pytest.raises(IntegrityError, match="is finished"), sessions.begin() as session:
            session.execute(text(f"UPDATE jobs SET {column} = '[]' WHERE id = :id"), {"id": job.id})


def test_delete_waits_for_a_publication_and_takes_it_along(sessions: Sessions) -> None:
    with sessions.begin() as session:
        model = rows.model(session)
        job = rows.job(session, model.tenant_id, entity_id=model.entity_id, model_id=model.id)

    def erase() -> Erased:
        with sessions.begin() as session:
            return entities.delete(session, model.tenant_id, "user-42")

    def publish() -> tuple[str, Question]:
        with sessions.begin() as session:
            session.execute(select(Job).where(Job.id == job.id).with_for_update())
            holding.set()
            time.sleep(0.3)  # the deletion has come as far as it gets
            made = rows.publish(session, model, job_id=job.id)
            question = Question(made.id, "rhr", 1, 7, 0.9)
            forecasts.store(session, made.tenant_id, question, entity_id=model.entity_id, job_id=job.id, data_until=rows.START, body={})
            return made.artefact_sha256, question

    def erase_then() -> Erased:
        assert holding.wait(10)
        return erase()

    holding = threading.Event()
    (artefact, question), erased = rows.at_once(publish, erase_then)
    assert erased.artefacts == {artefact}
    assert erasures.questions(erased.erasure) == [question], "read under the locks, so nothing is missed"
    assert (erased.erasure.jobs, erased.erasure.batches) == ([job.id], [])
