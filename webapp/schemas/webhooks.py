"""Webhooks on the wire: where news goes, and what became of it."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from db.deliveries import TEST
from db.models import DELIVERED, FAILED, PENDING
from db.webhooks import TYPES
from webapp.schemas.fields import In, Moment, Out, Several, Text, Word
from webapp.schemas.pages import PageQuery, page_of
from webapp.schemas.shapes import DATE_TIME, numbered, shaped

STATES = (PENDING, DELIVERED, FAILED)
WEBHOOK_ID = {"pattern": numbered("whk")}
DELIVERY_ID = {"pattern": "^msg_[0-9a-f]{32}$"}
SECRET: dict[str, Any] = {
    "pattern": "^whsec_[A-Za-z0-9+/]{43}=$",
    "description": "What deliveries are signed with. Shown here, and never again.",
}


class WebhookIn(In):
    """A new webhook."""

    url = Text(low=1, high=2000, required=True, metadata={"description": "Where news is sent; https, on a public address."})
    types = Several(Word(*TYPES), 1, len(TYPES), required=True, metadata={"description": "What it is told of."})


class Webhook(Out):
    """An address, and what it is told of."""

    id = fields.String(metadata=WEBHOOK_ID)
    url = fields.String()
    types = fields.List(fields.String(validate=validate.OneOf(TYPES)))
    disabled_at = Moment(allow_none=True, metadata={"description": "Since then it is told nothing; null while it is."})
    disabled_reason = fields.String(allow_none=True, metadata={"description": "What went wrong at the last try before."})
    created_at = Moment()


class WebhookWithSecret(Webhook):
    """A webhook, and its secret, for this once."""

    secret = fields.String(metadata=SECRET)


WebhookPage = page_of(Webhook)


class Message(Out):
    """What a receiver reads."""

    type = fields.String(validate=validate.OneOf((*TYPES, TEST)))
    timestamp = fields.String(metadata=DATE_TIME | {"description": "When it happened."})
    data = fields.Dict(metadata={"description": "Ids of what it is about (`job` or `model`), and `links` to it."})


class Delivery(Out):
    """Something that happened, and whether the webhook was told."""

    id = fields.String(metadata=DELIVERY_ID | {"description": "The `webhook-id` of its message, the same at every try."})
    state = fields.String(validate=validate.OneOf(STATES))
    attempt = fields.Integer(metadata={"description": "Tries so far, since it happened or was last replayed."})
    next_at = Moment(allow_none=True, metadata={"description": "When it is tried next; null when it is not on its way."})
    tried_at = Moment(allow_none=True, metadata={"description": "When it was last tried."})
    status_code = fields.Integer(allow_none=True, metadata={"description": "What the receiver answered to the last try."})
    error = fields.String(allow_none=True, metadata={"description": "Why the last try failed."})
    delivered_at = Moment(allow_none=True)
    created_at = Moment()
    message = fields.Dict(metadata=shaped("Message"))


DeliveryPage = page_of(Delivery)


class DeliveryQuery(PageQuery):
    state = Word(*STATES, load_default=None, metadata={"description": "Only deliveries in this state."})
