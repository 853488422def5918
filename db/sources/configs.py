"""What a source says of itself: a frozen value for each kind, which refuses what cannot be, with the fix.

Imports no numeric library and no driver: a source is opened when it is first read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

from db.errors import CatalogueInvalid
from db.sources.moments import FORMS
from db.sources.source import Channel

#: The name of our own observations, which no file can take.
BUILT_IN = "stored"
#: Whoever asks.
EVERYBODY = "*"


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
        require(self.name, "url", self.url, bool(self.url), "name the database: url or url_file")
        require(self.name, "table", self.table, bool(self.table) != bool(self.query), "give exactly one of table and query")
        require(self.name, "time", self.time, self.time in FORMS, f"is one of {', '.join(FORMS)}")
        require(self.name, "entity_type", self.entity_type, self.entity_type in ("text", "integer"), "is text or integer")
        require(self.name, "value", self.value, bool(self.label) == bool(self.value), "a long table has both label and value")


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
        _require_server(self.name, self.url)


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
        _require_server(self.name, self.url)
        _require_token(self.name, self.token)


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
        _require_server(self.name, self.url)
        _require_token(self.name, self.token)


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
        require(self.name, "path", self.path, self.path.count("{entity}") == 1, "has {entity} in it, once")
        require(self.name, "path", self.path, self.path.endswith((".csv", ".parquet")), "ends with .csv or .parquet")
        require(self.name, "time", self.time, self.time in FORMS, f"is one of {', '.join(FORMS)}")


#: By `kind` in the file.
KINDS: Mapping[str, type[Config]] = {kind.kind: kind for kind in (SqlConfig, InfluxConfig, Influx2Config, Influx3Config, FilesConfig)}


def require(name: str, key: str, value: object, held: bool, fix: str) -> None:
    """Refuse what does not hold. A URL is not shown: it may have a password in it."""
    if not held:
        shown = "" if key == "url" else f"{value!r}: "
        refuse(f"{name}.{key}", shown + fix)


def _require_server(name: str, url: str) -> None:
    require(name, "url", url, url.startswith(("http://", "https://")), "begins with http:// or https://")


def _require_token(name: str, token: str) -> None:
    require(name, "token", "", bool(token), "give token or token_file")


def refuse(where: str, fix: str) -> NoReturn:
    """Raises CatalogueInvalid."""
    raise CatalogueInvalid(f"sources.{where}", fix)
