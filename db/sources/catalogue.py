"""The operator's sources: the tables of a TOML file, as frozen values. Strict: what is not known is refused, with the fix.

Imports no numeric library and no driver: a source is opened when it is first read.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from db.errors import CatalogueInvalid
from db.sources.moments import FORMS
from db.sources.source import Channel

#: The name of our own observations, which no file can take.
BUILT_IN = "stored"
#: Whoever asks.
EVERYBODY = "*"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
#: A field of a config whose value may lie in a file: `url_file` beside `url`.
_BESIDE = "_file"


def _secret() -> Any:
    """A field that may hold a password: no `repr` shows it, and it may be read from a file."""
    return field(default="", repr=False, metadata={"secret": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What every source says of itself."""

    kind: ClassVar[str]
    #: The web process measures it by itself; otherwise a worker does.
    light: ClassVar[bool] = True
    name: str
    #: Names of the tenants that may read it, or `*`. There is no default: whose data they are is for the operator to say.
    tenants: tuple[str, ...]
    channels: Mapping[str, Channel]
    #: For so many seconds an answer made from it is given again: nobody tells us of its new rows.
    fresh_s: float = 60.0
    #: Further behind it is not read; 0 never asks.
    lag_limit_s: float = 0.0

    def serves(self, tenant: str) -> bool:
        return EVERYBODY in self.tenants or tenant in self.tenants


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlConfig(Config):
    """A table, or the rows of the operator's own `query`, in any database that SQLAlchemy knows."""

    kind: ClassVar[str] = "sql"
    url: str = _secret()
    table: str = ""
    query: str = ""
    #: Columns: whose row it is, when, and, of a long table, which channel's and the value.
    entity: str
    at: str
    label: str = ""
    value: str = ""
    #: How `at` is written.
    time: str = "timestamp"
    #: `integer` where entities are numbers there.
    entity_type: str = "text"
    #: A condition that rows have to meet, in that database's SQL.
    where: str = ""
    #: A statement whose one value is the lag in seconds; Postgres needs none.
    lag_query: str = ""

    def __post_init__(self) -> None:
        _require(self.name, "url", self.url, bool(self.url), "name the database: url or url_file")
        _require(self.name, "table", self.table, bool(self.table) != bool(self.query), "give exactly one of table and query")
        _require(self.name, "time", self.time, self.time in FORMS, f"is one of {', '.join(FORMS)}")
        _require(self.name, "entity_type", self.entity_type, self.entity_type in ("text", "integer"), "is text or integer")
        _require(self.name, "value", self.value, bool(self.label) == bool(self.value), "a long table has both label and value")


@dataclass(frozen=True, slots=True, kw_only=True)
class InfluxConfig(Config):
    """A measurement of an InfluxDB 1.x, or of a later one that answers in InfluxQL."""

    kind: ClassVar[str] = "influx"
    url: str
    database: str
    measurement: str
    #: The tag that says whose a point is, and the one that says which tenant's, if there is one.
    tag: str
    tenant_tag: str = ""
    username: str = ""
    password: str = _secret()
    #: A condition that points have to meet, in InfluxQL.
    where: str = ""

    def __post_init__(self) -> None:
        _require(self.name, "url", self.url, self.url.startswith(("http://", "https://")), "begins with http:// or https://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Influx2Config(Config):
    """A measurement in a bucket of an InfluxDB 2.x."""

    kind: ClassVar[str] = "influx2"
    #: Its client brings libraries that the web process has not.
    light: ClassVar[bool] = False
    url: str
    token: str = _secret()
    org: str
    bucket: str
    measurement: str
    tag: str

    def __post_init__(self) -> None:
        _require(self.name, "url", self.url, self.url.startswith(("http://", "https://")), "begins with http:// or https://")
        _require(self.name, "token", "", bool(self.token), "give token or token_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Influx3Config(Config):
    """A table of an InfluxDB 3.x."""

    kind: ClassVar[str] = "influx3"
    #: Its client speaks Arrow Flight, which the web process has not.
    light: ClassVar[bool] = False
    url: str
    token: str = _secret()
    database: str
    table: str
    #: The tag that says whose a row is, and the one that says which tenant's, if there is one.
    tag: str
    tenant_tag: str = ""
    #: A condition that rows have to meet, in its SQL.
    where: str = ""

    def __post_init__(self) -> None:
        _require(self.name, "url", self.url, self.url.startswith(("http://", "https://")), "begins with http:// or https://")
        _require(self.name, "token", "", bool(self.token), "give token or token_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesConfig(Config):
    """A CSV or Parquet file for each entity, on a disk or in an object store."""

    kind: ClassVar[str] = "files"
    #: It takes the numeric libraries to read them.
    light: ClassVar[bool] = False
    #: As fsspec reads it, with {entity} in it: s3://plants/{entity}.parquet.
    path: str
    at: str
    time: str = "timestamp"
    #: What the storage wants to be told: an endpoint, a key. Better left to the environment of the workers where that has it.
    storage: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        _require(self.name, "path", self.path, self.path.count("{entity}") == 1, "has {entity} in it, once")
        _require(self.name, "path", self.path, self.path.endswith((".csv", ".parquet")), "ends with .csv or .parquet")
        _require(self.name, "time", self.time, self.time in FORMS, f"is one of {', '.join(FORMS)}")


#: By `kind` in the file.
KINDS: Mapping[str, type[Config]] = {kind.kind: kind for kind in (SqlConfig, InfluxConfig, Influx2Config, Influx3Config, FilesConfig)}


def read(content: str) -> Mapping[str, Config]:
    """The sources of a file of tables `[sources.<name>]`. Raises CatalogueInvalid naming the table, the field and the fix."""
    try:
        told = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise CatalogueInvalid("the file", f"is no TOML: {error}") from None
    beside = sorted(told.keys() - {"sources"})
    if beside or not isinstance(told.get("sources", {}), dict):
        raise CatalogueInvalid(beside[0] if beside else "sources", "the file holds tables named [sources.<name>] and nothing else")
    return {name: _config(name, table) for name, table in told.get("sources", {}).items()}


def _config(name: str, table: Any) -> Config:
    if name == BUILT_IN or not _NAME.fullmatch(name):
        _refuse(name, f"a name has small letters, digits, - and _, and {BUILT_IN} is taken")
    if not isinstance(table, dict):
        _refuse(name, "must be a table")
    made = KINDS.get(str(table.get("kind")))
    if made is None:
        _refuse(f"{name}.kind", f"{table.get('kind')!r} is none of {', '.join(KINDS)}")
    return made(name=name, **_fields(name, made, _with_files(name, made, {k: v for k, v in table.items() if k != "kind"})))


def _with_files(name: str, made: type[Config], table: Mapping[str, Any]) -> dict[str, Any]:
    """Secrets whose `…_file` names a file, read from there."""
    found = dict(table)
    for secret in (each.name for each in fields(made) if each.metadata.get("secret")):
        file = found.pop(secret + _BESIDE, None)
        if file is None:
            continue
        if secret in found:
            _refuse(f"{name}.{secret}", f"is given twice: leave out {secret} or {secret}{_BESIDE}")
        try:
            found[secret] = Path(file).read_text().strip()
        except (OSError, TypeError, UnicodeDecodeError):
            _refuse(f"{name}.{secret}{_BESIDE}", "must name a text file that this user can read")
    return found


def _fields(name: str, made: type[Config], table: Mapping[str, Any]) -> dict[str, Any]:
    known = {each.name: each for each in fields(made) if each.name != "name"}
    for unknown in sorted(table.keys() - known.keys()):
        _refuse(f"{name}.{unknown}", f"unknown; known: {', '.join(known)}")
    for missing in (each.name for each in known.values() if each.default is each.default_factory is MISSING and each.name not in table):
        _refuse(f"{name}.{missing}", _MISSING.get(missing, "is missing"))
    return {key: _READERS[str(known[key].type)](f"{name}.{key}", value) for key, value in table.items()}


_MISSING: Mapping[str, str] = {
    "tenants": 'is missing: name the tenants that may read it, or write ["*"]',
    "channels": "is missing: name each channel and the field that holds it",
}


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        _refuse(where, "must be text")
    return value


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        _refuse(where, "must be a finite number")
    return float(value)


def _seconds(where: str, value: Any) -> float:
    seconds = _number(where, value)
    if seconds < 0:
        _refuse(where, "must be 0 or more")
    return seconds


def _texts(where: str, value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found or not all(isinstance(each, str) and each for each in found):
        _refuse(where, "must be a text, or a list of them")
    return tuple(found)


def _table(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        _refuse(where, "must be a table")
    return value


def _channels(where: str, value: Any) -> Mapping[str, Channel]:
    """A list of names that are the same there, or a table of `<channel> = <field>`, `[<field>, …]`, `{field = …, scale = …}`."""
    table = dict.fromkeys(value) if isinstance(value, list) and all(isinstance(each, str) for each in value) else value
    if not isinstance(table, dict) or not table:
        _refuse(where, "must be a list of names, or a table with a field for each channel")
    return {name: _channel(f"{where}.{name}", name if told is None else told) for name, told in table.items()}


def _channel(where: str, told: Any) -> Channel:
    if not isinstance(told, dict):
        return Channel(_texts(where, told))
    unknown = sorted(told.keys() - {"field", "scale", "offset"})
    if unknown or "field" not in told:
        _refuse(where, f"{unknown[0] if unknown else 'field'}: a channel has a field, and may have scale and offset")
    scale = _number(f"{where}.scale", told.get("scale", 1.0))
    _require(where, "scale", scale, scale != 0, "must not be 0")
    return Channel(_texts(f"{where}.field", told["field"]), scale, _number(f"{where}.offset", told.get("offset", 0.0)))


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "str": _text,
    "float": _seconds,
    "tuple[str, ...]": _texts,
    "Mapping[str, Channel]": _channels,
    "Mapping[str, Any]": _table,
}


def _require(name: str, key: str, value: object, held: bool, fix: str) -> None:
    if not held:
        shown = "" if key == "url" else f"{value!r}: "
        _refuse(f"{name}.{key}", shown + fix)


def _refuse(where: str, fix: str) -> NoReturn:
    raise CatalogueInvalid(f"sources.{where}", fix)
