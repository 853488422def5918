"""`fleetcast run`: a night's work asked for, waited for and told, by one command beside workers of this process."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from db import ledger
from db.models import Job
from tasks.placing import Asker
from tasks.workshop import Workshop
from tests.integration.ops.conftest import Command
from tests.support.road import ingest, settings_for, tenant, work_off, workshop

#: A recipe so small that a training takes a fraction of a second.
RECIPES = """
[recipes.price-week]
spec = { hidden_size = 8, num_layers = 1, epochs = 2, window = 14 }
"""
SINKS = '[sinks.star]\nurl = "sqlite:///{folder}/star.db"\ntenants = "*"\n'
#: Variants, by name, and how many days of prices each has.
SHOP = {"apple": 60, "plum": 60, "pear": 60, "new": 9}
DAY = timedelta(days=1)


@dataclass
class Night:
    command: Command
    shop: Workshop
    asker: Asker
    folder: Path
    #: Sends the worker home.
    rest: threading.Event

    def run(self, *words: str, code: int = 0) -> dict[str, Any]:
        done = self.command("run", "price-week", "--tenant", "acme", "--json", "--wait", "120s", *words)
        assert done.exit_code == code, done.output
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told

    def refused(self, *words: str) -> str:
        done = self.command("run", "price-week", "--tenant", "acme", *words)
        assert done.exit_code != 0
        return done.output

    def jobs(self) -> list[Job]:
        with self.shop.sessions() as session:
            return list(session.scalars(select(Job).where(Job.children.is_(None))))

    def rows(self) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.folder / "star.db") as connection:
            return connection.execute("SELECT entity, forecast_date, value, model_id FROM forecast ORDER BY entity, forecast_at").fetchall()


@pytest.fixture
def night(engine: Engine, fleetcast: Command, migrated_url: str, redis_url: str, tmp_path: Path) -> Iterator[Night]:
    """A tenant with four variants, a sink without tables, and a worker."""
    (tmp_path / "recipes.toml").write_text(RECIPES)
    (tmp_path / "sinks.toml").write_text(SINKS.format(folder=tmp_path))
    files = {"recipes_file": str(tmp_path / "recipes.toml"), "sinks_file": str(tmp_path / "sinks.toml")}
    with workshop(settings_for(migrated_url, redis_url, tmp_path / "models", **files, max_attempts=2)) as shop:
        asker = tenant(shop)
        for number, (name, days) in enumerate(SHOP.items()):
            ingest(shop, asker, name, {"price": [10 + 3 * number + day % 7 / 10 for day in range(days)]}, DAY)
        ingest(shop, asker, "no price", {"weight": [1.0] * 60}, DAY)

        def command(*words: str) -> Any:
            return fleetcast(*words, **{name.upper(): value for name, value in files.items()})

        with sqlite3.connect(tmp_path / "star.db") as connection:
            connection.executescript(command("sinks", "ddl", "star").stdout)
        connection.close()
        with _working(shop) as rest:
            yield Night(command, shop, asker, tmp_path, rest)


@contextmanager
def _working(shop: Workshop) -> Iterator[threading.Event]:
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.1):
            work_off(shop)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield stop
    finally:
        stop.set()
        worker.join()


def test_a_night_is_done_once_however_often_it_is_started(night: Night) -> None:
    told = night.run("--sink", "star", "--pretrain")
    assert (told["entities"], told["trained"], told["forecasts"], told["rows"], told["base"]) == (4, 3, 3, 21, "price-week")
    assert [(each["entity"], each["step"], each["code"]) for each in told["skipped"]] == [("new", "train", "insufficient_data")]
    assert told["failed"] == []
    assert sum(told["served_by"].values()) == told["active"] == 3
    assert told["median_mase"] is not None
    trained = [job for job in night.jobs() if job.kind == "train"]
    assert all(job.spec["base"]["version"] == "1.0.0" for job in trained), "each starts from the base"
    assert {row[0] for row in night.rows()} == {"apple", "pear", "plum"}

    before, rows = len(night.jobs()), night.rows()
    again = night.run("--sink", "star", "--pretrain")
    assert (again["trained"], again["forecasts"], again["rows"]) == (3, 3, 21)
    assert night.rows() == rows
    assert len(night.jobs()) == before + 1, "only the variant without enough data is asked for once more"

    anew = night.run("--sink", "star", "--again", "--epochs", "1")
    assert (anew["trained"], len(night.rows())) == (3, 21)
    assert sum(job.kind == "train" and job.state == "succeeded" for job in night.jobs()) == 6


def test_what_fails_makes_the_exit_status_and_the_next_start_asks_for_it_again(night: Night) -> None:
    with sqlite3.connect(night.folder / "star.db") as connection:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON forecast WHEN NEW.entity = 'plum' BEGIN SELECT RAISE(ABORT, 'no'); END")
    connection.close()
    told = night.run("--sink", "star", "--look-back-days", "50", code=1)
    assert (told["base"], told["trained"], told["forecasts"]) == (None, 3, 2), "there is no base, so none is started from"
    assert [(each["entity"], each["step"], each["code"]) for each in told["failed"]] == [("plum", "predict", "sink_refused")]
    assert {row[0] for row in night.rows()} == {"apple", "pear"}

    with sqlite3.connect(night.folder / "star.db") as connection:
        connection.execute("DROP TRIGGER no")
    connection.close()
    again = night.run("--sink", "star", "--look-back-days", "50")
    assert (again["forecasts"], again["rows"], len(night.rows())) == (3, 21, 21)
    assert sum(job.kind == "predict" for job in night.jobs()) == 4, "one of them twice"


def test_what_cannot_be_done_is_told_with_what_to_type(night: Night) -> None:
    assert "Model 'house' not found" in (said := night.refused("--base", "house"))
    assert "--base house --pretrain" in said
    assert "unknown sink; known: star" in night.refused("--sink", "nowhere")
    assert "No entity 'nobody'" in night.refused("--entity", "nobody")
    assert "No entity has the channel cost" in night.refused("--target", "cost")
    assert "No tenant 'nobody'" in night.command("run", "price-week", "--tenant", "nobody").output
    assert "unknown recipe; known: " in night.command("run", "price-year", "--tenant", "acme").output
    assert "name one with --target" in night.command("run", "device-metric", "--tenant", "acme").output
    assert [job.kind for job in night.jobs()] == []


def test_people_read_what_came_of_it(night: Night) -> None:
    done = night.command("run", "price-week", "--tenant", "acme", "--entity", "apple", "--entity", "new", "--epochs", "1", "--wait", "2m")
    assert done.exit_code == 0, done.output
    assert "price-week: 1 of 2 entities trained from no base, 1 of the versions active" in done.stdout
    assert "1 forecast, into our own table alone, in " in done.stdout
    assert "skipped 1 at train, insufficient_data: new" in done.stdout


def test_who_waits_in_vain_is_told_how_to_go_on(night: Night) -> None:
    night.rest.set()
    told = night.command("run", "price-week", "--tenant", "acme", "--wait", "1s")
    assert told.exit_code == 1
    assert "start this again to go on waiting" in told.output
    with night.shop.sessions() as session:
        [batch] = ledger.page(session, night.asker.tenant_id, limit=5)
    assert batch.children == 4
