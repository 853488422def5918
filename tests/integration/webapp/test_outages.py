"""Redis away costs time, never work; Postgres away is said plainly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from db import migrate, observations
from db.observations import Ingested, Row
from db.session import make_engine, make_sessions
from tests.support.severed import cut
from tests.support.web import Caller, House, days, make_house, make_runtime
from webapp import auth

NOBODY = "redis://127.0.0.1:1/0"
READY = {"ready": True, "postgres": True, "redis": True, "migrations": True, "fix": None}


@pytest.fixture
def redisless(engine: Engine) -> House:
    return make_house(make_runtime(engine, NOBODY))


def test_all_of_it_without_redis(redisless: House) -> None:
    me = redisless.caller("mine")
    assert me.post("/entities/u/observations", {"observations": days(60)}).status_code == 200
    submitted = me.post("/models/train", {"entity": "u", "recipe": "health-daily"})
    assert submitted.status_code == 202
    job = submitted.json["id"]
    assert me.get(f"/jobs/{job}", headers={"If-None-Match": submitted.headers["ETag"]}).status_code == 304
    redisless.publish(me, job)
    assert me.get(f"/jobs/{job}?wait=1").json["state"] == "succeeded"
    asked = me.post("/predict", {"entity": "u", "target": "rhr"})
    assert asked.status_code == 202
    redisless.forecast(me, asked.json["id"])
    assert me.post("/predict", {"entity": "u", "target": "rhr"}).json["result"]["forecast"]["cached"] is True
    assert me.get("/entities/u/forecasts/rhr").status_code == 200
    assert me.delete("/entities/u").status_code == 204


def test_ready_says_what_is_missing(house: House, redisless: House) -> None:
    everything = house.app.test_client().get("/readyz")
    assert (everything.status_code, everything.json) == (200, READY)
    without = redisless.app.test_client().get("/readyz")
    assert (without.status_code, without.json) == (200, READY | {"redis": False})


@pytest.fixture
def release(engine: Engine) -> Iterator[Callable[[str], None]]:
    """Says that the database is of another release's migration."""

    def stamp(revision: str) -> None:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})

    head = ScriptDirectory.from_config(migrate.config()).get_current_head()
    assert head is not None
    yield stamp
    stamp(head)


def test_behind_its_migrations_it_is_not_ready_and_says_what_to_do(redisless: House, release: Callable[[str], None]) -> None:
    release("0001")
    told = redisless.app.test_client().get("/readyz")
    fix = "The database lacks migrations of this version; run `fleetcast migrate`."
    assert (told.status_code, told.json) == (503, READY | {"ready": False, "redis": False, "migrations": False, "fix": fix})


def test_on_a_newer_releases_database_it_is_ready(redisless: House, release: Callable[[str], None]) -> None:
    release("9999")
    told = redisless.app.test_client().get("/readyz")
    assert (told.status_code, told.json) == (200, READY | {"redis": False})


def test_without_postgres(house: House, me: Caller, redis_url: str) -> None:
    away = make_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    lost = make_house(make_runtime(away, redis_url)).app.test_client()
    headers = {"Authorization": f"Bearer {me.key}"}
    begun = time.monotonic()
    answer = lost.post("/api/v1/predict", json={"entity": "u", "target": "rhr"}, headers=headers)
    assert (answer.status_code, answer.json["code"], answer.json["retryable"]) == (503, "unavailable", True)
    assert int(answer.headers["Retry-After"]) > 0
    found = lost.get("/readyz").json
    fix = "Postgres does not answer; `fleetcast doctor` says what is wrong."
    assert found == {"ready": False, "postgres": False, "redis": True, "migrations": False, "fix": fix}
    assert lost.get("/queues").status_code == 503
    assert lost.get("/healthz").status_code == 200
    assert time.monotonic() - begun < 5


def test_polls_go_on_for_a_while_without_postgres(house: House, ready: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis knows the answer, and whoever asks was known a moment ago."""
    monkeypatch.setattr(auth, "TRUSTED_S", 0.0)
    monkeypatch.setattr(auth, "OUTAGE_S", 1.0)
    door = house.app.extensions[auth.DOOR]
    door._seen.clear()
    job = ready.post("/models/train", {"entity": "u", "recipe": "health-daily"}).json["id"]
    tag = ready.get(f"/jobs/{job}").headers["ETag"]
    away = make_sessions(make_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"))
    monkeypatch.setattr(door, "_sessions", away)
    assert ready.get(f"/jobs/{job}", headers={"If-None-Match": tag}).status_code == 304
    stranger = ready.client.get("/api/v1/jobs", headers={"Authorization": "Bearer fk_" + "0" * 12 + "_" + "0" * 64})
    assert (stranger.status_code, stranger.json["code"]) == (503, "unavailable")
    time.sleep(1)
    assert ready.get(f"/jobs/{job}").status_code == 503


@pytest.mark.parametrize("moment", ["in a COPY", "in a statement"])
def test_a_connection_that_breaks_in_the_middle(house: House, me: Caller, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """In a COPY the driver's own error comes through, past SQLAlchemy."""
    upsert = observations.upsert_many

    def broken(session: Session, tenant_id: str, rows: Iterable[tuple[str, Row]]) -> dict[str, Ingested]:
        if moment == "in a statement":
            cut(house.runtime.engine)
        return upsert(session, tenant_id, cutting(house.runtime.engine, rows))

    monkeypatch.setattr(observations, "upsert_many", broken)
    answer = me.post("/entities/u/observations", {"observations": days(30_000)})
    assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
    assert me.get("/entities/u").status_code == 404


def cutting(engine: Engine, rows: Iterable[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
    for number, row in enumerate(rows):
        if number == 10:
            cut(engine)
        yield row


def test_queues(house: House, ready: Caller) -> None:
    ready.post("/models/train", {"entity": "u", "recipe": "health-daily"})
    found = {q["queue"]: q for q in house.app.test_client().get("/queues").json["data"]}
    assert found.keys() == {"interactive", "batch", "train"}
    assert (found["train"]["queued"], found["train"]["running"]) == (1, 0)
    assert found["train"]["oldest_due_s"] >= 0
    assert found["batch"] == {"queue": "batch", "queued": 0, "running": 0, "oldest_due_s": None}
