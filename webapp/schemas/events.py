"""Events on the wire: what each brings as data. `snapshot` and `end` bring the job itself."""

from __future__ import annotations

from marshmallow import fields, validate

from webapp.schemas.fields import Out
from webapp.schemas.jobs import JOB_ID
from webapp.schemas.shapes import DATE_TIME, SOMETIMES, Notice, shaped


class EventState(Out):
    """What changes in a job while it goes on. It went to another state, or another try began."""

    id = fields.String(metadata=JOB_ID)
    state = fields.String(
        validate=validate.OneOf(("queued", "running", "cancelling")), metadata={"description": "Of a job that ended, `end` tells."}
    )
    rev = fields.Integer(metadata={"description": "Rises with each transition."})
    seq = fields.Integer(metadata={"description": "Rises with progress within `rev`."})
    attempt = fields.Integer(metadata={"description": "Tries so far."})
    estimated_finish_at = fields.String(allow_none=True, metadata=DATE_TIME)
    progress = fields.Dict(metadata=shaped("Progress"))


class EventProgress(EventState):
    """What changes in a job while it goes on. It is further in the same state; not every step is told."""


class EventMetric(Out):
    """An epoch of a training ended. Each is told, some together where they are short."""

    attempt = fields.Integer(metadata={"description": "The try that it belongs to: another one begins again at the first epoch."})
    fold = fields.Integer(metadata=SOMETIMES | {"description": "Of a backtest: each fold is a training of its own."})
    epoch = fields.Integer()
    epochs = fields.Integer(metadata={"description": "Most epochs; early stopping usually ends sooner."})
    train_loss = fields.Float()
    val_loss = fields.Float(metadata={"description": "On the rows held back for early stopping."})
    best_epoch = fields.Integer(metadata={"description": "The one with the least `val_loss` so far."})


class EventItem(Out):
    """An item of a batch ended."""

    job = fields.String(metadata=JOB_ID)
    entity = fields.String(allow_none=True)
    target = fields.String(allow_none=True)
    state = fields.String(validate=validate.OneOf(("succeeded", "failed", "cancelled")))
    error = fields.Dict(allow_none=True, metadata=shaped("Problem", description="Why it failed; without `instance`."))
    items = fields.Dict(metadata=shaped("ItemCounts", description="Of the batch, counted anew once a second."))


class EventWarning(Notice):
    """One of the job's `warnings`, told just before its end."""


class EventReset(Out):
    """What came after the client's Last-Event-ID is not known any more: forget what was heard. A `snapshot` follows."""

    detail = fields.String()
