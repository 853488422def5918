"""Entries of the audit on the wire."""

from __future__ import annotations

from marshmallow import fields, validate

from db.audit import ACTIONS
from webapp.schemas.fields import Moment, Out, Text, Word
from webapp.schemas.pages import PageQuery, page_of


class AuditQuery(PageQuery):
    """Which entries."""

    action = Word(*ACTIONS, load_default=None, metadata={"description": "Of this kind alone."})
    actor = Text(low=1, high=100, load_default=None, metadata={"description": "By this key alone, as `key:3c3fbe28727a`; or `operator`."})


class AuditEntry(Out):
    """That somebody did something. It names no entity and no secret, and never changes."""

    at = Moment()
    action = fields.String(validate=validate.OneOf(ACTIONS))
    subject = fields.String(
        metadata={"description": "Id of what it was done to: a key, a model, the receipt of an erasure, a webhook, a schedule."}
    )
    actor = fields.String(metadata={"description": "The key by its public part, or `operator`, who sits at the servers."})
    request_id = fields.String(allow_none=True, metadata={"description": "`X-Request-Id` of the request; null of a command."})
    about = fields.Dict(metadata={"description": "What else there is to say: `version`, `former`, `new_key`, `scopes` …, by action."})


AuditPage = page_of(AuditEntry)
