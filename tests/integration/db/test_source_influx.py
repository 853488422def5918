"""The source of InfluxDB 1.x against a real influxd: line protocol in, InfluxQL out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.errors import SourceUnavailable, SourceUnreadable
from db.observations import Coverage
from db.sources.catalogue import read
from db.sources.configs import InfluxConfig
from db.sources.http import Http
from db.sources.influx import InfluxSource
from db.sources.source import Limits, Wanted, Whom, empty, milliseconds
from ops.processes import usable_port
from tests.support.influx import DATABASE, Influx, influx

LIMITS = Limits(1_000, 5.0)
START = datetime(2026, 1, 1, 22, tzinfo=UTC)
QUARTERS = [START + timedelta(minutes=15) * n for n in range(12)]
MS = [milliseconds(at) for at in QUARTERS]
ROOF = Whom("roof, 'north' \"a\"", "acme")
CHANNELS = """
P = {field = "p_dc", scale = 0.001}
Irr = "irradiance"
Temp = ["t_air", "temperature ambient"]
U = "u_dc"
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    with influx(tmp_path_factory.mktemp("influx")) as running:
        power = [(at, 1000.0 * n) for n, at in enumerate(MS)]
        air = [(at, 10.0 + n) for n, at in enumerate(MS[:6])]
        ambient = [(at, 20.0 + n) for n, at in enumerate(MS) if n >= 4]
        tags = {"plant": ROOF.entity, "owner": "acme"}
        running.write("inverters", tags, {"p_dc": power, "irradiance": power[::2], "t_air": air, "temperature ambient": ambient})
        running.write("inverters", {"plant": "other", "owner": "globex"}, {"p_dc": [(MS[0], 7.0)]})
        yield running


def source(there: Influx, more: str = "", limits: Limits = LIMITS) -> InfluxSource:
    config = read(there.toml("x", more, CHANNELS))["x"]
    assert isinstance(config, InfluxConfig)
    return InfluxSource(config, limits)


def test_fields_of_a_measurement_under_other_names_and_in_other_units(there: Influx) -> None:
    found = source(there).fetch(ROOF, ["P", "Irr", "Temp", "U", "unknown"])
    assert (list(found["P"][0]), list(found["P"][1])) == (MS, list(range(12)))
    assert list(found["Irr"][0]) == MS[::2]
    assert list(found["Temp"][1]) == [10, 11, 12, 13, 14, 15, 26, 27, 28, 29, 30, 31], "of two fields the first that is there"
    assert (len(found["U"][0]), len(found["unknown"][0])) == (0, 0)


def test_spans_and_newest_rows(there: Influx) -> None:
    whole = source(there)
    assert list(whole.fetch(ROOF, ["P"], since=QUARTERS[1], until=QUARTERS[3])["P"][0]) == MS[1:3]
    newest = whole.fetch(ROOF, ["P", "Irr"], last_rows=2)
    assert (list(newest["P"][0]), list(newest["Irr"][0])) == (MS[-2:], [MS[8], MS[10]])
    assert list(whole.fetch(ROOF, ["P"], until=QUARTERS[3], last_rows=1)["P"][0]) == [MS[2]]


def test_the_newest_rows_of_many_are_those_of_each_by_one_request(there: Influx, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, lines, asked = source(there), Http.lines, 0

    def counted(*about: Any) -> Iterator[bytes]:
        nonlocal asked
        asked += 1
        return lines(*about)

    names = [ROOF.entity, "nobody", "other", "x' OR plant =~ /.*/ --", ROOF.entity]
    wanted = [Wanted(Whom(name, "acme"), ("P", "Temp", "U", "unknown"), 2 + n % 2) for n, name in enumerate(names)]
    alone = [whole.fetch(one.whom, one.channels, last_rows=one.last_rows) for one in wanted]
    monkeypatch.setattr(Http, "lines", counted)
    assert list(whole.fetch_many(wanted)) == alone
    assert asked == 1
    assert [len(found["P"][0]) for found in alone] == [2, 0, 1, 0, 2]
    assert list(whole.fetch_many([Wanted(ROOF, ("unknown",), 1)])) == [{"unknown": empty()}]


def test_coverage_counts_rows_and_utc_days(there: Influx) -> None:
    held = source(there).coverage(ROOF)
    assert held["P"] == Coverage(12, 2, QUARTERS[0], QUARTERS[11])
    assert held["Temp"] == Coverage(12, 2, QUARTERS[0], QUARTERS[11]), "of several names each moment once"
    assert held.keys() == {"P", "Irr", "Temp"}
    assert source(there).coverage(ROOF, ["Irr"], QUARTERS[5]) == {"Irr": Coverage(3, 2, QUARTERS[6], QUARTERS[10])}


def test_whose_rows_there_are_and_a_tenant_sees_its_own(there: Influx) -> None:
    assert source(there).entities("acme", 10) == sorted(["other", ROOF.entity])
    own = source(there, 'tenant_tag = "owner"')
    assert own.entities("acme", 10) == [ROOF.entity]
    assert own.coverage(Whom("other", "acme")) == {}
    assert own.coverage(Whom("other", "globex"))


@pytest.mark.parametrize("name", ["nobody", "' OR '1'='1", "x' OR plant =~ /.*/ --", '"', "a\\", "a\nb", "$tenant"])
def test_a_name_is_bound_and_never_read_as_influxql(there: Influx, name: str) -> None:
    assert source(there).coverage(Whom(name, "acme")) == {}
    assert not source(there).fetch(Whom(name, "acme"), ["P"])["P"][0]


def test_the_operators_condition_holds(there: Influx) -> None:
    assert list(source(there, 'where = "p_dc > 9000"').fetch(ROOF, ["P"])["P"][1]) == [10, 11]


def test_more_rows_than_one_reading_may_bring_are_refused(there: Influx) -> None:
    with pytest.raises(SourceUnreadable, match="more than 11 rows"):
        source(there, limits=Limits(11, 5.0)).fetch(ROOF, ["P"])
    assert len(source(there, limits=Limits(12, 5.0)).fetch(ROOF, ["P"])["P"][0]) == 12


def test_a_database_that_is_not_there_and_a_condition_that_is_none(there: Influx) -> None:
    for told in (there.toml("x").replace(f'"{DATABASE}"', '"gone"'), there.toml("x", 'where = "p_dc >"')):
        config = read(told)["x"]
        assert isinstance(config, InfluxConfig)
        with pytest.raises(SourceUnreadable):
            InfluxSource(config, Limits(10, 5.0)).fetch(ROOF, ["P"])


def test_a_server_that_is_not_there_may_be_back(there: Influx) -> None:
    config = read(there.toml("x").replace(there.url, f"http://127.0.0.1:{usable_port(0)}"))["x"]
    assert isinstance(config, InfluxConfig)
    with pytest.raises(SourceUnavailable):
        InfluxSource(config, Limits(10, 1.0)).health()


def test_one_that_is_well(there: Influx) -> None:
    assert source(there).health().lag_s is None
    assert "measurement inverters, fields p_dc, irradiance" in source(there).sought(ROOF)
