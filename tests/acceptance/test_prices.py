"""The price system at its own size: hundreds of variants from a warehouse, one base, one night, a star schema in a Postgres of its own.

The same with two dozen variants is the guide (docs/guides/prices.md), which test_guides.py runs.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
from sqlalchemy import make_url

from ops import stack
from tests.acceptance.conftest import SCALED, command
from tests.support.client import Api
from tests.support.real import folder, variants

SOURCES = """
[sources.shop]
kind = "sql"
url = "sqlite:///{folder}/prices.db"
table = "prices"
entity = "variant"
at = "day"
time = "date"
where = "is_available = 1"
channels = {{ price = "price" }}
tenants = ["*"]
"""
SINKS = """
[sinks.star]
url_file = "{folder}/star-url"
tenants = ["development"]
target = "price"
"""
#: Small, so that the night of a shop is minutes here.
SMALL = {"hidden_size": 16, "num_layers": 1, "epochs": 4}


@dataclass
class Shop:
    """A house that knows a warehouse and a star, and how many variants there are."""

    environment: dict[str, str]
    folder: Path
    star: str
    url: str
    key: str
    variants: list[str]

    def run(self, *words: str) -> dict[str, Any]:
        files = {**self.environment, "FLEETCAST_FOLDER": str(self.folder / "house")}
        done = command("run", "price-week", "--source", "shop", "--sink", "star", "--json", *words, timeout=3_000, **files)
        assert done.returncode == 0, done.stdout + done.stderr
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told


def _prices() -> pd.DataFrame:
    """Columns variant, day, price, is_available: the weekly prices of 220 real products, or the daily ones of 200 made up."""
    path = folder("prices_oj")
    if path is not None:
        real = pd.read_parquet(path)
        return pd.DataFrame(
            {"variant": real["series"], "day": real["timestamp"].dt.strftime("%F"), "price": real["price"], "is_available": 1}
        )
    rows = [
        (name, at[:10], price, there)
        for name, points in variants(200).items()
        for (at, price), (_, there) in zip(points["price"], points["is_available"], strict=True)
    ]
    return pd.DataFrame(rows, columns=["variant", "day", "price", "is_available"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    place = tmp_path_factory.mktemp("shop")
    prices = _prices()
    with sqlite3.connect(place / "prices.db") as warehouse:
        prices.to_sql("prices", warehouse, index=False)
    warehouse.close()
    (place / "sources.toml").write_text(SOURCES.format(folder=place))
    (place / "sinks.toml").write_text(SINKS.format(folder=place))
    told = SCALED | {"SOURCES_FILE": str(place / "sources.toml"), "SINKS_FILE": str(place / "sinks.toml"), "TRAINING_TIMEOUT": "600"}
    up = command("up", "--detach", "--folder", str(place / "house"), **told)
    assert up.returncode == 0, up.stderr
    try:
        house = json.loads(command("status", "--json", "--folder", str(place / "house")).stdout)
        star = _star(house["database_url"], place, told)
        yield Shop(told, place, star, house["url"], house["key"], sorted(prices["variant"].unique()))
    finally:
        command("down", "--folder", str(place / "house"))
        stack.remove(place / "house")


def _star(server: str, place: Path, told: dict[str, str]) -> str:
    """A database for the star, with its tables. Its URL."""
    plain = make_url(server).set(drivername="postgresql")
    with psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute("CREATE DATABASE star")
    url = plain.set(database="star").render_as_string(hide_password=False)
    (place / "star-url").write_text(url)
    ddl = command("sinks", "ddl", "star", **told)
    assert ddl.returncode == 0, ddl.stderr
    with psycopg.connect(url) as connection:
        connection.execute(ddl.stdout.encode())
    return url


@pytest.mark.slow
def test_hundreds_of_variants_are_fine_tuned_from_one_base_and_every_row_is_traced(shop: Shop) -> None:
    with Api(shop.url, shop.key) as api:
        asked = {"name": "prices", "recipe": "price-week", "source": "shop", "entities": shop.variants[:20], "look_back_hours": 50_000}
        api.done("/models/pretrain", {**asked, "spec": SMALL}, seconds=1_200)
    words = ("--base", "prices", "--epochs", "2", "--look-back-days", "2000", "--wait", "45m")
    told = shop.run(*words)
    assert told["entities"] == len(shop.variants) >= 200
    assert told["failed"] == []
    assert told["trained"] == told["forecasts"] == len(shop.variants) - len(told["skipped"])
    assert told["forecasts"] > 0.9 * len(shop.variants)
    assert told["rows"] == 7 * told["forecasts"]
    before = _rows(shop)
    assert len(before) == told["rows"]
    assert {row[0] for row in before} <= set(shop.variants)
    assert all(lower <= value <= upper for _, _, value, lower, upper, _ in before)
    again = shop.run(*words)
    assert (again["trained"], again["forecasts"], again["rows"]) == (told["trained"], told["forecasts"], told["rows"])
    assert _rows(shop) == before, "a night is done once"


def _rows(shop: Shop) -> list[tuple[Any, ...]]:
    """Of the forecasts, each with the base-trained version that made it."""
    with psycopg.connect(shop.star) as connection:
        return connection.execute("""
            SELECT entity, forecast_date, value, lower, upper, m.metrics->>'persistence'
            FROM forecast f JOIN forecast_model m USING (model_id, entity)
            WHERE m.type = 'seq2seq' AND m.trained_at IS NOT NULL ORDER BY entity, forecast_date
        """).fetchall()
