"""Runs of schedules on the wire: those to come, and what became of each."""

from __future__ import annotations

from marshmallow import fields, validate

from tasks.firing import FAILED, FIRED, SKIPPED, WAITING
from webapp.schemas.fields import Moment, Out
from webapp.schemas.pages import page_of


class NextRun(Out):
    """A run to come."""

    due_at = Moment(metadata={"description": "The moment of cron or interval, or the opening of the window that it waits for."})
    fires_at = Moment(metadata={"description": "With its jitter, or, of a run that found no room, when it is tried again."})


class ScheduleRun(Out):
    """What became of one due moment."""

    due_at = Moment()
    at = Moment(metadata={"description": "When it came to this state."})
    state = fields.String(
        validate=validate.OneOf((FIRED, WAITING, SKIPPED, FAILED)),
        metadata={"description": "`waiting`: it is tried again soon. `fired`: its job stands, and has a fate of its own."},
    )
    reason = fields.String(
        allow_none=True,
        metadata={
            "description": "Why it was not fired: `missed` (nobody was there, and the schedule says skip), `nobody` (nobody is meant any "
            "more, or the selector finds nobody), `none_due` (no condition holds), `window_shut`, `newer_release`, or the code of `error`."
        },
    )
    error = fields.Nested("Problem", allow_none=True, metadata={"description": "Null, too, once an entity that it may tell of was erased."})
    job = fields.String(attribute="job_id", allow_none=True, metadata={"description": "What was asked for; null once it was purged."})
    entities = fields.Integer(allow_none=True, metadata={"description": "How many were meant."})
    due = fields.Integer(allow_none=True, metadata={"description": "How many of them the job is about."})
    why = fields.Dict(
        values=fields.Integer(),
        allow_none=True,
        metadata={"description": "How many by each condition, by `no_active_version`, and, not due, by `under_way`: trained already."},
    )
    passed_over = fields.Integer(metadata={"description": "Later runs that it stands for, since nobody was there; 1,000 or more as 1,000."})
    links = fields.Dict(values=fields.String(metadata={"format": "uri-reference"}), metadata={"description": "Path of the job, if any."})


ScheduleRunPage = page_of(ScheduleRun)
