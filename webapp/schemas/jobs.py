"""Jobs on the wire, and what every submission may carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from marshmallow import fields, validate

from webapp.schemas.fields import In, Name, Out, Plain, Word
from webapp.schemas.pages import PageQuery, page_of

Order = TypeVar("Order")


#: Headers that submissions read, for the OpenAPI document.
IDEMPOTENCY_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "The same key with the same body gets the same job for 24 hours; with another body, 422.",
}
PREFER = {
    "in": "header",
    "name": "Prefer",
    "schema": {"type": "string"},
    "description": "`wait=n`: seconds that the client would wait for the result.",
}


@dataclass(frozen=True, slots=True)
class Asked(Generic[Order]):
    """A checked submission: the order, and the client's own words that travel with the job."""

    order: Order
    metadata: Mapping[str, Any]


class Submission(In):
    """What every submission may carry."""

    metadata = Plain(load_default={}, metadata={"description": "Kept with the job and given back; at most 16 keys."})


class Queue(Out):
    name = fields.String()
    position = fields.Integer(allow_none=True, metadata={"description": "How many are ahead; null when not queued."})


class Job(Out):
    """One asked-for piece of work. Test `terminal`, not the words of `state`."""

    id = fields.String()
    kind = fields.String()
    state = fields.String(metadata={"description": "queued, running, cancelling, succeeded, failed or cancelled."})
    terminal = fields.Boolean()
    rev = fields.Integer()
    created_at = fields.String()
    started_at = fields.String(allow_none=True)
    finished_at = fields.String(allow_none=True)
    expires_at = fields.String(allow_none=True, metadata={"description": "When the row is purged."})
    entity = fields.String(allow_none=True)
    target = fields.String(allow_none=True)
    spec = fields.Dict(metadata={"description": "Effective values, defaults filled in."})
    queue = fields.Nested(Queue)
    estimated_finish_at = fields.String(allow_none=True)
    progress = fields.Dict()
    attempt = fields.Integer()
    max_attempts = fields.Integer()
    deduplicated = fields.Boolean(metadata={"description": "An unfinished job already asked for the same; this is that one."})
    retry_of = fields.String(allow_none=True)
    parent = fields.String(allow_none=True)
    result = fields.Dict(allow_none=True)
    error = fields.Dict(allow_none=True, metadata={"description": "A problem object."})
    warnings = fields.List(fields.Dict())
    metadata = fields.Dict()
    links = fields.Dict(values=fields.String())


JobPage = page_of(Job)

STATES = ("queued", "running", "succeeded", "failed", "cancelled")


class JobQuery(PageQuery):
    """Items of batches are listed only when an entity is asked for."""

    kind = Word("train", "predict", "what_if", load_default=None)
    state = Word(*STATES, load_default=None)
    entity = Name(load_default=None)


class ItemQuery(PageQuery):
    state = Word(*STATES, load_default=None)


class WaitQuery(In):
    wait = fields.Float(
        load_default=0.0,
        allow_nan=False,
        validate=validate.Range(0, 3600),
        metadata={"description": "Seconds to wait for a change; cut at the server's limit (30)."},
    )


class Result(Out):
    """The result of a succeeded job; its members depend on the job's kind."""

    job = fields.String()
    kind = fields.String()
    result = fields.Dict()
