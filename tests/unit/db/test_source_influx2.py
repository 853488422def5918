"""The source of InfluxDB 2.x, through its own client, against a stand-in that gives the documented answers of `/api/v2/query`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytest.importorskip("influxdb_client", reason="pip install influxdb-client")

from db.errors import SourceUnavailable, SourceUnreadable
from db.observations import Coverage
from db.sources.catalogue import read
from db.sources.configs import Influx2Config
from db.sources.influx2 import Influx2Source
from db.sources.source import Limits, Whom, milliseconds

#: Annotated CSV as the reference of the API shows it.
POINTS = (
    "#datatype,string,long,dateTime:RFC3339,double,string\r\n#group,false,false,false,false,true\r\n#default,_result,,,,\r\n"
    ",result,table,_time,_value,_field\r\n"
    ",,0,2026-01-01T23:00:00Z,1000,p_dc\r\n,,0,2026-01-02T00:00:00Z,3000,p_dc\r\n"
    ",,1,2026-01-01T22:00:00Z,5,t_air\r\n,,1,2026-01-01T23:00:00Z,6,t_module\r\n\r\n"
)
AT = [datetime(2026, 1, 1, 22, tzinfo=UTC), datetime(2026, 1, 1, 23, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)]


class StandIn(ThreadingHTTPServer):
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[dict[str, Any]] = []


class Answer(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))) | {"auth": self.headers["Authorization"]})
        self.send_response(self.server.status)
        body = POINTS if self.server.status == 200 else json.dumps({"code": "unauthorized", "message": "unauthorized access"})
        self.send_header("Content-Type", "text/csv" if self.server.status == 200 else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Tests are silent."""


@pytest.fixture
def there() -> Iterator[StandIn]:
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def plant(there: StandIn) -> Iterator[Influx2Source]:
    config = read(
        f"""
[sources.plant]
kind = "influx2"
url = "http://127.0.0.1:{there.server_port}"
token = "hidden"
org = "house"
bucket = "plants"
measurement = "inverters"
tag = "plant"
tenants = ["*"]
[sources.plant.channels]
P = {{ field = "p_dc", scale = 0.001 }}
Temp = ["t_module", "t_air"]
"""
    )["plant"]
    assert isinstance(config, Influx2Config)
    source = Influx2Source(config, Limits(4, 5.0))
    yield source
    source.close()


def test_points_under_other_names_and_in_other_units(plant: Influx2Source) -> None:
    found = plant.fetch(Whom("roof"), ["P", "Temp", "unknown"])
    assert (list(found["P"][0]), list(found["P"][1])) == ([milliseconds(at) for at in AT[1:]], [1.0, 3.0])
    assert (list(found["Temp"][0]), list(found["Temp"][1])) == ([milliseconds(at) for at in AT[:2]], [5.0, 6.0])
    assert not found["unknown"][0]
    assert plant.coverage(Whom("roof"))["P"] == Coverage(2, 2, AT[1], AT[2])


def test_every_word_and_value_is_bound(plant: Influx2Source, there: StandIn) -> None:
    plant.fetch(Whom('roof") |> drop()'), ["P", "Temp"], since=AT[0], until=AT[2], last_rows=3)
    [asked] = there.asked
    assert "roof" not in asked["query"]
    assert "inverters" not in asked["query"]
    bound = {each["assignment"]["id"]["name"]: each["assignment"]["init"] for each in asked["extern"]["body"]}
    assert bound["entity"]["value"] == 'roof") |> drop()'
    assert (bound["bucket"]["value"], bound["measurement"]["value"], bound["most"]["value"]) == ("plants", "inverters", "3")
    assert asked["auth"] == "Token hidden"


def test_more_rows_than_one_reading_may_bring_are_refused(plant: Influx2Source) -> None:
    plant._limits = Limits(3, 5.0)
    with pytest.raises(SourceUnreadable, match="more than 3 rows"):
        plant.fetch(Whom("roof"), ["P", "Temp"])


@pytest.mark.parametrize(
    ("status", "kind"), [(401, SourceUnreadable), (404, SourceUnreadable), (503, SourceUnavailable), (429, SourceUnavailable)]
)
def test_refusals_are_told_apart_from_outages(plant: Influx2Source, there: StandIn, status: int, kind: type[Exception]) -> None:
    there.status = status
    with pytest.raises(kind):
        plant.health()


def test_one_that_is_not_there_may_be_back(plant: Influx2Source, there: StandIn) -> None:
    there.server_close()
    with pytest.raises(SourceUnavailable):
        plant.health()
