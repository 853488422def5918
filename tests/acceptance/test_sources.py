"""Two systems whose rows stay where they are: a plant in InfluxDB, rooms in a follower that may only be read. Real parts, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from ops import stack
from tests.acceptance.conftest import SCALED, command
from tests.support.client import Api
from tests.support.follower import Follower, follower
from tests.support.influx import Influx, influx
from tests.support.lake import lake, pour
from tests.support.real import Points, plant, room
from tests.support.servers import Servers, database

QUICK = {"epochs": 6, "hidden_size": 16, "num_layers": 1}
ROWS = 1_500


@pytest.fixture(scope="module")
def rooms(live: Servers) -> Iterator[Follower]:
    with follower(live.database_url) as made:
        yield made


@pytest.fixture(scope="module")
def influxdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx | None]:
    """None where there is no influxd: the rooms are tried all the same."""
    try:
        with influx(tmp_path_factory.mktemp("influx")) as running:
            yield running
    except pytest.skip.Exception:
        yield None


@pytest.fixture(scope="module")
def api(live: Servers, rooms: Follower, influxdb: Influx | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A house that knows both sources, over servers of its own."""
    folder = tmp_path_factory.mktemp("sourced")
    moments = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(40)]
    pour(folder, "shore", {"temperature": range(40), "humidity": range(40)}, moments)
    named = rooms.toml("follower", "fresh_s = 1") + (influxdb.toml() if influxdb else "") + lake(folder)
    (folder / "sources.toml").write_text(named)
    home = str(folder / "house")
    with database(live.database_url) as url:
        given = SCALED | {"SOURCES_FILE": str(folder / "sources.toml"), "DATABASE_URL": url, "REDIS_URL": f"{live.redis_url.rstrip('0')}5"}
        up = command("up", "--detach", "--folder", home, **given)
        assert up.returncode == 0, up.stderr
        told = json.loads(command("status", "--json", "--folder", home).stdout)
        try:
            with Api(told["url"], told["key"]) as client:
                yield client
        finally:
            command("down", "--folder", home)
            stack.remove(folder / "house")


def written(rooms: Follower, points: Points, rows: slice) -> None:
    """As the room's own system keeps it: in Fahrenheit."""
    pairs = list(zip(points["temperature"], points["humidity"], strict=True))[rows]
    rooms.write({"room-7": [(datetime.fromisoformat(at), warm * 1.8 + 32, humid) for (at, warm), (_, humid) in pairs]})


def moments(points: Points, name: str) -> list[tuple[int, float]]:
    return [(round(datetime.fromisoformat(at).timestamp() * 1000), value) for at, value in points[name]]


@pytest.mark.slow
def test_a_room_is_forecast_from_a_follower_that_may_only_be_read(api: Api, rooms: Follower) -> None:
    measured = room(ROWS + 1)
    written(rooms, measured, slice(0, ROWS))
    told = api.get("/entities/room-7/readiness", recipe="sensor-climate", source="follower")
    assert (told["ready"], told["requirements"][0]["have"]) == (True, ROWS)
    done = api.done("/models/train", {"entity": "room-7", "recipe": "sensor-climate", "source": "follower", "spec": QUICK})
    assert [done["result"]["target"], *(other["target"] for other in done["result"]["others"])] == ["temperature", "humidity"]
    models = api.get("/models/user/room-7")["data"]
    assert {model["active_version"]["source"] for model in models} == {"follower"}
    assert api.get("/entities/room-7/observations")["data"] == [], "nothing was copied"
    for name in ("temperature", "humidity"):
        forecast = api.done("/predict", {"entity": "room-7", "target": name})["result"]["forecast"]
        assert len(forecast["points"]) == 12
        values = [value for _, value in measured[name][-200:]]
        assert min(values) - 20 < forecast["points"][0]["value"] < max(values) + 20, "in our units"
    written(rooms, measured, slice(ROWS, None))
    later = api.done("/predict", {"entity": "room-7", "target": "temperature", "level": 0.8})["result"]["forecast"]
    assert datetime.fromisoformat(later["data_until"]) == datetime.fromisoformat(measured["temperature"][-1][0])
    with psycopg.connect(rooms.url.replace("+psycopg", "")) as reader, pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("DELETE FROM readings")


def test_files_are_measured_by_a_worker_while_the_request_waits(api: Api) -> None:
    told = api.get("/entities/shore/readiness", recipe="sensor-climate", source="lake")
    assert (told["ready"], told["requirements"][0]["have"], told["requirements"][0]["need"]) == (False, 40, 100)


def test_a_plant_is_forecast_from_influxdb(api: Api, influxdb: Influx | None) -> None:
    if influxdb is None:
        pytest.skip("no influxd here: apt-get install influxdb")
    measured = plant(ROWS)
    named = {"p_dc": "P", "irradiance": "Irr", "t_air": "Temp"}
    influxdb.write("inverters", {"plant": "roof"}, {field: moments(measured, name) for field, name in named.items()})
    done = api.done("/models/train", {"entity": "roof", "recipe": "pv-power", "source": "plant", "spec": QUICK})
    assert set(done["spec"]["spec"]["covariates"]) == {"Irr", "Temp"}, "the subset it has"
    forecast = api.done("/predict", {"entity": "roof", "target": "P"})["result"]["forecast"]
    assert (len(forecast["points"]), forecast["step"]) == (1, "PT15M")
    assert datetime.fromisoformat(forecast["data_until"]) == datetime.fromisoformat(measured["P"][-1][0])
    refused = api.post("/models/train", {"entity": "barn", "recipe": "pv-power", "source": "plant"})
    assert refused.status_code == 422
    assert "plant was asked for: measurement inverters, fields p_dc, irradiance, t_air, plant = 'barn'" in refused.json()["detail"]
