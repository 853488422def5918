"""Jobs that read a source: trained, forecast and judged from there by the same handlers, and never from what they do not find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, select

from db import entities, ledger
from db.errors import NotFound
from db.models import Version
from db.readings import Metric
from ml.errors import InsufficientData, SpecInvalid
from ops.processes import wait_until
from tasks.alarms import DetectOrder, WatchOrder
from tasks.jobs import ReadinessJob, WhatIfJob
from tasks.metrics import SOURCE_LAG, SOURCE_UP
from tasks.orders import BacktestOrder, BaseOrder, PredictOrder, PretrainOrder, TrainOrder
from tasks.placing import Asker, Submitted
from tasks.probe import probe_sources
from tasks.sources import IF_NEW
from tasks.submit import backtest, detect, measure, predict, pretrain, train, watch, what_if
from tasks.workshop import Workshop
from tests.support.follower import Follower, follower
from tests.support.lake import lake, pour
from tests.support.road import SMALL, START, job, settings_for, tenant, wave, work_off, workshop
from tests.support.servers import Servers

ROWS = 200


def readings(rows: int = ROWS, level: float = 20.0) -> list[tuple[object, float, float]]:
    climate = wave(rows, level=level)
    return [(START + timedelta(hours=h), 32 + 1.8 * climate["cpu"][h], 50 + 10 * climate["load"][h]) for h in range(rows)]


@pytest.fixture(scope="module")
def there(live: Servers) -> Iterator[Follower]:
    with follower(live.database_url) as made:
        made.write({"room-1": readings(), "room-2": readings(level=22.0), "short": readings(12)})  # type: ignore[dict-item]
        yield made


@pytest.fixture
def shop(engine: Engine, migrated_url: str, redis_url: str, tmp_path: Path, there: Follower) -> Iterator[Workshop]:
    file = tmp_path / "sources.toml"
    behind = there.toml("behind", 'lag_limit_s = 60\nlag_query = "SELECT 3600"')
    others = there.toml("others").replace('["*"]', '["globex"]')
    away = there.toml("away").replace("@", "@localhost.invalid:1/?host=", 1)
    channels = ("cpu_usage", "temperature", "humidity")
    file.write_text("".join((there.toml(more="fresh_s = 600"), behind, others, away, lake(tmp_path, channels=channels))))
    with workshop(settings_for(migrated_url, redis_url, tmp_path / "models", sources_file=str(file), source_timeout_s=5.0)) as opened:
        yield opened


@pytest.fixture
def me(shop: Workshop) -> Asker:
    return tenant(shop)


def order(entity: str = "room-1", source: str | None = "follower", **about: object) -> TrainOrder:
    return TrainOrder("sensor-climate", (entity,), overrides=SMALL, source=source, **about)  # type: ignore[arg-type]


def done(shop: Workshop, me: Asker, submitted: Submitted) -> dict[str, object]:
    work_off(shop)
    ended = job(shop, me, submitted.job.id)
    assert ended.state == "succeeded", ended.error
    assert ended.result is not None
    return ended.result


@pytest.fixture
def trained(shop: Workshop, me: Asker) -> Asker:
    done(shop, me, train(shop.runtime, me, order()))
    return me


def test_temperature_and_humidity_are_learned_from_a_follower_and_the_entity_is_made(shop: Workshop, trained: Asker) -> None:
    with shop.sessions() as session:
        versions = session.scalars(select(Version)).all()
        entity = entities.get(session, trained.tenant_id, "room-1")
        assert entities.channels(session, entity.id) == [], "not one observation was copied"
    assert {(v.target, v.source) for v in versions} == {("temperature", "follower"), ("humidity", "follower")}
    assert {v.data_until for v in versions} == {START + timedelta(hours=ROWS - 1)}
    mean = next(v for v in versions if v.target == "temperature").metrics["persistence"]["test"]["mae"]
    assert mean < 5, "degrees Celsius, where the follower has Fahrenheit"


def test_a_forecast_reads_where_its_training_read_and_is_given_again_for_a_while(shop: Workshop, trained: Asker, there: Follower) -> None:
    asked = PredictOrder(("room-1",), ("temperature",))
    made = done(shop, trained, predict(shop.runtime, trained, asked))["forecast"]
    assert made["data_until"].startswith("2026-01-09T07"), made  # type: ignore[index]
    again = predict(shop.runtime, trained, asked)
    assert again.forecast is not None
    left = shop.runtime.memory.ttl(next(iter(shop.runtime.memory.scan_iter("*:forecast:*"))))
    assert 0 < int(left) <= 600, "not the day that our own observations are trusted for"  # type: ignore[arg-type]


def test_what_another_source_says_is_for_its_asker_alone(shop: Workshop, trained: Asker) -> None:
    ours = predict(shop.runtime, trained, PredictOrder(("room-1",), ("temperature",), source="stored"))
    work_off(shop)
    ended = job(shop, trained, ours.job.id)
    assert ended.error is not None
    assert ended.error["code"] == "feature_missing" or ended.error["code"].startswith("insufficient"), "our own store has no row of it"


def test_a_batch_of_predictions_reads_where_each_training_read(shop: Workshop, trained: Asker) -> None:
    asked = PredictOrder(("room-1",), ("temperature", "humidity"), batch=True)
    result = done(shop, trained, predict(shop.runtime, trained, asked))
    assert result["succeeded"] == 2, result


def test_what_if_backtests_and_detectors_read_it_too(shop: Workshop, trained: Asker) -> None:
    scenario = {"name": "warmer", "changes": [{"channel": "temperature", "op": "add", "value": 2.0}]}
    assert done(shop, trained, what_if(shop.runtime, trained, WhatIfJob("room-1", "temperature", scenarios=[scenario])))["scenarios"]
    past = BacktestOrder("room-1", recipe="sensor-climate", overrides=SMALL, folds=1, source="follower")
    assert done(shop, trained, backtest(shop.runtime, trained, past))["folds"]
    seen = BacktestOrder("room-1", "temperature", begin=START + timedelta(hours=150))
    assert done(shop, trained, backtest(shop.runtime, trained, seen))["folds"]
    watched = WatchOrder("room-2", channels=("temperature", "humidity"), overrides={"trees": 10}, source="follower")
    done(shop, trained, watch(shop.runtime, trained, watched))
    assert done(shop, trained, detect(shop.runtime, trained, DetectOrder("room-2")))["rows"] == 25


@pytest.fixture
def shore(tmp_path: Path) -> None:
    climate = wave(ROWS)
    pour(tmp_path, "shore", {"temperature": climate["cpu"], "humidity": climate["load"]}, [START + timedelta(hours=h) for h in range(ROWS)])


def test_what_only_a_worker_can_read_is_measured_tried_and_watched_by_one(shop: Workshop, me: Asker, shore: None) -> None:
    measured = done(shop, me, measure(shop.runtime, me, ReadinessJob("shore", "sensor-climate", "lake")))
    assert (measured["ready"], measured["requirements"][0]["have"]) == (True, ROWS)  # type: ignore[index]
    done(shop, me, train(shop.runtime, me, order("shore", "lake")))
    past = BacktestOrder("shore", recipe="sensor-climate", overrides=SMALL, folds=1, source="lake")
    assert done(shop, me, backtest(shop.runtime, me, past))["folds"]
    seen = BacktestOrder("shore", "temperature", begin=START + timedelta(hours=150))
    assert done(shop, me, backtest(shop.runtime, me, seen))["folds"]
    watched = WatchOrder("shore", channels=("temperature", "humidity"), overrides={"trees": 10}, source="lake")
    done(shop, me, watch(shop.runtime, me, watched))
    judged = done(shop, me, detect(shop.runtime, me, DetectOrder("shore")))
    assert (judged["rows"], judged["from"]) == (25, "2026-01-08T07:00:00Z"), "counted back from its newest row, by the worker"
    begin = START + timedelta(hours=190)
    assert done(shop, me, detect(shop.runtime, me, DetectOrder("shore", begin=begin)))["rows"] == 10


def test_what_a_worker_finds_missing_there_is_said_in_the_same_words(shop: Workshop, me: Asker, shore: None, tmp_path: Path) -> None:
    done(shop, me, watch(shop.runtime, me, WatchOrder("shore", channels=("temperature",), overrides={"trees": 10}, source="lake")))
    asked = [
        watch(shop.runtime, me, WatchOrder("shore", source="lake")),
        detect(shop.runtime, me, DetectOrder("shore", begin=START + timedelta(days=900))),
        backtest(shop.runtime, me, BacktestOrder("shore", recipe="sensor-climate", overrides=SMALL, folds=90, source="lake")),
    ]
    work_off(shop)
    ended = [job(shop, me, each.job.id).error for each in asked]
    assert [error and error["code"] for error in ended] == ["feature_missing", "insufficient_data", "insufficient_data"]


def test_more_rows_than_are_judged_or_tried_are_refused_by_the_worker(
    shop: Workshop, me: Asker, shore: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(shop, me, watch(shop.runtime, me, WatchOrder("shore", channels=("temperature",), overrides={"trees": 10}, source="lake")))
    monkeypatch.setattr("tasks.alarms.MOST_ROWS", 20)
    monkeypatch.setattr("tasks.meaning.MOST_ROWS", 20)
    past = BacktestOrder("shore", recipe="sensor-climate", overrides=SMALL, folds=1, source="lake")
    asked = [detect(shop.runtime, me, DetectOrder("shore")), backtest(shop.runtime, me, past)]
    work_off(shop)
    ended = [job(shop, me, each.job.id).error for each in asked]
    assert [error and error["errors"][0]["pointer"] for error in ended] == ["/spec/hours", "/spec/look_back_hours"]


def test_a_base_is_learned_from_a_source_and_a_training_starts_from_it(shop: Workshop, me: Asker) -> None:
    base = PretrainOrder("rooms", "sensor-climate", ("room-1", "room-2", "short"), "temperature", SMALL, source="follower")
    made = pretrain(shop.runtime, me, base)
    assert done(shop, me, made)["entities"] == 2
    assert "short" in str(job(shop, me, made.job.id).warnings)
    start = train(shop.runtime, me, order(target="temperature", base=BaseOrder(name="rooms")))
    assert done(shop, me, start)["version"] == "1.0.0"


def test_too_few_rows_are_refused_before_a_job_stands(shop: Workshop, me: Asker) -> None:
    with pytest.raises(InsufficientData) as refused:
        train(shop.runtime, me, order("short"))
    assert "12 of 100 rows of temperature" in refused.value.detail
    with shop.sessions() as session, pytest.raises(NotFound):
        entities.get(session, me.tenant_id, "short")


def test_no_row_at_all_says_where_it_was_looked_for(shop: Workshop, me: Asker) -> None:
    with pytest.raises(InsufficientData, match="follower was asked for: table readings, sensor = 'nobody', recorded_at from the beginning"):
        train(shop.runtime, me, order("nobody"))


def test_items_of_a_batch_are_measured_by_the_worker(shop: Workshop, me: Asker) -> None:
    batch = train(shop.runtime, me, TrainOrder("sensor-climate", ("room-1", "nobody"), overrides=SMALL, source="follower", batch=True))
    result = done(shop, me, batch)
    assert (result["succeeded"], result["failed"]) == (1, 1), result


@pytest.mark.parametrize("name", ["nowhere", "others"])
def test_a_source_that_is_not_there_and_one_of_another_tenant_look_alike(shop: Workshop, me: Asker, name: str) -> None:
    for asked in (lambda: train(shop.runtime, me, order(source=name)), lambda: pretrain(shop.runtime, me, _base(name))):
        with pytest.raises(SpecInvalid) as refused:
            asked()
        assert refused.value.detail.endswith(f"no such source; known: stored, away, behind, follower, lake. {IF_NEW}"), refused.value.detail


def _base(source: str) -> PretrainOrder:
    return PretrainOrder("b", "sensor-climate", ("room-1", "room-2"), source=source)


@pytest.mark.parametrize(("name", "code"), [("behind", "source_lagging"), ("away", "source_unavailable")])
def test_one_that_lags_or_is_away_is_tried_again_and_never_learned_from(shop: Workshop, me: Asker, name: str, code: str) -> None:
    batch = train(shop.runtime, me, TrainOrder("sensor-climate", ("room-1",), overrides=SMALL, source=name, batch=True))
    assert wait_until(lambda: (work_off(shop), job(shop, me, batch.job.id).terminal)[1], 60)
    with shop.sessions() as session:
        [item] = ledger.items(session, me.tenant_id, batch.job.id, limit=2)
        assert session.scalar(select(Version)) is None
    assert (item.state, item.attempt, item.error["code"]) == ("failed", 5, code)


def test_another_spelling_of_the_same_training_is_found_unfinished(shop: Workshop, me: Asker) -> None:
    first, second = (train(shop.runtime, me, order()) for _ in range(2))
    assert (first.job.id, second.deduplicated) == (second.job.id, True)
    assert not train(shop.runtime, me, order("room-2")).deduplicated


def test_new_rows_are_seen_without_anybody_telling_us(shop: Workshop, me: Asker, there: Follower) -> None:
    with psycopg.connect(there.owner_url) as connection:
        connection.execute("DELETE FROM readings WHERE sensor = 'growing'")
    there.write({"growing": readings(120)})  # type: ignore[dict-item]
    done(shop, me, train(shop.runtime, me, order("growing")))
    there.write({"growing": readings(130)[120:]})  # type: ignore[dict-item]
    asked = predict(shop.runtime, me, PredictOrder(("growing",), ("humidity",)))
    assert done(shop, me, asked)["forecast"]["data_until"].startswith("2026-01-06T09")  # type: ignore[index]


def test_the_dispatcher_tells_which_sources_answer_and_how_far_behind_they_are(shop: Workshop) -> None:
    assert probe_sources(shop.runtime) == 3
    shop.runtime.meter.start()
    assert wait_until(lambda: SOURCE_UP in _held(shop), 30, pause=0.1)
    assert _held(shop)[SOURCE_UP] == {("follower",): 1, ("behind",): 1, ("others",): 1, ("away",): 0}
    assert _held(shop)[SOURCE_LAG] == {("behind",): 3600}


def _held(shop: Workshop) -> Mapping[Metric, Mapping[tuple[str, ...], float]]:
    reading = shop.runtime.meter.read()
    assert reading is not None
    return reading.held
