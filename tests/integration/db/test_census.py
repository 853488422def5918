"""The census: exact for what is unfinished, and quick however much has ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from db import census, ledger
from db.census import Stock, Unfinished
from db.models import Version
from db.session import Sessions
from tests.support import ledger as desk


@pytest.fixture
def look(engine: Engine) -> Iterator[Connection]:
    with census.side_door(engine.url).connect() as connection:
        yield connection


def test_an_empty_house(look: Connection) -> None:
    found = census.take(look)
    assert found.unfinished == []
    assert found.table_bytes.keys() == set(census.TABLES)
    assert all(size > 0 for size in found.table_bytes.values())
    assert found.database_bytes > sum(found.table_bytes.values())
    assert found.connections["fleetcast-metrics"] == 1
    assert found.connections["fleetcast"] >= 1
    assert found.max_connections >= sum(found.connections.values())


def test_unfinished_jobs(sessions: Sessions, look: Connection) -> None:
    acme = desk.tenant(sessions)
    oldest = desk.queued(sessions, acme)
    desk.pass_by(sessions, oldest, "available_at", 90)
    desk.batch(sessions, acme, 2)
    later = desk.running(sessions, acme, queue="batch", kind="predict")
    held, lapsed = desk.running(sessions, acme).job_id, desk.running(sessions, acme).job_id
    desk.pass_by(sessions, lapsed, "lease_until", 5)
    ended = desk.running(sessions, acme)
    with sessions.begin() as session:
        ledger.retry_later(session, later.job_id, later.fence, desk.BAD, 60)
        ledger.succeed(session, ended.job_id, ended.fence, {})
    assert held
    found = {(row.kind, row.state, row.batch): row for row in census.take(look).unfinished}
    assert {key: row.jobs for key, row in found.items()} == {
        ("train", "queued", False): 3,
        ("train", "running", True): 1,
        ("train", "running", False): 2,
        ("predict", "queued", False): 1,
    }
    waiting, working = found["train", "queued", False], found["train", "running", False]
    assert waiting.oldest_due_s == pytest.approx(90, abs=5)
    assert (working.lapsed, working.oldest_due_s) == (1, None)
    assert working.lease_left_s == pytest.approx(-5, abs=5)
    assert found["predict", "queued", False] == Unfinished("predict", "batch", "queued", False, 1, None, None, 0), "not due yet"


def test_what_is_kept(sessions: Sessions) -> None:
    acme = desk.tenant(sessions)
    model, other = desk.models(sessions, acme, 2)
    with sessions.begin() as session:
        session.add_all(
            [
                version(acme, model, 0, "aa", 100),
                version(acme, model, 1, "aa", 100),
                version(acme, other, 0, "bb", 30),
                version(acme, other, 1, "cc", 7, pruned_at=datetime(2026, 1, 1, tzinfo=UTC)),
            ]
        )
    with sessions() as session:
        assert census.stock(session) == Stock(tenants=1, entities=2, versions=3, artefact_bytes=130)


def version(tenant_id: str, model_id: str, patch: int, sha256: str, size: int, pruned_at: datetime | None = None) -> Version:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Version(
        tenant_id=tenant_id, model_id=model_id, major=1, minor=0, patch=patch, job_id=f"job_{model_id}_{patch}", fence=1, target="rhr",
        spec={}, spec_hash="", signature="", served_by="lstm", metrics={}, gate={}, artefact_sha256=sha256, artefact_bytes=size,
        data_from=moment, data_until=moment, pruned_at=pruned_at,
    )  # fmt: skip


def test_an_empty_stock(sessions: Sessions) -> None:
    with sessions() as session:
        assert census.stock(session) == Stock(0, 0, 0, 0)


def test_a_long_history_costs_nothing(engine: Engine, sessions: Sessions, look: Connection) -> None:
    acme = desk.tenant(sessions)
    with engine.begin() as connection:
        connection.execute(_HISTORY, {"tenant": acme, "jobs": 100_000})
    desk.batch(sessions, acme, 200)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE jobs"))
    plan = "\n".join(look.execute(text(f"EXPLAIN (ANALYZE, BUFFERS) {census._UNFINISHED.text}")).scalars())
    assert "Seq Scan" not in plan, plan
    began = time.perf_counter()
    assert sum(row.jobs for row in census.take(look).unfinished) == 201
    assert time.perf_counter() - began < 0.25, plan


_HISTORY = text("""
INSERT INTO jobs (id, tenant_id, kind, state, spec, spec_hash, label, max_attempts, queue, finished_at)
SELECT 'job_' || n, :tenant, 'train', 'succeeded', '{}', n, '', 5, 'train', now() - n * interval '1 second'
FROM generate_series(1, :jobs) AS n
""")


def test_a_look_may_neither_write_nor_take_long(look: Connection) -> None:
    with pytest.raises(OperationalError, match="statement timeout"):
        look.execute(text(f"SELECT pg_sleep({census.PATIENCE_S + 5})"))
    look.rollback()
    with pytest.raises(Exception, match="read-only") as refused:
        look.execute(text("CREATE TABLE t ()"))
    assert isinstance(refused.value.__cause__, psycopg.errors.ReadOnlySqlTransaction)
