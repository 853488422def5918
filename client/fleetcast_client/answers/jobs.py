"""Jobs: where one stands, and the events of its course."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetcast_client.answers.anomalies import AnomalyDetectResult, AnomalyDetectSpec, AnomalyTrainResult, AnomalyTrainSpec
from fleetcast_client.answers.backtests import BacktestResult
from fleetcast_client.answers.entities import Readiness
from fleetcast_client.answers.forecasts import ForecastResult, Notice, WhatIfResult
from fleetcast_client.answers.models import ImportResult, PretrainResult, TrainResult
from fleetcast_client.answers.problems import ProblemDetails
from fleetcast_client.answers.specs import (
    BacktestSpec,
    BatchSpec,
    Erased,
    ImportSpec,
    PredictSpec,
    PretrainSpec,
    ReadinessSpec,
    TrainSpec,
    WhatIfSpec,
)
from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class Queue(Answer):
    """Where a job waits. In lists `position` is always null: it is counted for one job at a time."""

    name: str
    #: How many are ahead; null when not queued, and in lists.
    position: int | None


@dataclass(frozen=True, kw_only=True)
class ItemCounts(Answer):
    """How many items of a batch are in each state; a state without any is left out."""

    total: int
    queued: int | None = None
    running: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    cancelled: int | None = None


@dataclass(frozen=True, kw_only=True)
class ItemFailures(Answer):
    """Items of a batch that failed for one reason."""

    #: Of their problem.
    code: str
    count: int
    #: The first of them, at most three; each says all in its `error`.
    jobs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Progress(Answer):
    """How far a job is. Empty while it waits, and of a batch in lists."""

    phase: str | None = None
    fraction: float | None = None
    #: Of a backtest: the one that is being learned.
    fold: int | None = None
    folds: int | None = None
    epoch: int | None = None
    #: Most epochs; early stopping usually ends sooner.
    epochs: int | None = None
    train_loss: float | None = None
    #: On the rows held back for early stopping.
    val_loss: float | None = None
    best_epoch: int | None = None
    scenarios: int | None = None
    #: Of the training of a base: entities made ready so far.
    entities: int | None = None
    items: ItemCounts | None = None
    #: Of a batch, by reason, the most frequent first.
    failures: tuple[ItemFailures, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class BatchResult(Answer):
    """What became of a batch."""

    total: int
    succeeded: int
    failed: int
    cancelled: int
    has_failures: bool


#: By kind of job, and of a batch; `Erased` once the entity was.
Asked = (
    TrainSpec
    | PretrainSpec
    | ImportSpec
    | PredictSpec
    | WhatIfSpec
    | BacktestSpec
    | AnomalyTrainSpec
    | AnomalyDetectSpec
    | ReadinessSpec
    | BatchSpec
    | Erased
)
Result = (
    TrainResult
    | PretrainResult
    | ImportResult
    | ForecastResult
    | WhatIfResult
    | BacktestResult
    | AnomalyTrainResult
    | AnomalyDetectResult
    | Readiness
    | BatchResult
)


@dataclass(frozen=True, kw_only=True)
class JobStatus(Answer):
    """One asked-for piece of work. Test `terminal`, not the words of `state`.

    A row of a list is what the ledger holds: there `queue.position` is null, and so may be `estimated_finish_at`, a batch's `progress` is
    empty, and a running job's is that of its last heartbeat. `GET /jobs/{job_id}` tells all.
    """

    id: str
    kind: str
    state: str
    #: It has ended, as succeeded, failed or cancelled, and will not change any more.
    terminal: bool
    #: Rises with each transition.
    rev: int
    #: Rises with progress within `rev`.
    seq: int
    created_at: datetime
    #: When the last try began.
    started_at: datetime | None
    finished_at: datetime | None
    #: When the row is purged.
    expires_at: datetime | None
    #: Null for a batch.
    entity: str | None
    #: Null for a batch, and where nothing is forecast.
    target: str | None
    #: What was asked, defaults filled in.
    spec: Asked
    queue: Queue
    #: By the pace of late; null where nobody can say. In lists, told of running trainings alone.
    estimated_finish_at: datetime | None
    progress: Progress
    #: Tries so far.
    attempt: int
    max_attempts: int
    #: An unfinished job already asked for the same; this is that one.
    deduplicated: bool
    #: The job that this one tries again.
    retry_of: str | None
    #: The batch that this job is an item of.
    parent: str | None
    #: It has items, and no work of its own.
    batch: bool
    #: Null until it has succeeded; of a batch, until it has ended.
    result: Result | None
    #: Why it failed, or why its last try did; without `instance`.
    error: ProblemDetails | None
    warnings: tuple[Notice, ...]
    #: The client's own, as it was submitted.
    metadata: Mapping[str, Any]
    #: Paths: self, result, cancel …
    links: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class EventState(Answer):
    """What changes in a job while it goes on. It went to another state, or another try began."""

    id: str
    #: Of a job that ended, `end` tells.
    state: str
    #: Rises with each transition.
    rev: int
    #: Rises with progress within `rev`.
    seq: int
    #: Tries so far.
    attempt: int
    estimated_finish_at: datetime | None
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class EventProgress(EventState):
    """What changes in a job while it goes on. It is further in the same state; not every step is told."""


@dataclass(frozen=True, kw_only=True)
class EventMetric(Answer):
    """An epoch of a training ended. Each is told, some together where they are short."""

    #: The try that it belongs to: another one begins again at the first epoch.
    attempt: int
    #: Of a backtest: each fold is a training of its own.
    fold: int | None = None
    epoch: int
    #: Most epochs; early stopping usually ends sooner.
    epochs: int
    train_loss: float
    #: On the rows held back for early stopping.
    val_loss: float
    #: The one with the least `val_loss` so far.
    best_epoch: int


@dataclass(frozen=True, kw_only=True)
class EventItem(Answer):
    """An item of a batch ended."""

    job: str
    entity: str | None
    target: str | None
    state: str
    #: Why it failed; without `instance`.
    error: ProblemDetails | None
    #: Of the batch, counted anew once a second.
    items: ItemCounts


@dataclass(frozen=True, kw_only=True)
class EventWarning(Notice):
    """One of the job's `warnings`, told just before its end."""


@dataclass(frozen=True, kw_only=True)
class EventReset(Answer):
    """What came after the client's Last-Event-ID is not known any more: forget what was heard. A `snapshot` follows."""

    detail: str
