"""The SQL source against a real Postgres, through a role that may only read, and against SQLite: tables of every shape and form of time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import event, make_url

from db.errors import SourceLagging, SourceUnavailable, SourceUnreadable
from db.observations import Coverage
from db.sources.catalogue import read
from db.sources.configs import SqlConfig
from db.sources.source import Limits, Wanted, Whom, empty, milliseconds
from db.sources.sql import SqlSource
from tests.support.servers import Servers, database

START = datetime(2026, 1, 1, 22, tzinfo=UTC)
OWNERS: list[str] = []
OPENED: list[SqlSource] = []
LIMITS = Limits(max_rows=1_000, timeout_s=5.0)
ROOM, OTHER = Whom("7", "acme"), Whom("8", "acme")
HOURS = [START + timedelta(hours=n) for n in range(4)]


@pytest.fixture(scope="module")
def follower(live: Servers) -> Iterator[str]:
    """A database of somebody else's, and a role that may read one schema of it."""
    with database(live.database_url) as url:
        OWNERS[:] = [url]
        owner = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute("CREATE TABLE readings (sensor_id int, at timestamptz, temp_f float8, rh float8, rh_pct float8, ok boolean)")
            connection.execute("CREATE TABLE metrics (device text, ts bigint, name text, reading numeric)")
            connection.execute("CREATE TABLE prices (variant text, day date, date_id int, price numeric(10, 2), is_available boolean)")
            for n, at in enumerate(HOURS):
                row = (7, at, 50.0 + 1.8 * n, None if n % 2 else 40.0 + n, None if n == 0 else 60.0, n != 3)
                connection.execute("INSERT INTO readings VALUES (%s, %s, %s, %s, %s, %s)", row)
                for name in ("memoryUsed", "memoryUsage")[n % 2 : n % 2 + 1]:
                    connection.execute("INSERT INTO metrics VALUES ('d1', %s, %s, %s)", (int(at.timestamp()), name, n))
                day = datetime(2026, 1, 1 + n, tzinfo=UTC).date()
                sold = ("v1", day, day.year * 10_000 + day.month * 100 + day.day, 9.5 + n, n != 2)
                connection.execute("INSERT INTO prices VALUES (%s, %s, %s, %s, %s)", sold)
            connection.execute("INSERT INTO readings VALUES (8, %s, 'NaN', 1, 1, true)", (START,))
            connection.execute("DROP ROLE IF EXISTS reader")
            connection.execute("CREATE ROLE reader LOGIN PASSWORD 'read only'")
            connection.execute("GRANT SELECT ON readings, metrics, prices TO reader")
        try:
            yield make_url(url).set(username="reader", password="read only").render_as_string(hide_password=False)
        finally:
            with psycopg.connect(owner, autocommit=True) as connection:
                connection.execute("DROP OWNED BY reader")
                connection.execute("DROP ROLE reader")


def owner_of(follower: str, driver: str = "postgresql") -> str:
    whose = make_url(OWNERS[0])
    return whose.set(drivername=driver, database=make_url(follower).database).render_as_string(hide_password=False)


def source(url: str, told: str, limits: Limits = LIMITS) -> SqlSource:
    config = read(f"[sources.x]\nkind = 'sql'\nurl = '{url}'\ntenants = ['*']\n{told}")["x"]
    assert isinstance(config, SqlConfig)
    OPENED.append(SqlSource(config, limits))
    return OPENED[-1]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


WIDE = """
table = "public.readings"
entity = "sensor_id"
entity_type = "integer"
at = "at"
[sources.x.channels]
temperature = {field = "temp_f", scale = 0.5555555555555556, offset = -17.77777777777778}
humidity = ["rh", "rh_pct"]
"""
LONG = """
table = "metrics"
entity = "device"
at = "ts"
time = "epoch_s"
label = "name"
value = "reading"
[sources.x.channels]
memory = ["memoryUsed", "memoryUsage"]
disk = "diskUsed"
"""
PRICES = """
query = "SELECT variant, day, date_id, price, is_available FROM prices WHERE :tenant = 'acme'"
entity = "variant"
at = "{at}"
time = "{time}"
where = "is_available"
channels = ["price"]
"""


def test_a_wide_table_under_other_names_and_in_other_units(follower: str) -> None:
    found = source(follower, WIDE).fetch(ROOM, ["temperature", "humidity", "unknown"])
    times, values = found["temperature"]
    assert list(times) == [milliseconds(at) for at in HOURS]
    assert list(values) == pytest.approx([10, 11, 12, 13])
    assert list(found["humidity"][1]) == [40, 60, 42, 60], "of two fields the first that is not null"
    assert not found["unknown"][0]


def test_a_long_table_whose_devices_name_one_thing_differently(follower: str) -> None:
    found = source(follower, LONG)
    assert list(found.fetch(Whom("d1"), ["memory", "disk"])["memory"][1]) == [0, 1, 2, 3]
    assert found.coverage(Whom("d1")) == {"memory": Coverage(4, 2, HOURS[0], HOURS[3])}


@pytest.mark.parametrize(("at", "time"), [("day", "date"), ("date_id", "yyyymmdd")])
def test_what_was_not_available_is_left_out_and_days_are_told_in_two_forms(follower: str, at: str, time: str) -> None:
    found = source(follower, PRICES.format(at=at, time=time))
    assert list(found.fetch(Whom("v1", "acme"), ["price"])["price"][1]) == [9.5, 10.5, 12.5]
    since, until = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 4, tzinfo=UTC)
    assert list(found.fetch(Whom("v1", "acme"), ["price"], since=since, until=until)["price"][1]) == [10.5]
    assert found.coverage(Whom("v1", "acme"), since=since)["price"].rows == 2
    assert found.coverage(Whom("v1", "globex")) == {}, "the operator's query binds the tenant"


@pytest.mark.parametrize("told", [WIDE, LONG], ids=["wide", "long"])
def test_spans_and_newest_rows(follower: str, told: str) -> None:
    whom, name = (ROOM, "humidity") if told is WIDE else (Whom("d1"), "memory")
    found = source(follower, told)
    whole = dict(zip(*found.fetch(whom, [name])[name], strict=True))
    inner = {at: whole[at] for at in map(milliseconds, HOURS[1:3])}
    assert dict(zip(*found.fetch(whom, [name], since=HOURS[1], until=HOURS[3])[name], strict=True)) == inner
    assert list(found.fetch(whom, [name], last_rows=2)[name][0]) == [milliseconds(at) for at in HOURS[2:]]
    assert list(found.fetch(whom, [name], until=HOURS[3], last_rows=1)[name][0]) == [milliseconds(HOURS[2])]


ONE = """
query = "SELECT * FROM metrics WHERE device = :entity"
""" + LONG.replace('table = "metrics"', "")


@pytest.mark.parametrize(
    ("told", "whose", "channels", "statements"),
    [
        (WIDE, ["7", "8", "9", "no number", "7"], ("temperature", "humidity", "unknown"), 2),
        (LONG, ["d1", "d2", "'; --"], ("memory", "disk"), 2),
        (PRICES.format(at="day", time="date"), ["v1", "v2"], ("price",), 1),
        (ONE, ["d1", "d2"], ("memory",), 2),
    ],
    ids=["wide", "long", "query", "query of one"],
)
@pytest.mark.parametrize("columnar", [(), ("postgresql",)], ids=["in turn", "ranked"])
def test_the_newest_rows_of_many_are_those_of_each(
    follower: str,
    told: str,
    whose: list[str],
    channels: tuple[str, ...],
    statements: int,
    columnar: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("db.sources.statements._COLUMNAR", columnar)
    found, asked = source(follower, told), 0
    alone = [found.fetch(Whom(name, "acme"), channels, last_rows=2) for name in whose]

    def count(*about: object) -> None:
        nonlocal asked
        asked += "LIMIT" in str(about[2]) or "row_number" in str(about[2])

    event.listen(found._engine, "before_cursor_execute", count)
    assert list(found.fetch_many([Wanted(Whom(name, "acme"), channels, 2) for name in whose])) == alone
    assert asked == statements
    assert any(times for times, _ in alone[0].values())


def test_many_more_than_one_statement_speaks_of_and_rows_of_unlike_lengths(follower: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.sources.sql.AT_ONCE", 2)
    found = source(follower, WIDE)
    wanted = [Wanted(Whom(str(n)), ("humidity",), 1 + n % 3) for n in (8, 7, 6, 7, 7)]
    assert list(found.fetch_many(wanted)) == [found.fetch(one.whom, one.channels, last_rows=one.last_rows) for one in wanted]


def test_coverage_counts_rows_and_days_of_each_channel(follower: str) -> None:
    held = source(follower, WIDE).coverage(ROOM)
    assert held["temperature"] == Coverage(4, 2, HOURS[0], HOURS[3])
    assert source(follower, WIDE).coverage(ROOM, ["humidity"], HOURS[2]) == {"humidity": Coverage(2, 1, HOURS[2], HOURS[3])}


def test_what_is_no_finite_number_is_no_value(follower: str) -> None:
    assert source(follower, WIDE).fetch(OTHER, ["temperature", "humidity"])["temperature"][0].tolist() == []


@pytest.mark.parametrize("name", ["7; DROP TABLE readings", "' OR 1=1 --", "9" * 30, "１", ""])
def test_a_name_is_bound_and_never_read_as_sql(follower: str, name: str) -> None:
    assert source(follower, WIDE).coverage(Whom(name)) == {}
    assert source(follower, LONG).coverage(Whom(name)) == {}
    assert source(follower, WIDE).coverage(ROOM)


def test_whose_rows_there_are(follower: str) -> None:
    assert source(follower, WIDE).entities("acme", 10) == ["7", "8"]
    assert source(follower, WIDE).entities("acme", 1) == ["7"]


def test_nothing_can_be_written(follower: str) -> None:
    """The role may not, and the transaction may not either: here the owner's own query tries."""
    with psycopg.connect(owner_of(follower), autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE IF NOT EXISTS s")
    told = """query = "SELECT '1' AS e, now() AS at, nextval('s') AS n"\nentity = "e"\nat = "at"\nchannels = ["n"]"""
    with pytest.raises(SourceUnreadable, match="sources check x") as refused:
        source(owner_of(follower, "postgresql+psycopg"), told).fetch(Whom("1"), ["n"])
    assert "read-only transaction" in str(refused.value.__cause__)


def test_more_rows_than_one_reading_may_bring_are_refused(follower: str) -> None:
    with pytest.raises(SourceUnreadable, match="more than 3 rows"):
        source(follower, WIDE, Limits(3, 5.0)).fetch(ROOM, ["temperature"])
    assert len(source(follower, WIDE, Limits(4, 5.0)).fetch(ROOM, ["temperature"])["temperature"][0]) == 4


def test_a_statement_that_takes_too_long_is_given_up(follower: str) -> None:
    slow = WIDE.replace('table = "public.readings"', 'query = "SELECT *, pg_sleep(5) FROM readings"')
    with pytest.raises(SourceUnavailable, match="does not answer"):
        source(follower, slow, Limits(10, 0.2)).fetch(ROOM, ["temperature"])


@pytest.mark.parametrize(
    "changed",
    [('table = "public.readings"', 'table = "nowhere"'), ("temp_f", "temp_k"), ('at = "at"', 'at = "ok"'), ("temp_f", "ok::text")],
    ids=["table", "column", "no moment", "injected column"],
)
def test_what_is_not_there_is_no_outage(follower: str, changed: tuple[str, str]) -> None:
    with pytest.raises(SourceUnreadable):
        source(follower, WIDE.replace(*changed)).fetch(ROOM, ["temperature"])


def test_a_table_that_the_role_may_not_read(follower: str) -> None:
    told = WIDE.replace("public.readings", "pg_catalog.pg_authid")
    with pytest.raises(SourceUnreadable):
        source(follower, told).coverage(ROOM)


@pytest.mark.parametrize("change", [{"port": 1}, {"password": "wrong"}, {"database": "gone"}], ids=str)
def test_a_database_that_cannot_be_reached_may_be_back(follower: str, change: dict[str, object]) -> None:
    url = make_url(follower).set(**change).render_as_string(hide_password=False)  # type: ignore[arg-type]
    with pytest.raises(SourceUnavailable):
        source(url, WIDE, Limits(10, 1.0)).health()


def test_one_that_is_too_far_behind_is_not_learned_from(follower: str) -> None:
    behind = source(follower, 'lag_limit_s = 60\nlag_query = "SELECT 61"' + WIDE)
    with pytest.raises(SourceLagging, match="61 s behind"):
        behind.fetch(ROOM, ["temperature"])
    assert behind.health().lag_s == 61
    assert source(follower, 'lag_limit_s = 60\nlag_query = "SELECT 60"' + WIDE).fetch(ROOM, ["temperature"])["temperature"][0]


def test_a_primary_follows_nothing(follower: str) -> None:
    assert source(follower, "lag_limit_s = 1" + WIDE).health().lag_s is None


def test_where_rows_were_sought_is_told(follower: str) -> None:
    said = source(follower, PRICES.format(at="day", time="date")).sought(Whom("v9"), START)
    assert said == "the operator's query, variant = 'v9', day from 2026-01-01 22:00:00+00:00, where is_available"


@pytest.mark.parametrize(
    ("url", "package"),
    [("snowflake://u@shop/sales", "snowflake-sqlalchemy"), ("mysql+pymysql://u@h/d", "PyMySQL"), ("nosuch://h/d", "nosuch")],
)
def test_a_missing_driver_is_named_with_its_package(url: str, package: str) -> None:
    with pytest.raises(SourceUnreadable, match=f"pip install {package}"):
        source(url, WIDE).health()


@pytest.mark.parametrize("time", ["timestamp", "datetime", "date", "epoch_s", "epoch_ms"])
def test_the_same_questions_in_sqlite(tmp_path: Path, time: str) -> None:
    """Another dialect, where every type is a text or a number."""
    written = {
        "timestamp": "%Y-%m-%d %H:%M:%S.%f",
        "datetime": "%Y-%m-%d %H:%M:%S.%f",
        "date": "%Y-%m-%d",
    }
    days = [datetime(2026, 1, n, tzinfo=UTC) for n in (1, 2, 3)]
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE t (e text, at, v real)")
        for n, at in enumerate(days):
            form = at.strftime(written[time]) if time in written else int(at.timestamp()) * (1000 if time == "epoch_ms" else 1)
            connection.execute("INSERT INTO t VALUES ('a', ?, ?)", (form, n))
    connection.close()
    shop = source(f"sqlite:///{tmp_path}/shop.db", f'table = "t"\nentity = "e"\nat = "at"\ntime = "{time}"\nchannels = ["v"]')
    assert shop.fetch(Whom("a"), ["v"], since=days[1])["v"][0].tolist() == [milliseconds(at) for at in days[1:]]
    assert shop.fetch(Whom("a"), ["v"], until=days[2], last_rows=1)["v"][1].tolist() == [1]
    assert shop.coverage(Whom("a")) == {"v": Coverage(3, 3, days[0], days[2])}
    [newest, nobody] = shop.fetch_many([Wanted(Whom("a"), ("v",), 2), Wanted(Whom("b"), ("v",), 2)])
    assert (newest, nobody) == (shop.fetch(Whom("a"), ["v"], last_rows=2), {"v": empty()})
    shop.close()


def test_sqlite_says_what_will_not_come_by_itself(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable):
        source(f"sqlite:///{tmp_path}/empty.db", 'table = "t"\nentity = "e"\nat = "at"\nchannels = ["v"]').coverage(Whom("a"))
