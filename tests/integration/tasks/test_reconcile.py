"""Sweeps: what they bring in order, and that the mirror in Redis learns of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from sqlalchemy import text

from db import ledger
from tasks import submit as submitting
from tasks.orders import TrainOrder
from tasks.reconcile import check_invariants, collect_orphans, reconcile_once
from tasks.workshop import Workshop
from tests.support.road import SMALL, ingest, job, tenant, wave, work_off

ORDER = TrainOrder("device-metric", ("dev",), "cpu", overrides=SMALL)


def test_an_expired_lease_is_reaped_and_the_mirror_says_so(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "dev", wave(200))
    submitted = submitting.train(shop.runtime, acme, ORDER).job
    with shop.sessions.begin() as session:
        assert ledger.claim(session, submitted.id, "worker/bell", 30.0) is not None
    assert reconcile_once(shop.runtime)["reaped"] == 0, "a lease that holds is left alone"
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET lease_until = now() - interval '1 minute' WHERE id = :id"), {"id": submitted.id})
    deadline = time.monotonic() + 2 * shop.settings.lease_s  # nothing is reaped in the first lease after Postgres started
    while reconcile_once(shop.runtime)["reaped"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    mirrored = shop.runtime.board.read(acme.tenant_id, submitted.id)
    assert mirrored is not None
    assert (mirrored["state"], mirrored["attempt"]) == ("queued", 1)
    work_off(shop)
    assert job(shop, acme, submitted.id).state == "succeeded"
    assert check_invariants(shop.runtime) == dict.fromkeys(check_invariants(shop.runtime), 0)


def test_a_waiting_job_whose_deadline_passed_fails_with_its_problem(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "dev", wave(200))
    submitted = submitting.train(shop.runtime, acme, ORDER).job
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET deadline_at = now() - interval '1 second' WHERE id = :id"), {"id": submitted.id})
    assert reconcile_once(shop.runtime)["expired"] == 1
    done = job(shop, acme, submitted.id)
    assert done.error is not None
    assert (done.state, done.error["code"]) == ("failed", "deadline_exceeded")


def test_artefacts_that_no_version_names_are_collected_after_a_while_and_others_never(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "dev", wave(200))
    submitting.train(shop.runtime, acme, ORDER)
    work_off(shop)
    [kept] = [path.parent for path in shop.settings.model_dir.glob("*/*/manifest.json")]
    orphan = shop.settings.model_dir / "ab" / ("ab" * 32)
    orphan.mkdir(parents=True)
    (orphan / "weights.safetensors").write_bytes(b"left behind by a killed worker")
    half = shop.settings.model_dir / ".tmp-killed"
    half.mkdir()

    assert collect_orphans(shop.runtime) == [], "its publication may still be under way"
    for folder in (orphan, half, kept):
        age(folder, hours=2)
    assert sorted(collect_orphans(shop.runtime)) == sorted([orphan.name, half.name])
    assert not half.exists()
    assert kept.is_dir()


def test_pruned_versions_lose_their_artefacts_and_the_active_one_keeps_its(shop: Workshop) -> None:
    acme = tenant(shop)
    ingest(shop, acme, "dev", wave(200))
    for seed in range(7):
        overrides = {**SMALL, "seed": seed}
        activation = "always" if seed == 0 else "never"
        submitting.train(shop.runtime, acme, TrainOrder("device-metric", ("dev",), "cpu", overrides=overrides, activation=activation))  # type: ignore[arg-type]
        work_off(shop)
    with shop.sessions() as session:
        rows = session.execute(text("SELECT minor, active, pruned_at IS NOT NULL, artefact_sha256 FROM versions ORDER BY minor")).all()
    assert [(active, pruned) for _, active, pruned, _ in rows] == [(True, False), (False, True), *[(False, False)] * 5]
    for folder in shop.settings.model_dir.glob("*/*"):
        age(folder, hours=2)
    assert collect_orphans(shop.runtime) == [rows[1][3]]


def age(folder: Path, *, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(folder, (then, then))
