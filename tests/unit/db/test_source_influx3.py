"""The source of InfluxDB 3.x, through its own client, against a real Arrow Flight server that runs the SQL it is sent, in DuckDB.

So what is tried is the client, the wire, and the statements; not that an InfluxDB reads each of these words as DuckDB does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("influxdb_client_3", reason="pip install influxdb3-python")
pytest.importorskip("duckdb")

import duckdb
import pyarrow as pa
import pyarrow.flight as flight

from db.errors import SourceUnavailable, SourceUnreadable
from db.observations import Coverage
from db.sources.catalogue import read
from db.sources.configs import Influx3Config
from db.sources.influx3 import Influx3Source
from db.sources.source import Limits, Whom, milliseconds

TOKEN = "hidden"
START = datetime(2026, 1, 1, 22, tzinfo=UTC)
AT = [START + timedelta(hours=n) for n in range(4)]
ROWS = """
CREATE TABLE "in""verters" (time TIMESTAMP_NS, plant VARCHAR, owner VARCHAR, p_dc DOUBLE, t_air DOUBLE, t_module DOUBLE, state BIGINT);
INSERT INTO "in""verters" VALUES
  ('2026-01-02 00:00:00', 'roof', 'acme', 3000, NULL, NULL, 1), ('2026-01-01 22:00:00', 'roof', 'acme', NULL, 5, NULL, 1),
  ('2026-01-01 23:00:00', 'roof', 'acme', 1000, 7, 6, 1), ('2026-01-02 01:00:00', 'roof', 'acme', 9000, NULL, NULL, 0),
  ('2026-01-01 23:00:00', 'barn', 'acme', 5, NULL, NULL, 1), ('2026-01-01 23:00:00', 'roof', 'globex', 7, NULL, NULL, 1);
"""


class Seen(flight.ServerMiddlewareFactory):
    """Refuses who brings no token of ours, as InfluxDB does."""

    def start_call(self, _: Any, headers: dict[str, list[str]]) -> None:
        if headers.get("authorization") != [f"Bearer {TOKEN}"]:
            raise flight.FlightUnauthenticatedError("unauthenticated")


class StandIn(flight.FlightServerBase):
    def __init__(self) -> None:
        super().__init__("grpc://127.0.0.1:0", middleware={"seen": Seen()})
        self.asked: list[dict[str, Any]] = []
        self.trouble: Exception | None = None
        self._database = duckdb.connect()
        self._database.execute(ROWS)

    def do_get(self, _: Any, ticket: flight.Ticket) -> flight.RecordBatchStream:
        asked = json.loads(ticket.ticket)
        self.asked.append(asked)
        if self.trouble is not None:
            raise self.trouble
        try:
            answer = self._database.cursor().sql(asked["sql_query"], params=asked.get("params"))
            return flight.RecordBatchStream(answer.to_arrow_table())
        except duckdb.Error as error:
            raise pa.ArrowInvalid(f"Error while planning query: {error}") from None


@pytest.fixture
def there() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


def opened(url: str, *, most: int = 100, **changes: str) -> Influx3Source:
    told = {"table": 'in"verters', "token": TOKEN, "where": "state = 1"} | changes
    given = "".join(f"{name} = {json.dumps(value)}\n" for name, value in told.items())
    config = read(
        f"""
[sources.plant]
kind = "influx3"
url = "{url}"
database = "plants"
tag = "plant"
tenant_tag = "owner"
tenants = ["*"]
{given}
[sources.plant.channels]
P = {{ field = "p_dc", scale = 0.001 }}
Temp = ["t_module", "t_air", "t_of_next_year"]
Irr = "never_written"
"""
    )["plant"]
    assert isinstance(config, Influx3Config)
    return Influx3Source(config, Limits(most, 5.0))


@pytest.fixture
def plant(there: StandIn) -> Iterator[Influx3Source]:
    source = opened(f"http://127.0.0.1:{there.port}")
    yield source
    source.close()


ROOF = Whom("roof", "acme")


def told(points: Any) -> dict[datetime, float]:
    times, values = points
    return dict(zip([next(at for at in AT if milliseconds(at) == ms) for ms in times], values, strict=True))


def test_points_under_other_names_in_other_units_and_of_one_tenant(plant: Influx3Source) -> None:
    found = plant.fetch(ROOF, ["P", "Temp", "Irr", "unknown"])
    assert {name: told(points) for name, points in found.items()} == {
        "P": {AT[1]: 1.0, AT[2]: 3.0},
        "Temp": {AT[0]: 5.0, AT[1]: 6.0},
        "Irr": {},
        "unknown": {},
    }
    assert list(found["P"][0]) == sorted(found["P"][0]), "oldest first, in whatever order they came"


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ({"since": AT[1]}, {AT[1]: 6.0}),
        ({"until": AT[1]}, {AT[0]: 5.0}),
        ({"since": AT[2]}, {}),
        ({"last_rows": 1}, {AT[1]: 6.0}),
        ({"last_rows": 5, "until": AT[1]}, {AT[0]: 5.0}),
    ],
    ids=str,
)
def test_a_span_and_the_newest_rows_of_each_channel(plant: Influx3Source, span: dict[str, Any], expected: dict[datetime, float]) -> None:
    assert told(plant.fetch(ROOF, ["Temp", "P"], **span)["Temp"]) == expected


def test_what_is_there_is_counted_by_the_database(plant: Influx3Source, there: StandIn) -> None:
    assert plant.coverage(ROOF) == {"P": Coverage(2, 2, AT[1], AT[2]), "Temp": Coverage(2, 1, AT[0], AT[1])}
    assert plant.coverage(ROOF, ["P"], since=AT[2]) == {"P": Coverage(1, 1, AT[2], AT[2])}
    assert plant.coverage(Whom("nobody", "acme")) == {}
    assert all("count(" in each["sql_query"] or "column_name" in each["sql_query"] for each in there.asked), "no row was brought here"


def test_entities_are_those_of_the_tenant(plant: Influx3Source) -> None:
    assert plant.entities("acme", 9) == ["barn", "roof"]
    assert plant.entities("acme", 1) == ["barn"]
    assert plant.entities("nobody", 9) == []


def test_every_value_is_bound(plant: Influx3Source, there: StandIn) -> None:
    assert not plant.fetch(Whom("roof' OR '1'='1", "acme"), ["P"], since=AT[0])["P"][0]
    assert all("OR '1'" not in each["sql_query"] for each in there.asked)
    assert there.asked[-1]["params"] == {"entity": "roof' OR '1'='1", "tenant": "acme", "since": "2026-01-01T22:00:00.000000"}
    assert {each["database"] for each in there.asked} == {"plants"}


def test_more_rows_than_one_reading_may_bring_are_refused(there: StandIn) -> None:
    source = opened(f"http://127.0.0.1:{there.port}", most=1)
    with pytest.raises(SourceUnreadable, match="more than 1 rows"):
        source.fetch(ROOF, ["P"])
    source.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"table": "no_such"}, "has no table no_such"),
        ({"token": "wrong"}, "refuses our credentials"),
        ({"where": "state ="}, "refuses the question"),
    ],
    ids=["table", "token", "where"],
)
def test_what_an_operator_has_to_mend_is_told_apart(there: StandIn, changes: dict[str, str], said: str) -> None:
    source = opened(f"http://127.0.0.1:{there.port}", **changes)
    with pytest.raises(SourceUnreadable, match=said):
        source.fetch(ROOF, ["P"])
    source.close()


TROUBLES = {
    "away": (flight.FlightUnavailableError("gone"), SourceUnavailable),
    "slow": (flight.FlightTimedOutError("too long"), SourceUnavailable),
    "broken": (flight.FlightInternalError("panic"), SourceUnavailable),
    "denied": (flight.FlightUnauthorizedError("not yours"), SourceUnreadable),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_refusals_are_told_apart_from_outages(plant: Influx3Source, there: StandIn, name: str) -> None:
    there.trouble, kind = TROUBLES[name]
    with pytest.raises(kind):
        plant.health()


def test_one_that_is_not_there_may_be_back(plant: Influx3Source, there: StandIn) -> None:
    assert plant.health().lag_s is None
    there.shutdown()
    with pytest.raises(SourceUnavailable):
        plant.health()
