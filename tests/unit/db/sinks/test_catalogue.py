"""A file of sinks is read whole or refused with the field and the fix, and tells no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from db.errors import CatalogueInvalid, SinkUnavailable
from db.sinks import star
from db.sinks.catalogue import read

WAREHOUSE = """
[sinks.warehouse]
url_file = "/run/secrets/warehouse_url"
schema = "Prices"
tenants = ["shop"]
target = "price"

[sinks.warehouse.forecasts]
table = "FactPriceForecast"
columns = { entity = "variant_id", forecast_date = "forecast_date", value = "predicted_price", model_id = "model_id" }

[sinks.warehouse.models]
table = "DimModel"
columns = { model_id = "model_id", name = "model_name", version = "model_version", metrics = "performance_metrics_json" }
"""


def test_a_sink_is_read_as_it_stands_in_the_file() -> None:
    [sink] = read(WAREHOUSE).values()
    assert (sink.name, sink.schema, sink.tenants, sink.target) == ("warehouse", "Prices", ("shop",), "price")
    assert sink.forecasts.name == "FactPriceForecast"
    assert sink.forecasts.columns["value"] == "predicted_price"
    assert "created_at" not in sink.forecasts.columns, "what is not mapped is not written"


def test_without_a_mapping_every_column_is_there_under_its_own_name() -> None:
    [sink] = read('[sinks.plain]\ntenants = "*"\nurl = "sqlite:///x.db"').values()
    assert sink.forecasts.columns == {held: held for held in star.FORECAST}
    assert sink.models.columns == {held: held for held in star.MODEL}


@pytest.mark.parametrize("content", ["", "# nothing\n", "[sinks]\n"])
def test_a_file_without_sinks_is_none(content: str) -> None:
    assert read(content) == {}


@pytest.mark.parametrize(
    ("change", "field", "fix"),
    [
        (('url_file = "/run', 'uri_file = "/run'), "sinks.warehouse.uri_file", "known here: url, url_file, tenants"),
        (('url_file = "/run/secrets/warehouse_url"', ""), "sinks.warehouse", "one of the two"),
        (('schema = "Prices"', 'url = "sqlite://"'), "sinks.warehouse", "one of the two"),
        (('tenants = ["shop"]', ""), "sinks.warehouse.tenants", 'or is ["*"]'),
        (('tenants = ["shop"]', 'tenants = "*"'), "sinks.warehouse.tenants", "name a single tenant"),
        (('tenants = ["shop"]', 'tenants = ["shop", "stall"]'), "sinks.warehouse.tenants", "name a single tenant"),
        (('target = "price"', ""), "sinks.warehouse.target", "name here the one"),
        (('target = "price"', "target = 3"), "sinks.warehouse.target", "must be a text"),
        (('schema = "Prices"', "timeout_s = 60"), "sinks.warehouse.timeout_s", "15 at most"),
        (
            ('value = "predicted_price"', 'price = "predicted_price"'),
            "sinks.warehouse.forecasts.columns.price",
            "known here: tenant, entity",
        ),
        (('value = "predicted_price", ', ""), "sinks.warehouse.forecasts.columns", "no column for value"),
        (('forecast_date = "forecast_date", ', ""), "sinks.warehouse.forecasts.columns", "forecast_at (a moment)"),
        (('value = "predicted_price"', 'value = "model_id"'), "sinks.warehouse.forecasts.columns", "a column twice"),
        (('table = "DimModel"', 'table = ""'), "sinks.warehouse.models.table", "not empty"),
        (("[sinks.warehouse]", "[sink.warehouse]"), "sink", "known here: sinks"),
        (("[sinks.warehouse]", "[sinks.warehouse"), "sinks", "is no TOML"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_field_and_the_fix(change: tuple[str, str], field: str, fix: str) -> None:
    with pytest.raises(CatalogueInvalid) as refused:
        read(WAREHOUSE.replace(*change))
    assert str(refused.value).startswith(f"{field}: ")
    assert fix in str(refused.value)


def test_no_word_of_a_refusal_or_of_a_sink_is_a_secret() -> None:
    secret = "postgresql://writer:geheim@warehouse/prices"
    [sink] = read(f'[sinks.x]\ntenants = "*"\nurl = "{secret}"').values()
    assert sink.address() == secret
    assert "geheim" not in repr(sink)
    for key in ("password", "url_file"):
        with pytest.raises(CatalogueInvalid) as refused:
            read(f'[sinks.x]\ntenants = "*"\nurl = "{secret}"\n{key} = "geheim"')
        assert "geheim" not in str(refused.value)


def test_a_url_may_stand_in_a_file_of_its_own_which_is_read_when_the_sink_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "url"
    [sink] = read(f'[sinks.x]\ntenants = "*"\nurl_file = "{file}"').values()
    with pytest.raises(SinkUnavailable, match="is no text file"):
        sink.address()
    file.write_text("sqlite:///x.db\n")
    assert sink.address() == "sqlite:///x.db"
