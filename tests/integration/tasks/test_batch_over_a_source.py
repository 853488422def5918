"""Predictions of a batch whose rows lie in a source are answered in one pass, and each is still a job of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from bench.fleet import CHANNEL, ROWS, START, furnish, wave
from db import ledger
from db.sources.sql import SqlSource
from ml.recipes import recipe
from tasks import batch, metrics, submit
from tasks.execute import run
from tasks.orders import PredictOrder
from tasks.placing import Asker
from tasks.workshop import Workshop
from tests.support.follower import Follower, follower
from tests.support.lake import lake, pour
from tests.support.road import HANDLERS, SMALL, job, settings_for, tenant, work_off, workshop
from tests.support.scrape import counted
from tests.support.servers import Servers

FLEET = 6
NAMES = tuple(f"e{n:05}" for n in range(FLEET))


@pytest.fixture(scope="module")
def there(live: Servers) -> Iterator[Follower]:
    with follower(live.database_url) as made:
        moments = [START + timedelta(hours=h) for h in range(ROWS)]
        values = {name: wave(n, ROWS) for n, name in enumerate(NAMES)}
        made.write({name: [(at, 0.0, value) for at, value in zip(moments, values[name], strict=True)] for name in NAMES})
        yield made


@pytest.fixture
def shop(engine: Engine, migrated_url: str, redis_url: str, tmp_path: Path, there: Follower) -> Iterator[Workshop]:
    file = tmp_path / "sources.toml"
    mine = there.toml(more="fresh_s = 600").replace('humidity = "rh"', f'{CHANNEL} = "rh"')
    text_there = there.toml("texts").replace('humidity = "rh"', f'{CHANNEL} = "sensor"')
    away = mine.replace("sources.follower", "sources.away").replace("@", "@localhost.invalid:1/?host=", 1)
    file.write_text("".join((mine, text_there, away, lake(tmp_path, channels=[CHANNEL]))))
    with workshop(settings_for(migrated_url, redis_url, tmp_path / "models", sources_file=str(file), source_timeout_s=5.0)) as opened:
        yield opened


@pytest.fixture
def acme(shop: Workshop) -> Asker:
    """Entities with a version each that learned in the follower, and not one observation here."""
    asker = tenant(shop, max_running=shop.settings.prediction_cohort)
    spec = recipe("device-metric", shop.runtime.recipes).resolve(CHANNEL, {}, SMALL)
    furnish(shop.sessions, asker.tenant_id, shop.settings.model_dir, FLEET, spec)
    learned_in(shop, "follower")
    with shop.sessions.begin() as session:
        session.execute(text("DELETE FROM observations"))
    return asker


def learned_in(shop: Workshop, source: str) -> None:
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE versions SET source = :source"), {"source": source})


def ask(shop: Workshop, asker: Asker, **about: Any) -> dict[str, str]:
    """The items' ids by entity."""
    order = replace(PredictOrder(NAMES, (CHANNEL,), batch=True), **about)
    parent = submit.predict(shop.runtime, asker, order).job.id
    with shop.sessions() as session:
        return {item.spec["entity"]: item.id for item in ledger.items(session, asker.tenant_id, parent, limit=100)}


def ended(shop: Workshop, asker: Asker, items: dict[str, str]) -> dict[str, str | None]:
    """The code of each entity's problem; None where it succeeded."""
    found = {entity: job(shop, asker, item) for entity, item in items.items()}
    assert all(each.terminal for each in found.values())
    return {entity: each.error and each.error["code"] for entity, each in found.items()}


def points(shop: Workshop, asker: Asker, item: str) -> list[float]:
    return [point["value"] for point in (job(shop, asker, item).result or {})["forecast"]["points"]]


def never(*_: Any) -> None:
    raise AssertionError("answered alone")


def test_one_bell_and_one_question_answer_them_all_as_they_are_answered_alone(
    shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = {name: submit.predict(shop.runtime, acme, PredictOrder((name,), (CHANNEL,), level=0.5)).job.id for name in NAMES}
    work_off(shop)
    monkeypatch.setattr(batch, "predict_one", never)
    monkeypatch.setattr(SqlSource, "fetch", never)
    items = ask(shop, acme)
    assert len(work_off(shop)) == 1
    assert counted(shop.runtime, metrics.COHORT_SIZE) == 1
    assert ended(shop, acme, items) == dict.fromkeys(NAMES)
    for name in NAMES:
        assert points(shop, acme, items[name]) == pytest.approx(points(shop, acme, alone[name]), rel=1e-5)


def test_what_is_kept_of_them_is_kept_for_as_long_as_the_source_says(shop: Workshop, acme: Asker) -> None:
    items = ask(shop, acme)
    work_off(shop)
    keys = list(shop.runtime.memory.scan_iter("*:forecast:*"))
    assert len(keys) == FLEET
    assert all(0 < int(shop.runtime.memory.ttl(key)) <= 600 for key in keys)  # type: ignore[arg-type]
    again = submit.predict(shop.runtime, acme, PredictOrder((NAMES[0],), (CHANNEL,)))
    assert again.forecast is not None
    assert again.job.id == items[NAMES[0]]


def test_an_answer_from_another_source_is_for_its_asker_alone(shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    learned_in(shop, "lake")
    monkeypatch.setattr(batch, "predict_one", never)
    assert ended(shop, acme, _worked_off(shop, ask(shop, acme, source="follower"))) == dict.fromkeys(NAMES)
    assert list(shop.runtime.memory.scan_iter("*:forecast:*")) == []
    with shop.sessions() as session:
        assert session.execute(text("SELECT count(*) FROM forecasts")).scalar_one() == 0


def test_who_has_no_rows_there_fails_alone_with_its_reason(shop: Workshop, acme: Asker, there: Follower) -> None:
    with psycopg.connect(there.owner_url) as connection:
        connection.execute("UPDATE readings SET sensor = 'hidden' WHERE sensor = %s", (NAMES[2],))
    try:
        items = _worked_off(shop, ask(shop, acme))
    finally:
        with psycopg.connect(there.owner_url) as connection:
            connection.execute("UPDATE readings SET sensor = %s WHERE sensor = 'hidden'", (NAMES[2],))
    assert ended(shop, acme, items) == dict.fromkeys(NAMES) | {NAMES[2]: "insufficient_recent_data"}


def test_a_file_that_cannot_be_read_fails_its_own_item(
    shop: Workshop, acme: Asker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned_in(shop, "lake")
    moments = [START + timedelta(hours=h) for h in range(ROWS)]
    for n, name in enumerate(NAMES):
        pour(tmp_path, name, {CHANNEL: wave(n, ROWS)}, moments)
    (tmp_path / f"{NAMES[4]}.csv").write_text("no such columns\n1\n")
    monkeypatch.setattr(batch, "predict_one", never)
    assert ended(shop, acme, _worked_off(shop, ask(shop, acme))) == dict.fromkeys(NAMES) | {NAMES[4]: "source_unreadable"}


def test_where_the_question_is_refused_whole_each_is_asked_for_alone(shop: Workshop, acme: Asker) -> None:
    learned_in(shop, "texts")
    assert ended(shop, acme, _worked_off(shop, ask(shop, acme))) == dict.fromkeys(NAMES, "source_unreadable")


def test_one_that_is_away_is_asked_once_and_all_are_tried_again(shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    learned_in(shop, "away")
    monkeypatch.setattr(batch, "predict_one", never)
    items = ask(shop, acme)
    asked, reading = 0, SqlSource._reading

    def count(source: SqlSource) -> Any:
        nonlocal asked
        asked += 1
        return reading(source)

    monkeypatch.setattr(SqlSource, "_reading", count)
    with shop.sessions.begin() as session:
        [bell] = ledger.due(session, "batch", 100, shop.settings.prediction_cohort)
    run(shop, HANDLERS, bell.job_id, "bell")
    assert asked == 1
    found = [job(shop, acme, item) for item in items.values()]
    assert {(each.state, each.attempt) for each in found} == {("queued", 1)}


def _worked_off(shop: Workshop, items: dict[str, str]) -> dict[str, str]:
    work_off(shop)
    return items
