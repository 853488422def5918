"""The star: a row for each step of a forecast, and one for the version that made it. What each column holds and how it is typed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

#: Values by what they are, before the mapping of a sink says in which column each goes.
Row = Mapping[str, Any]
Types = Mapping[str, TypeEngine[Any]]


class Facts(NamedTuple):
    """One forecast on its way into a sink."""

    model: Row
    #: At least one.
    steps: Sequence[Row]


class Document(TypeDecorator[Any]):
    """JSON where the column may be of a JSON type, and the same as text elsewhere: Postgres takes either into either."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(sa.JSON() if dialect.name == "postgresql" else sa.Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return value if dialect.name == "postgresql" or value is None else json.dumps(value)


_NAME, _MOMENT = sa.String(200), sa.DateTime(timezone=True)
_NUMBER: TypeEngine[Any] = sa.Double()
#: Of a step of a forecast.
FORECAST: Types = {
    #: Name of the tenant; a sink without this column belongs to one.
    "tenant": _NAME,
    "entity": _NAME,
    #: Name of the target; a sink without this column holds one.
    "target": _NAME,
    #: The last observation that the forecast was made from: with it, earlier forecasts of the same days are kept.
    "origin": _MOMENT,
    #: The moment forecast, and the day it falls on (UTC): one of the two, at least.
    "forecast_at": _MOMENT,
    "forecast_date": sa.Date(),
    "value": _NUMBER,
    "lower": _NUMBER,
    "upper": _NUMBER,
    #: Share of truths that lower and upper are to hold.
    "level": _NUMBER,
    #: Key of the version's row.
    "model_id": _NAME,
    #: Its semantic version, for who reads without a join.
    "version": _NAME,
    "created_at": _MOMENT,
}
#: Of a version; rows of this table are added once and never changed, as versions are.
MODEL: Types = {
    "model_id": _NAME,
    "tenant": _NAME,
    "entity": _NAME,
    #: Of the lineage.
    "name": _NAME,
    "version": _NAME,
    #: Family of its network: lstm, seq2seq.
    "type": _NAME,
    #: Who makes its forecasts: the blend that the network has a share in, or a naive baseline.
    "served_by": _NAME,
    "recipe": _NAME,
    "trained_at": _MOMENT,
    "data_until": _MOMENT,
    "metrics": Document(),
    "hyperparameters": Document(),
}
#: Without these a row says nothing, or cannot be traced.
NEEDED = {"forecasts": ("entity", "value", "model_id"), "models": ("model_id", "name", "version")}
#: What tells the rows of one forecast from those of another, as far as the table has it.
OWN = ("tenant", "entity", "target", "origin")
