"""The operator's file of sources: strict, with the fix in every refusal, and no secret in any of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from db.errors import CatalogueInvalid, SourceUnreadable
from db.sources.catalogue import read
from db.sources.configs import FilesConfig, InfluxConfig, SqlConfig
from db.sources.opened import Sources
from db.sources.source import Channel, Limits

SQL = """
[sources.follower]
kind = "sql"
url = "postgresql://reader:hidden@db/plants"
tenants = ["acme"]
table = "readings"
entity = "sensor"
at = "recorded_at"
channels = ["temperature"]
"""
INFLUX = """
[sources.plant]
kind = "influx"
url = "http://influx:8086"
database = "plants"
measurement = "inverters"
tag = "plant"
tenants = ["*"]
[sources.plant.channels]
P = { field = "p_dc", scale = 0.001, offset = -1 }
memory = ["memoryUsed", "memoryUsage"]
Irr = "irradiance"
"""
FILES = """
[sources.lake]
kind = "files"
path = "s3://plants/{tenant}/{entity}.parquet"
at = "time"
tenants = ["*"]
channels = ["P"]
storage = { key = "hidden" }
"""


def test_each_kind_is_read_with_its_defaults() -> None:
    found = read(SQL + INFLUX + FILES)
    sql, influx, files = found["follower"], found["plant"], found["lake"]
    assert isinstance(sql, SqlConfig)
    assert (sql.time, sql.entity_type, sql.fresh_s, sql.lag_limit_s, sql.light) == ("timestamp", "text", 60.0, 0.0, True)
    assert isinstance(influx, InfluxConfig)
    assert influx.channels == {
        "P": Channel(("p_dc",), 0.001, -1.0),
        "memory": Channel(("memoryUsed", "memoryUsage")),
        "Irr": Channel(("irradiance",)),
    }
    assert isinstance(files, FilesConfig)
    assert (files.light, files.channels) == (False, {"P": Channel(("P",))})


def test_a_secret_is_in_no_representation_and_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://reader:hidden@db/plants\n")
    told = SQL.replace('url = "postgresql://reader:hidden@db/plants"', f'url_file = "{tmp_path}/url"')
    assert read(told) == read(SQL)
    assert "hidden" not in repr(read(SQL + FILES))


def test_a_tenant_may_read_what_is_its_own_or_everybodys() -> None:
    sources = Sources(read(SQL + INFLUX), Limits(1, 1.0))
    assert sources.of("acme") == ["follower", "plant"]
    assert sources.of("globex") == ["plant"]
    with pytest.raises(SourceUnreadable, match="This process has no source lake"):
        sources.open("lake")


WRONG = {
    "[sources.x": "is no TOML",
    "[other]\na = 1": "other: the file holds tables named",
    "[sources]\nx = 1": "sources.x: must be a table",
    SQL.replace("follower", "stored"): "stored is taken",
    SQL.replace("sources.follower", "sources.'Fol lower'"): "small letters",
    SQL.replace('"sql"', '"oracle"'): "sources.follower.kind: 'oracle' is none of sql, influx, influx2, influx3, files",
    SQL.replace("tenants", "tenant"): "sources.follower.tenant: unknown; known: ",
    SQL.replace('tenants = ["acme"]\n', ""): r'tenants: is missing: name the tenants that may read it, or write \["\*"\]',
    SQL.replace("channels = ", "#"): "channels: is missing",
    SQL.replace('"recorded_at"', "1"): "sources.follower.at: must be text",
    SQL.replace('table = "readings"', ""): "exactly one of table and query",
    SQL + 'query = "SELECT 1"': "exactly one of table and query",
    SQL + 'time = "iso"': "time: 'iso': is one of timestamp, datetime, date, yyyymmdd, epoch_s, epoch_ms",
    SQL + 'entity_type = "uuid"': "is text or integer",
    SQL + 'label = "name"': "a long table has both label and value",
    SQL + "fresh_s = -1": "fresh_s: must be 0 or more",
    SQL + "lag_limit_s = true": "must be a finite number",
    SQL + "fresh_s = inf": "must be a finite number",
    SQL + "tenants2 = []": "unknown",
    SQL.replace('["acme"]', "[]"): "tenants: must be a text, or a list of them",
    SQL.replace('channels = ["temperature"]', "channels = []"): "channels: must be a list of names, or a table",
    SQL + 'url_file = "/nowhere"': "url: is given twice",
    SQL.replace("url = ", 'url_file = "/nowhere" #'): "url_file: must name a text file",
    SQL.replace("url = ", "#"): "name the database: url or url_file",
    INFLUX.replace("scale = 0.001", "scale = 0"): "must not be 0",
    INFLUX.replace("scale = 0.001", "factor = 0.001"): "factor: a channel has a field",
    INFLUX.replace("http://", "influx://"): "begins with http:// or https://",
    FILES.replace("{entity}", "all"): "has {entity} in it, once",
    FILES.replace(".parquet", ".xlsx"): "ends with .csv or .parquet",
}


@pytest.mark.parametrize("told", WRONG, ids=WRONG.values())
def test_what_is_wrong_is_refused_with_the_fix_and_without_a_secret(told: str) -> None:
    with pytest.raises(CatalogueInvalid, match=WRONG[told]) as refused:
        read(told)
    assert "hidden" not in str(refused.value)
