"""The operator's TOML file of sinks, read into frozen values. What cannot be used is refused with the table, the field and the fix."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from db.errors import CatalogueInvalid, SinkUnavailable
from db.sinks import star
from db.sources.configs import EVERYBODY

#: Table of a sink -> what its columns may hold.
STAR: Mapping[str, star.Types] = {"forecasts": star.FORECAST, "models": star.MODEL}
#: Names of the tables, where the file gives none.
TABLES = {"forecasts": "forecast", "models": "forecast_model"}
_SINK = ("url", "url_file", "tenants", "target", "schema", "timeout_s", *STAR)
_TABLE = ("table", "columns")
#: Longest statement: a write is waited for by a transaction of ours, which Postgres ends after a minute.
LONGEST_S = 15.0


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    #: What a column holds -> its name. What is not here is not written.
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sink:
    name: str
    #: Names of the tenants that may name it, or `*`. There is no default: who may write there is for the operator to say.
    tenants: tuple[str, ...]
    forecasts: Table
    models: Table
    #: The URL itself, or the file that it is read from when the sink is opened.
    url: str = field(default="", repr=False)
    url_file: str = ""
    schema: str | None = None
    #: What it holds, where its table has no column that says so.
    target: str | None = None
    timeout_s: float = LONGEST_S

    def serves(self, tenant: str) -> bool:
        return EVERYBODY in self.tenants or tenant in self.tenants

    def address(self) -> str:
        """The URL. Raises SinkUnavailable where its file cannot be read."""
        if self.url:
            return self.url
        try:
            return Path(self.url_file).read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise SinkUnavailable(f"Sink {self.name}: its url_file {self.url_file} is no text file that this user can read.") from None


def read(content: str) -> Mapping[str, Sink]:
    """The sinks of a file, by name. Raises CatalogueInvalid."""
    try:
        told = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise CatalogueInvalid("sinks", f"the file is no TOML: {error}") from None
    _require_known("", told, ("sinks",))
    return {name: _sink(name, table) for name, table in _table("sinks", told.get("sinks", {})).items()}


def _sink(name: str, told: Any) -> Sink:
    where = f"sinks.{name}"
    given = _table(where, told)
    _require_known(where, given, _SINK)
    texts: dict[str, Any] = {
        key: _text(f"{where}.{key}", given[key]) for key in ("url", "url_file", "schema", "tenant", "target") if key in given
    }
    if ("url" in texts) == ("url_file" in texts):
        raise CatalogueInvalid(where, "names its database by `url`, or by `url_file`, a file with the URL in it: one of the two")
    forecasts, models = (_mapped(where, kind, given.get(kind, {})) for kind in STAR)
    timeout_s = _seconds(f"{where}.timeout_s", given.get("timeout_s", LONGEST_S))
    made = replace(Sink(name, _tenants(where, given.get("tenants")), forecasts, models, timeout_s=timeout_s), **texts)
    _require_told_apart(where, made)
    return made


def _mapped(where: str, kind: str, told: Any) -> Table:
    """All columns under their own names, or those that are named, under the names given."""
    where = f"{where}.{kind}"
    given = _table(where, told)
    _require_known(where, given, _TABLE)
    columns = _table(f"{where}.columns", given.get("columns", {held: held for held in STAR[kind]}))
    _require_known(f"{where}.columns", columns, STAR[kind])
    missing = [held for held in star.NEEDED[kind] if held not in columns]
    if missing:
        raise CatalogueInvalid(f"{where}.columns", f"names no column for {', '.join(missing)}, without which a row says nothing")
    named = {held: _text(f"{where}.columns.{held}", column) for held, column in columns.items()}
    if len(set(named.values())) < len(named):
        raise CatalogueInvalid(f"{where}.columns", "names a column twice")
    return Table(_text(f"{where}.table", given.get("table", TABLES[kind])), named)


def _require_told_apart(where: str, sink: Sink) -> None:
    """Rows of two tenants, or of two targets, must not replace each other; and of a row it must be known when it speaks of."""
    held = sink.forecasts.columns
    if "tenant" not in held and (len(sink.tenants) > 1 or EVERYBODY in sink.tenants):
        raise CatalogueInvalid(f"{where}.tenants", "its forecasts have no column for the tenant: map one, or name a single tenant here")
    if "target" not in held and sink.target is None:
        raise CatalogueInvalid(
            f"{where}.target", "its forecasts have no column for the target: map one, or name here the one that they are of"
        )
    if "forecast_at" not in held and "forecast_date" not in held:
        raise CatalogueInvalid(f"{where}.forecasts.columns", "maps forecast_date (a day) or forecast_at (a moment): one, at least")


def _tenants(where: str, told: Any) -> tuple[str, ...]:
    names = [told] if isinstance(told, str) else told
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise CatalogueInvalid(f"{where}.tenants", 'names the tenants that may write there, or is ["*"]')
    return tuple(names)


def _require_known(where: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    for key in sorted(given.keys() - set(known)):
        raise CatalogueInvalid(f"{where}.{key}".lstrip("."), f"unknown; known here: {', '.join(known)}")


def _table(where: str, told: Any) -> Mapping[str, Any]:
    if not isinstance(told, dict):
        raise CatalogueInvalid(where, "must be a table")
    return told


def _text(where: str, told: Any) -> str:
    if not isinstance(told, str) or not told.strip():
        raise CatalogueInvalid(where, "must be a text that is not empty")
    return told


def _seconds(where: str, told: Any) -> float:
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 < told <= LONGEST_S:
        raise CatalogueInvalid(where, f"must be a number of seconds, {LONGEST_S:g} at most")
    return float(told)
