"""Templates: an order as a schedule keeps it, to be given again and again by whoever fires it, also by a process of another release.

An order is kept without whom it is about: names stand in rows of their own, and a selector finds them anew each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy.orm import Session

from db import entities
from db.errors import NotFound
from db.models import Json
from ml.formats import known, require_readable
from tasks import submit
from tasks.alarms import DetectOrder, WatchOrder
from tasks.jobs import FORMAT, AnomalyDetectJob, AnomalyTrainJob, BacktestJob, PredictJob, PretrainJob, TrainJob
from tasks.orders import BacktestOrder, BaseOrder, PredictOrder, PretrainOrder, TrainOrder
from tasks.placing import Asker, Submitted
from tasks.runtime import Runtime

Order = TrainOrder | PretrainOrder | PredictOrder | BacktestOrder | WatchOrder | DetectOrder


class Submits(Protocol):
    """A function of `tasks.submit`."""

    def __call__(self, runtime: Runtime, asker: Asker, order: Any, within: Session | None = None, /) -> Submitted: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be scheduled: an order, and the function that takes it."""

    order: type[Any]
    submit: Submits
    #: Raised with a field that a dispatcher of the release before must not pass over, as a job's.
    format: int = 1


#: By the kind of the job that is asked for. A prediction is a batch of them.
KINDS: Mapping[str, Kind] = {
    TrainJob.kind: Kind(TrainOrder, submit.train),
    PretrainJob.kind: Kind(PretrainOrder, submit.pretrain),
    PredictJob.kind: Kind(PredictOrder, submit.predict),
    BacktestJob.kind: Kind(BacktestOrder, submit.backtest),
    AnomalyTrainJob.kind: Kind(WatchOrder, submit.watch),
    AnomalyDetectJob.kind: Kind(DetectOrder, submit.detect),
}
#: Fields that say whom an order is about.
_WHOM = ("entity", "entities")
_MOMENTS = ("begin", "end")


def whom(order: Order) -> tuple[str, ...]:
    """The entities that it names."""
    return order.entities if isinstance(order, TrainOrder | PretrainOrder | PredictOrder) else (order.entity,)


def about(order: Order, names: Sequence[str]) -> Order:
    """The same of these entities."""
    if isinstance(order, TrainOrder | PretrainOrder | PredictOrder):
        return replace(order, entities=tuple(names))
    return replace(order, entity=names[0])


def written(kind: str, order: Order) -> Json:
    """As it is kept."""
    plain = {field.name: _plain(getattr(order, field.name)) for field in fields(order) if field.name not in _WHOM}
    return plain if KINDS[kind].format == 1 else {FORMAT: KINDS[kind].format} | plain


def read(kind: str, stored: Json, names: Sequence[str]) -> Order:
    """As it was given, of these entities. Raises NewerRelease for a kind or a format that this release does not know."""
    require_readable(f"The schedule of a {kind} job", int(stored.get(FORMAT, 1)), KINDS[kind].format if kind in KINDS else 0)
    order = KINDS[kind].order
    told: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in known(order, stored).items()}
    told |= {name: datetime.fromisoformat(told[name]) for name in _MOMENTS if told.get(name)}
    if told.get("base") is not None:
        told["base"] = BaseOrder(**known(BaseOrder, told["base"]))
    if any(field.name == "entities" for field in fields(order)):
        told["entities"] = tuple(names)
    else:
        told["entity"] = names[0]
    made: Order = order(**told)
    return made


def give(runtime: Runtime, session: Session, asker: Asker, kind: str, order: Order) -> Submitted:
    """Ask for the job in the caller's transaction. Raises as the function of `tasks.submit` does."""
    return KINDS[kind].submit(runtime, asker, order, session)


def meant(session: Session, tenant_id: str, selector: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of all that a selector means; raises NotFound where that is nobody."""
    names = tuple(entity.name for entity in entities.select(session, tenant_id, **selector))
    if not names:
        raise NotFound("entity", "matching the selector")
    return names


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return {field.name: getattr(value, field.name) for field in fields(value)} if isinstance(value, BaseOrder) else value
