"""The SQL source on BigQuery, through the dialect and Google's own client, against an emulator that is a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db.errors import SourceUnavailable, SourceUnreadable
from db.observations import Coverage
from db.sources.catalogue import read
from db.sources.configs import SqlConfig
from db.sources.source import Limits, Wanted, Whom, milliseconds
from db.sources.sql import SqlSource
from ops.processes import usable_port
from tests.support.warehouse import Warehouse, account, tokens, warehouse

pytestmark = pytest.mark.filterwarnings("ignore:Cannot create BigQuery Storage client:UserWarning")

DAYS = [datetime(2026, 1, n, 22, tzinfo=UTC) for n in range(1, 6)]
COLUMNS = (
    "variant STRING, stamp TIMESTAMP, clock DATETIME, day DATE, date_id INT64, s INT64, ms INT64, price NUMERIC, listed FLOAT64, sold BOOL"
)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    with warehouse(tmp_path_factory.mktemp("bigquery")) as running:
        rows = ", ".join(_row(name, n) for name in ("tea", "it''s") for n in range(5)).replace("''", "\\'")
        running.run(f"CREATE TABLE sales.prices ({COLUMNS})", f"INSERT INTO sales.prices VALUES {rows}")
        yield running


def _row(name: str, n: int) -> str:
    at = DAYS[n]
    moments = (
        f"TIMESTAMP '{at:%F %T}+00', DATETIME '{at:%F %T}', DATE '{at:%F}', {at:%Y%m%d}, {milliseconds(at) // 1000}, {milliseconds(at)}"
    )
    return f"('{name}', {moments}, {10 + n}, {'NULL' if n == 2 else n * 1.5}, {'false' if n == 3 else 'true'})"


def source(url: str, at: str = "stamp", time: str = "timestamp", table: str = "sales.prices", timeout_s: float = 20.0) -> SqlSource:
    config = read(
        f"""
[sources.x]
kind = "sql"
url = "{url}"
tenants = ["*"]
table = "{table}"
entity = "variant"
at = "{at}"
time = "{time}"
where = "sold"
[sources.x.channels]
price = {{field = "price", scale = 2}}
listed = ["listed", "price"]
"""
    )["x"]
    assert isinstance(config, SqlConfig)
    return SqlSource(config, Limits(1_000, timeout_s))


FORMS = [("stamp", "timestamp"), ("clock", "datetime"), ("day", "date"), ("date_id", "yyyymmdd"), ("s", "epoch_s"), ("ms", "epoch_ms")]


@pytest.mark.parametrize(("at", "time"), FORMS)
def test_rows_spans_units_and_coverage_in_every_form_of_time(there: Warehouse, at: str, time: str) -> None:
    prices, tea = source(there.url, at, time), Whom("tea")
    when = [day.replace(hour=0) if time in ("date", "yyyymmdd") else day for day in DAYS]
    found = prices.fetch(tea, ["price", "listed", "unknown"])
    assert list(found["price"][0]) == [milliseconds(when[n]) for n in (0, 1, 2, 4)], "what was not sold is left out"
    assert (list(found["price"][1]), list(found["listed"][1])) == ([20, 22, 24, 28], [0, 1.5, 12, 6])
    since, until = DAYS[1].replace(hour=0), DAYS[2] + timedelta(hours=1)
    assert list(prices.fetch(tea, ["price"], since=since, until=until)["price"][1]) == [22, 24]
    assert list(prices.fetch(tea, ["price"], last_rows=2)["price"][1]) == [24, 28]
    assert prices.coverage(tea)["price"] == Coverage(4, 4, when[0], when[4])
    wanted = [Wanted(Whom(name), ("price", "listed"), 3) for name in ("tea", "nobody", "it's", "'; DROP TABLE sales.prices; --")]
    assert list(prices.fetch_many(wanted)) == [prices.fetch(one.whom, one.channels, last_rows=3) for one in wanted]
    prices.close()


def test_whose_rows_there_are_and_where_none_are(there: Warehouse) -> None:
    prices = source(there.url)
    assert prices.entities("acme", 10) == ["it's", "tea"]
    assert prices.health().lag_s is None
    assert prices.coverage(Whom("nobody")) == {}
    assert prices.sought(Whom("nobody")) == "table sales.prices, variant = 'nobody', stamp from the beginning, where sold"
    prices.close()


def test_one_that_is_away_may_be_back_and_is_not_waited_for(there: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{usable_port(0)}")
    with pytest.raises(SourceUnavailable, match="does not answer"):
        source(there.url, timeout_s=1.0).fetch(Whom("tea"), ["price"])


def test_credentials_that_are_refused_or_missing_are_for_somebody_to_mend(there: Warehouse, tmp_path: Path) -> None:
    with tokens(400) as issuer, pytest.raises(SourceUnreadable, match="refuses our credentials: RefreshError"):
        source(f"bigquery://shop?credentials_path={account(tmp_path, issuer)}").health()
    with pytest.raises(SourceUnreadable, match="names a file that this user cannot read"):
        source(f"bigquery://shop?credentials_path={tmp_path}/none.json").health()
