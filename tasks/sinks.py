"""Forecasts on their way into a sink: which a tenant may name, and what stands in the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, Text, func, literal, select
from sqlalchemy.orm import Session

from db import tenants
from db.models import Json, Model, Version
from db.sinks.catalogue import Sink
from db.sinks.star import Facts, Row
from db.sinks.writer import Writer
from ml.errors import SpecInvalid
from tasks.orders import PredictOrder
from tasks.runtime import Runtime


class Sending(NamedTuple):
    """A forecast, the version that made it, and where it goes besides our own table."""

    sink: str | None
    tenant_id: str
    version_id: str
    forecast: Json

    @property
    def about(self) -> tuple[str, str]:
        return self.forecast["entity"], self.forecast["target"]

    @property
    def told(self) -> Json:
        if self.sink is None:
            return {}
        return {"sink": {"name": self.sink, "rows": len(self.forecast["points"]), "model_id": self.version_id}}


def require(runtime: Runtime, session: Session, tenant_id: str, order: PredictOrder) -> None:
    """Raises SpecInvalid for a sink that this tenant has none of, for one that holds another target, and for what no table should hold."""
    name = order.sink
    if name is None:
        return
    if order.future is not None:
        raise SpecInvalid("sink", name, "what is supposed by `future` is for this answer alone: leave one of the two out")
    theirs = usable(runtime.sinks, tenants.name_of(session, tenant_id))
    if name not in theirs:
        raise SpecInvalid("sink", name, f"unknown sink; known: {', '.join(sorted(theirs)) or 'none'}")
    only = theirs[name].target
    other = next((target for target in order.targets if only not in (None, target)), None)
    if other is not None:
        raise SpecInvalid("sink", name, f"it holds forecasts of {only} alone, not of {other}")


def usable(sinks: Mapping[str, Sink], tenant: str) -> Mapping[str, Sink]:
    """Those that are for everybody, and the tenant's own."""
    return {name: sink for name, sink in sinks.items() if sink.serves(tenant)}


def send(opened: Callable[[str], Writer], session: Session, sendings: Sequence[Sending]) -> list[Json]:
    """Put forecasts of one tenant into their sinks: what the result of each job says of that, nothing for one without a sink.

    To be called last in the transaction that publishes them, whose fences are held. Where it fails after this the rows are there and the
    jobs have not succeeded; their next try replaces them. Raises SinkUnavailable, SinkRefused.
    """
    sent = [each for each in sendings if each.sink is not None]
    if sent:
        _take_turns(session, sent)
        facts = _facts(session, sent)
        for name in sorted({str(each.sink) for each in sent}):
            # Of two that speak of the same the later one stands, as if they had come one after the other.
            last = {each.about: fact for each, fact in zip(sent, facts, strict=True) if each.sink == name}
            opened(name).replace(list(last.values()))
    return [each.told for each in sendings]


def _take_turns(session: Session, sent: Sequence[Sending]) -> None:
    """One job at a time writes the forecasts of a target of an entity, whatever the sink makes of two that replace the same rows."""
    whose = sorted({" ".join(("sink", str(each.sink), each.tenant_id, *each.about)) for each in sent})
    named = func.unnest(literal(whose, ARRAY(Text))).column_valued("whose")
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(named, 0)))).all()


def _facts(session: Session, sent: Sequence[Sending]) -> list[Facts]:
    """Versions are read anew and whole: who only forecasts by them has left out what is long."""
    owner = tenants.name_of(session, sent[0].tenant_id)
    asked = select(Version, Model.name).join(Model, Model.id == Version.model_id).where(Version.id.in_({each.version_id for each in sent}))
    made = {version.id: (version, name) for version, name in session.execute(asked)}
    return [
        Facts(model(owner, each.forecast["entity"], *made[each.version_id]), steps(owner, made[each.version_id][0], each.forecast))
        for each in sent
    ]


def model(owner: str, entity: str, version: Version, name: str) -> Row:
    """The version as a row of the model dimension."""
    return {
        "model_id": version.id,
        "tenant": owner,
        "entity": entity,
        "name": name,
        "version": version.semver,
        "type": version.spec["network"],
        "served_by": version.served_by,
        "recipe": version.recipe,
        "trained_at": version.created_at,
        "data_until": version.data_until,
        "metrics": version.metrics,
        "hyperparameters": version.spec,
    }


def steps(owner: str, version: Version, forecast: Json) -> list[Row]:
    """A row for each step of the forecast."""
    same: dict[str, Any] = {
        "tenant": owner,
        "entity": forecast["entity"],
        "target": forecast["target"],
        "origin": datetime.fromisoformat(forecast["data_until"]),
        "level": forecast["level"],
        "model_id": version.id,
        "version": version.semver,
        "created_at": datetime.fromisoformat(forecast["made_at"]),
    }
    return [same | _step(point) for point in forecast["points"]]


def _step(point: Json) -> dict[str, Any]:
    at = datetime.fromisoformat(point["at"])
    return {"forecast_at": at, "forecast_date": at.date(), **{name: point[name] for name in ("value", "lower", "upper")}}
