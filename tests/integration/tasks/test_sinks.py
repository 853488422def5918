"""Forecasts in a database of somebody else's: there when the job has succeeded, once, whatever fails on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from db import ledger
from db.errors import FenceLost
from db.models import Job
from db.session import make_engine
from db.sinks.star import Facts
from db.sinks.writer import Writer, open_writer
from ml.errors import SpecInvalid
from tasks import sinks, submit
from tasks.orders import PredictOrder, TrainOrder
from tasks.placing import Asker
from tasks.sinks import Sending
from tasks.workshop import Workshop
from tests.support.road import SMALL, ingest, job, settings_for, tenant, wave, work_off, workshop
from tests.support.servers import Servers, database

ORDER = TrainOrder("device-metric", ("dev-1",), target="cpu", overrides=SMALL, look_back_hours=9999)
ASKED = PredictOrder(("dev-1",), ("cpu",), sink="warehouse")
FILE = """
[sinks.warehouse]
url_file = "{url_file}"
tenants = ["acme"]
schema = "Star"
[sinks.warehouse.forecasts]
table = "Fact Forecast"

[sinks.away]
url = "postgresql://nobody@127.0.0.1:1/none"
timeout_s = 1
tenants = "*"

[sinks.others]
url = "sqlite://"
tenants = ["globex"]

[sinks.prices]
url = "sqlite://"
tenants = "*"
target = "price"
"""


@pytest.fixture(scope="module")
def warehouse(live: Servers) -> Iterator[Engine]:
    with database(live.database_url) as url:
        engine = make_engine(url)
        yield engine
        engine.dispose()


@dataclass
class Scene:
    shop: Workshop
    asker: Asker
    warehouse: Engine
    writer: Writer

    def predict(self, order: PredictOrder = ASKED, *, most: int = 100) -> Job:
        asked = submit.predict(self.shop.runtime, self.asker, order)
        work_off(self.shop, most=most)
        return job(self.shop, self.asker, asked.job.id)

    def rows(self) -> list[Any]:
        with self.warehouse.connect() as connection:
            return [
                row._mapping for row in connection.execute(sa.select(self.writer.forecasts).order_by("entity", "origin", "forecast_at"))
            ]

    def run(self, statement: str) -> None:
        with self.warehouse.begin() as connection:
            connection.execute(sa.text(statement))


@pytest.fixture
def scene(engine: Engine, migrated_url: str, redis_url: str, warehouse: Engine, tmp_path: Path) -> Iterator[Scene]:
    """A trained entity, and a warehouse with empty tables."""
    (tmp_path / "url").write_text(warehouse.url.set(drivername="postgresql").render_as_string(hide_password=False))
    (tmp_path / "sinks.toml").write_text(FILE.format(url_file=tmp_path / "url"))
    with workshop(
        settings_for(migrated_url, redis_url, tmp_path / "models", sinks_file=str(tmp_path / "sinks.toml"), max_attempts=2)
    ) as shop:
        writer = open_writer(shop.runtime.sinks["warehouse"])
        with warehouse.begin() as connection:
            connection.execute(sa.text('DROP SCHEMA IF EXISTS "Star" CASCADE; CREATE SCHEMA "Star"'))
            connection.execute(sa.text(writer.ddl()))
        acme = tenant(shop, max_running=shop.settings.prediction_cohort)  # so that one bell brings all of a batch along
        ingest(shop, acme, "dev-1", wave(300))
        submit.train(shop.runtime, acme, ORDER)
        work_off(shop)
        yield Scene(shop, acme, warehouse, writer)
        writer.close()


def test_every_row_leads_to_the_version_that_made_it(scene: Scene) -> None:
    done = scene.predict()
    assert done.state == "succeeded", done.error
    assert done.result is not None
    forecast = done.result["forecast"]
    rows = scene.rows()
    assert [row["value"] for row in rows] == [point["value"] for point in forecast["points"]]
    assert {(row["tenant"], row["entity"], row["target"]) for row in rows} == {("acme", "dev-1", "cpu")}
    assert done.result["sink"] == {"name": "warehouse", "rows": 3, "model_id": rows[0]["model_id"]}
    with scene.warehouse.connect() as connection:
        made = connection.execute(sa.select(scene.writer.models)).one()._mapping
    assert (made["model_id"], made["version"], made["type"]) == (rows[0]["model_id"], forecast["served_by"]["version"], "lstm")
    assert made["metrics"].keys() >= {"persistence", "lstm"}, "figures, and no empty braces"
    assert made["hyperparameters"]["window"] == SMALL["window"]


def test_an_answer_that_is_known_goes_into_the_sink_all_the_same_and_a_rerun_changes_nothing(scene: Scene) -> None:
    scene.predict(PredictOrder(("dev-1",), ("cpu",)))
    assert submit.predict(scene.shop.runtime, scene.asker, PredictOrder(("dev-1",), ("cpu",))).forecast is not None
    first, before = scene.predict(), scene.rows()
    again, after = scene.predict(), scene.rows()
    assert first.id != again.id
    strip = [{name: value for name, value in row.items() if name != "created_at"} for row in before]
    assert [{name: value for name, value in row.items() if name != "created_at"} for row in after] == strip
    assert len(after) == 3


def test_in_a_batch_whose_sink_is_away_every_item_fails_and_so_does_the_batch(scene: Scene) -> None:
    done = scene.predict(PredictOrder(("dev-1",), ("cpu",), sink="away", batch=True))
    assert (done.state, done.error and done.error["code"]) == ("failed", "batch_failed")
    with scene.shop.sessions() as session:
        [item] = ledger.items(session, scene.asker.tenant_id, done.id, limit=10)
    assert (item.state, item.attempt, item.error and item.error["code"]) == ("failed", 2, "sink_unavailable")
    assert "127.0.0.1" not in str(item.error), "where the sink is, is the operator's to know"
    assert submit.predict(scene.shop.runtime, scene.asker, PredictOrder(("dev-1",), ("cpu",))).forecast is None, "nothing was published"


def test_a_sink_that_comes_back_gets_its_rows_at_the_next_try(scene: Scene) -> None:
    asked = submit.predict(scene.shop.runtime, scene.asker, ASKED)
    url_file = Path(scene.shop.runtime.sinks["warehouse"].url_file)
    url_file.rename(url_file.with_name("elsewhere"))
    work_off(scene.shop, most=1)
    assert (job(scene.shop, scene.asker, asked.job.id).state, scene.rows()) == ("queued", [])
    url_file.with_name("elsewhere").rename(url_file)
    work_off(scene.shop)
    assert (job(scene.shop, scene.asker, asked.job.id).state, len(scene.rows())) == ("succeeded", 3)


def test_a_sink_that_refuses_fails_the_job_at_once_and_says_why(scene: Scene) -> None:
    changes = {
        "ADD CHECK (value IS NULL)": "CheckViolation",
        "DROP COLUMN upper": "UndefinedColumn",
        "RENAME TO elsewhere": "UndefinedTable",
    }
    for change, condition in changes.items():
        scene.run(f'ALTER TABLE "Star"."Fact Forecast" {change}')
        done = scene.predict()
        assert (done.state, done.attempt) == ("failed", 1)
        assert done.error is not None
        assert (done.error["code"], done.error["detail"]) == ("sink_refused", f"Sink warehouse does not take the rows: {condition}.")


def test_a_batch_is_written_at_one_stroke_and_what_the_sink_refuses_of_it_fails_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("dev-1", "dev-2", "dev-3")
    for level, name in enumerate(names):
        ingest(scene.shop, scene.asker, name, wave(300, level=20.0 + level))
    submit.train(scene.shop.runtime, scene.asker, replace(ORDER, entities=names, batch=True))
    work_off(scene.shop)
    written: list[int] = []
    write = Writer.replace

    def counted(writer: Writer, facts: Sequence[Facts]) -> None:
        written.append(len(facts))
        write(writer, facts)

    monkeypatch.setattr(Writer, "replace", counted)
    batch = replace(ASKED, entities=names, batch=True)
    assert (scene.predict(batch).result or {})["succeeded"] == 3
    assert (written, len(scene.rows())) == ([3], 9), "three forecasts in one transaction"
    scene.run('ALTER TABLE "Star"."Fact Forecast" ADD CHECK (entity <> \'dev-2\') NOT VALID')
    done = scene.predict(batch)
    assert (done.state, done.result) == ("succeeded", {"total": 3, "succeeded": 2, "failed": 1, "cancelled": 0, "has_failures": True})
    with scene.shop.sessions() as session:
        failed = ledger.items(session, scene.asker.tenant_id, done.id, state="failed", limit=10)
    assert [(item.spec["entity"], item.error and item.error["code"]) for item in failed] == [("dev-2", "sink_refused")]
    assert (written[1:], len(scene.rows())) == ([3, 1, 1, 1], 9), "its earlier rows are whole"


def test_where_our_commit_is_lost_after_the_sinks_the_next_try_replaces_the_rows(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    left = 3
    succeed = ledger.succeed

    def fails_at_first(*given: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            assert len(scene.rows()) == 3, "the rows are there before the job says that they are"
            raise OperationalError("COMMIT", {}, Exception("the connection broke"))
        return succeed(*given, **named)

    monkeypatch.setattr("tasks.execute.PUBLISH_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr("tasks.execute.ledger.succeed", fails_at_first)
    done = scene.predict()
    assert (done.state, done.attempt, len(scene.rows())) == ("succeeded", 2, 3)


def test_a_worker_that_lost_its_lease_writes_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = ledger.hold

    def too_late(session: Any, job_id: str, fence: int) -> Any:
        hold(session, job_id, fence)
        raise FenceLost(job_id, fence)

    monkeypatch.setattr("tasks.execute.ledger.hold", too_late)
    scene.predict(most=1)
    assert scene.rows() == []


def test_a_longer_forecast_of_the_same_leaves_no_rows_behind_when_a_shorter_one_comes(scene: Scene) -> None:
    scene.predict()
    scene.predict(PredictOrder(("dev-1",), ("cpu",), horizon=1, sink="warehouse"))
    assert len(scene.rows()) == 1
    ingest(scene.shop, scene.asker, "dev-1", wave(301))
    scene.predict()
    assert len(scene.rows()) == 4, "the forecast from before the new row stands"


def test_two_that_would_replace_the_same_rows_come_one_after_the_other(scene: Scene) -> None:
    """Not left to a key of the sink's table, which may have none."""
    done = scene.predict()
    assert done.result is not None
    with scene.shop.sessions.begin() as first, scene.shop.sessions.begin() as second:
        sending = Sending("warehouse", scene.asker.tenant_id, done.result["sink"]["model_id"], done.result["forecast"])
        sinks.send(scene.shop.sink, first, [sending])
        second.execute(sa.text("SET LOCAL lock_timeout = '100ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            sinks.send(scene.shop.sink, second, [sending])


def test_a_sink_that_cannot_be_meant_is_refused_when_it_is_asked_for(scene: Scene) -> None:
    refusals = {
        "nowhere": "unknown sink; known: away, prices, warehouse",
        "others": "unknown sink; known: away, prices, warehouse",
        "prices": "forecasts of price alone, not of cpu",
    }
    for name, fix in refusals.items():
        for batch in (False, True):
            with pytest.raises(SpecInvalid, match=f"sink = '{name}'.*{fix}"):
                submit.predict(scene.shop.runtime, scene.asker, PredictOrder(("dev-1",), ("cpu",), sink=name, batch=batch))
    with pytest.raises(SpecInvalid, match="leave one of the two out"):
        submit.predict(scene.shop.runtime, scene.asker, PredictOrder(("dev-1",), ("cpu",), sink="warehouse", future={"load": [1.0]}))
