"""Jobs on the wire: the one document of every kind of work, what was asked, how far it is, and what it brought."""

from __future__ import annotations

from marshmallow import fields, validate

from tasks.jobs import QUEUES
from tasks.problems import CATALOGUE
from webapp.schemas.fields import Decimal, In, Name, Out, Word
from webapp.schemas.pages import PageQuery, page_of
from webapp.schemas.shapes import DATE_TIME, SOMETIMES, numbered, shaped

KINDS = ("train", "pretrain", "import", "predict", "what_if", "backtest", "anomaly_train", "anomaly_detect", "readiness")
#: As the ledger keeps them.
STATES = ("queued", "running", "succeeded", "failed", "cancelled")
#: What a client reads: a running job that is asked to stop says so.
SHOWN_STATES = (*STATES, "cancelling")
#: Codes of a failed or cancelled job's own problem.
OUTCOMES = (
    "entity_not_found",
    "model_not_found",
    "version_not_found",
    "no_active_version",
    "version_pruned",
    "validation_failed",
    "insufficient_data",
    "artefact_corrupt",
    "storage_full",
    "source_unavailable",
    "source_unreadable",
    "internal",
    *(code for code, kind in CATALOGUE.items() if kind.in_jobs_only),
)
#: Those among them that a request for the result answers with 409: a 5xx would make clients and proxies ask again.
SETTLED = tuple(code for code in OUTCOMES if CATALOGUE[code].status >= 500)
JOB_ID = {"pattern": numbered("job")}


class BatchSpec(Out):
    """A batch: what was asked stands in its items."""

    items = fields.Integer(validate=validate.Range(1))


class Erased(Out):
    """Of a job whose entity was erased nothing is told."""


class ItemCounts(Out):
    """How many items of a batch are in each state; a state without any is left out."""

    total = fields.Integer()
    queued = fields.Integer(metadata=SOMETIMES)
    running = fields.Integer(metadata=SOMETIMES)
    succeeded = fields.Integer(metadata=SOMETIMES)
    failed = fields.Integer(metadata=SOMETIMES)
    cancelled = fields.Integer(metadata=SOMETIMES)


class ItemFailures(Out):
    """Items of a batch that failed for one reason."""

    code = fields.String(metadata={"description": "Of their problem."})
    count = fields.Integer()
    jobs = fields.List(
        fields.String(metadata=JOB_ID), metadata={"description": "The first of them, at most three; each says all in its `error`."}
    )


class Progress(Out):
    """How far a job is. Empty while it waits, and of a batch in lists."""

    phase = fields.String(metadata=SOMETIMES)
    fraction = fields.Float(validate=validate.Range(0, 1), metadata=SOMETIMES)
    fold = fields.Integer(metadata=SOMETIMES | {"description": "Of a backtest: the one that is being learned."})
    folds = fields.Integer(metadata=SOMETIMES)
    epoch = fields.Integer(metadata=SOMETIMES)
    epochs = fields.Integer(metadata=SOMETIMES | {"description": "Most epochs; early stopping usually ends sooner."})
    train_loss = fields.Float(metadata=SOMETIMES)
    val_loss = fields.Float(metadata=SOMETIMES | {"description": "On the rows held back for early stopping."})
    best_epoch = fields.Integer(metadata=SOMETIMES)
    scenarios = fields.Integer(metadata=SOMETIMES)
    entities = fields.Integer(metadata=SOMETIMES | {"description": "Of the training of a base: entities made ready so far."})
    items = fields.Dict(metadata=SOMETIMES | shaped("ItemCounts"))
    failures = fields.List(
        fields.Dict(metadata=shaped("ItemFailures")),
        metadata=SOMETIMES | {"description": "Of a batch, by reason, the most frequent first."},
    )


class BatchResult(Out):
    """What became of a batch."""

    total = fields.Integer()
    succeeded = fields.Integer()
    failed = fields.Integer()
    cancelled = fields.Integer()
    has_failures = fields.Boolean()


RESULTS = (
    "TrainResult",
    "PretrainResult",
    "ImportResult",
    "ForecastResult",
    "WhatIfResult",
    "BacktestResult",
    "AnomalyTrainResult",
    "AnomalyDetectResult",
    "Readiness",
    "BatchResult",
)


class Queue(Out):
    """Where a job waits. In lists `position` is always null: it is counted for one job at a time."""

    name = fields.String(validate=validate.OneOf(QUEUES))
    position = fields.Integer(allow_none=True, metadata={"description": "How many are ahead; null when not queued, and in lists."})


class Job(Out):
    """One asked-for piece of work. Test `terminal`, not the words of `state`.

    A row of a list is what the ledger holds: there `queue.position` is null, and so may be `estimated_finish_at`, a batch's `progress` is
    empty, and a running job's is that of its last heartbeat. `GET /jobs/{job_id}` tells all.
    """

    id = fields.String(metadata=JOB_ID)
    kind = fields.String(validate=validate.OneOf(KINDS))
    state = fields.String(validate=validate.OneOf(SHOWN_STATES))
    terminal = fields.Boolean(metadata={"description": "It has ended, as succeeded, failed or cancelled, and will not change any more."})
    rev = fields.Integer(metadata={"description": "Rises with each transition."})
    seq = fields.Integer(metadata={"description": "Rises with progress within `rev`."})
    created_at = fields.String(metadata=DATE_TIME)
    started_at = fields.String(allow_none=True, metadata=DATE_TIME | {"description": "When the last try began."})
    finished_at = fields.String(allow_none=True, metadata=DATE_TIME)
    expires_at = fields.String(allow_none=True, metadata=DATE_TIME | {"description": "When the row is purged."})
    entity = fields.String(allow_none=True, metadata={"description": "Null for a batch."})
    target = fields.String(allow_none=True, metadata={"description": "Null for a batch, and where nothing is forecast."})
    spec = fields.Dict(
        metadata=shaped(
            "TrainSpec",
            "PretrainSpec",
            "ImportSpec",
            "PredictSpec",
            "WhatIfSpec",
            "BacktestSpec",
            "AnomalyTrainSpec",
            "AnomalyDetectSpec",
            "ReadinessSpec",
            "BatchSpec",
            "Erased",
            description="What was asked, defaults filled in.",
        )
    )
    queue = fields.Nested(Queue)
    estimated_finish_at = fields.String(
        allow_none=True,
        metadata=DATE_TIME | {"description": "By the pace of late; null where nobody can say. In lists, told of running trainings alone."},
    )
    progress = fields.Dict(metadata=shaped("Progress"))
    attempt = fields.Integer(metadata={"description": "Tries so far."})
    max_attempts = fields.Integer()
    deduplicated = fields.Boolean(metadata={"description": "An unfinished job already asked for the same; this is that one."})
    retry_of = fields.String(allow_none=True, metadata={"description": "The job that this one tries again."})
    parent = fields.String(allow_none=True, metadata={"description": "The batch that this job is an item of."})
    batch = fields.Boolean(metadata={"description": "It has items, and no work of its own."})
    result = fields.Dict(
        allow_none=True, metadata=shaped(*RESULTS, description="Null until it has succeeded; of a batch, until it has ended.")
    )
    error = fields.Dict(
        allow_none=True, metadata=shaped("Problem", description="Why it failed, or why its last try did; without `instance`.")
    )
    warnings = fields.List(fields.Dict(metadata=shaped("Notice")))
    metadata = fields.Dict(metadata={"description": "The client's own, as it was submitted."})
    links = fields.Dict(
        values=fields.String(metadata={"format": "uri-reference"}), metadata={"description": "Paths: self, result, cancel …"}
    )


JobPage = page_of(Job)


class JobQuery(PageQuery):
    """Items of batches are listed only when an entity is asked for."""

    kind = Word(*KINDS, load_default=None, metadata={"description": "Only jobs of this kind."})
    state = Word(
        *STATES, load_default=None, metadata={"description": "Only jobs in this state; `running` finds those that are cancelling too."}
    )
    entity = Name(load_default=None, metadata={"description": "Only jobs about this entity, items of batches among them."})


class ItemQuery(PageQuery):
    state = Word(*STATES, load_default=None, metadata={"description": "Only items in this state."})


class WaitQuery(In):
    wait = Decimal(
        0,
        3600,
        load_default=0.0,
        metadata={"description": "Seconds to wait for a change; cut at the server's limit (30), and none where too many wait."},
    )


class Result(Out):
    """The result of a succeeded job; its members depend on the job's kind."""

    job = fields.String(metadata=JOB_ID)
    kind = fields.String(validate=validate.OneOf(KINDS))
    result = fields.Dict(allow_none=True, metadata=shaped(*RESULTS) | {"description": "Null once the entity it was about was erased."})
