"""A sink takes the rows of a forecast in the place of its own earlier ones, whatever its tables and columns are called."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from db.errors import SinkRefused, SinkUnavailable
from db.sinks.catalogue import Sink, read
from db.sinks.star import Facts
from db.sinks.writer import Writer, ddl, open_writer

NIGHT = datetime(2026, 3, 1, tzinfo=UTC)
MAPPED = """
target = "price"
[sinks.x.forecasts]
table = "Fact Price"
columns = { entity = "variant", forecast_date = "date", value = 'the "price"', model_id = "model id" }
[sinks.x.models]
table = "DimModel"
columns = { model_id = "id", name = "name", version = "version", metrics = "metrics_json" }
"""


def model(version: str = "ver_1") -> dict[str, Any]:
    told = {"model_id": version, "tenant": "shop", "entity": "tea", "name": "price", "version": "1.0.0", "type": "seq2seq", "recipe": None}
    moments = {"trained_at": NIGHT, "data_until": None}
    return told | moments | {"served_by": "blend", "metrics": {"blend": {"mae": 0.5}}, "hyperparameters": {"window": 30}}


def week(
    origin: datetime = NIGHT, *, entity: str = "tea", value: float = 1.0, steps: int = 7, version: str = "ver_1"
) -> list[dict[str, Any]]:
    same = {"tenant": "shop", "entity": entity, "target": "price", "origin": origin, "model_id": version, "version": "1.0.0"}
    figures = {"value": value, "lower": value - 1, "upper": value + 1, "level": 0.9, "created_at": NIGHT}
    moments = [origin + timedelta(days=step) for step in range(1, steps + 1)]
    return [same | figures | {"forecast_at": at, "forecast_date": at.date()} for at in moments]


def sink(file: Path, mapping: str = "") -> Sink:
    return read(f'[sinks.x]\ntenants = "shop"\nurl = "sqlite:///{file}"\n{mapping}')["x"]


def made(file: Path, mapping: str = "") -> Writer:
    """An open sink in a new SQLite file, with the tables that it asks for."""
    writer = open_writer(sink(file, mapping))
    with sqlite3.connect(file) as connection:
        connection.executescript(writer.ddl())
    connection.close()
    return writer


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Writer]:
    writer = made(tmp_path / "plain.db")
    yield writer
    writer.close()


@pytest.fixture
def mapped(tmp_path: Path) -> Iterator[Writer]:
    writer = made(tmp_path / "mapped.db", MAPPED)
    yield writer
    writer.close()


def held(writer: Writer) -> list[Any]:
    with writer.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.select(writer.forecasts).order_by(*writer.forecasts.primary_key))]


def values(writer: Writer) -> list[tuple[str, str, float]]:
    """Of the plain tables: origin, day, value."""
    columns = writer.forecasts.c
    with writer.engine.connect() as connection:
        rows = connection.execute(
            sa.select(columns.origin, columns.forecast_date, columns.value).order_by(columns.origin, columns.forecast_at)
        )
        return [(f"{origin:%m-%d}", f"{day:%m-%d}", value) for origin, day, value in rows]


def test_a_rerun_replaces_its_own_rows_and_no_others(plain: Writer) -> None:
    plain.replace([Facts(model(), week(value=1.0)), Facts(model(), week(entity="coffee", value=5.0))])
    before = held(plain)
    plain.replace([Facts(model(), week(value=1.0))])
    assert held(plain) == before
    plain.replace([Facts(model("ver_2"), week(value=2.0, steps=3, version="ver_2"))])
    assert sorted(value for _, _, value in values(plain)) == [2.0] * 3 + [5.0] * 7, "none of the longer forecast is left over"


def test_the_next_nights_forecast_stands_beside_the_last_ones(plain: Writer) -> None:
    plain.replace([Facts(model(), week())])
    plain.replace([Facts(model(), week(NIGHT + timedelta(days=1), value=2.0))])
    assert len(values(plain)) == 14


def test_without_an_origin_the_newest_forecast_of_each_day_stands(mapped: Writer) -> None:
    mapped.replace([Facts(model(), week(value=1.0))])
    mapped.replace([Facts(model(), week(NIGHT + timedelta(days=1), value=2.0))])
    assert [row[2] for row in held(mapped)] == [1.0] + [2.0] * 7


def test_a_version_has_one_row_and_a_forecast_leads_to_it(plain: Writer) -> None:
    for version in ("ver_1", "ver_1", "ver_2"):
        plain.replace([Facts(model(version), week(version=version))])
    star = sa.select(plain.models.c.metrics).join(plain.forecasts, plain.forecasts.c.model_id == plain.models.c.model_id)
    with plain.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(plain.models)) == 2
        assert set(connection.scalars(star)) == {'{"blend": {"mae": 0.5}}'}


def test_names_with_capitals_spaces_and_quotes_are_the_tables_own(mapped: Writer) -> None:
    mapped.replace([Facts(model(), week(steps=1))])
    with mapped.engine.connect() as connection:
        found = connection.execute(sa.text('SELECT variant, date, "the ""price""", "model id" FROM "Fact Price"')).one()
        assert tuple(found) == ("tea", "2026-03-02", 1.0, "ver_1")
        assert connection.scalar(sa.text('SELECT metrics_json FROM "DimModel"')) == '{"blend": {"mae": 0.5}}'


def test_a_value_is_never_part_of_a_statement(plain: Writer) -> None:
    name = "tea'); DROP TABLE forecast; --"
    plain.replace([Facts(model(), week(entity=name))])
    assert {row[1] for row in held(plain)} == {name}


def test_a_write_that_breaks_off_leaves_the_rows_whole(plain: Writer) -> None:
    plain.replace([Facts(model(), week())])
    before = held(plain)
    broken = week(value=2.0)
    broken[-1]["value"] = None
    with plain.engine.begin() as connection:
        connection.execute(
            sa.text("CREATE TRIGGER no BEFORE INSERT ON forecast WHEN NEW.value IS NULL BEGIN SELECT RAISE(ABORT, 'no'); END")
        )
    with pytest.raises(SinkRefused, match="IntegrityError"):
        plain.replace([Facts(model("ver_2"), broken)])
    assert held(plain) == before


def test_a_sink_that_is_away_is_told_apart_from_one_that_refuses(tmp_path: Path) -> None:
    away = open_writer(sink(tmp_path / "no folder" / "x.db"))
    with pytest.raises(SinkUnavailable, match=r"^Sink x does not answer: OperationalError\.$"):
        away.replace([Facts(model(), week())])
    empty = open_writer(sink(tmp_path / "empty.db", "[sinks.x.forecasts]"))
    with pytest.raises(SinkUnavailable, match="OperationalError"):  # SQLite has no other word for a table that is not there
        empty.check()
    for writer in (away, empty):
        writer.close()


def test_a_check_finds_out_whether_it_could_write_and_writes_nothing(plain: Writer, mapped: Writer) -> None:
    for writer in (plain, mapped):
        writer.replace([Facts(model(), week())])
        before = held(writer)
        writer.check()
        assert held(writer) == before


@pytest.mark.parametrize("url", ["nosuchkind://u:geheim@host/x", "no url: geheim", "postgresql+notinstalled://u:geheim@host/x"])
def test_a_url_that_nobody_can_open_is_told_without_it(url: str) -> None:
    with pytest.raises(SinkRefused, match="Sink x cannot be opened") as refused:
        open_writer(read(f'[sinks.x]\ntenants = "shop"\nurl = "{url}"')["x"])
    assert "geheim" not in str(refused.value)


def test_a_database_without_transactions_is_refused_and_not_written_by_halves() -> None:
    with pytest.raises(SinkRefused, match="bigquery has no transaction around several statements"):
        open_writer(read('[sinks.x]\ntenants = "shop"\nurl = "bigquery://project/prices"')["x"])


@pytest.mark.parametrize(
    ("dialect", "word"),
    [
        (postgresql.dialect(), '"forecast_at" TIMESTAMP WITH TIME ZONE NOT NULL'),
        (postgresql.dialect(), '"metrics" JSON'),
        (mysql.dialect(), "`metrics` TEXT"),
        (mysql.dialect(), "PRIMARY KEY (`tenant`, `entity`, `target`, `origin`, `forecast_at`)"),
    ],
)
def test_the_statements_that_make_the_tables_are_of_the_sinks_kind(dialect: sa.Dialect, word: str) -> None:
    assert word in ddl(read('[sinks.x]\ntenants = "shop"\nurl = "sqlite://"')["x"], dialect)
