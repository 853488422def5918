"""Webhooks, and what they were told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class Webhook(Answer):
    """An address, and what it is told of."""

    id: str
    url: str
    types: tuple[str, ...]
    #: Since then it is told nothing; null while it is.
    disabled_at: datetime | None
    #: What went wrong at the last try before.
    disabled_reason: str | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class WebhookWithSecret(Webhook):
    """A webhook, and its secret, for this once."""

    #: What deliveries are signed with. Shown here, and never again.
    secret: str


@dataclass(frozen=True, kw_only=True)
class Message(Answer):
    """What a receiver reads."""

    type: str
    #: When it happened.
    timestamp: datetime
    #: Ids of what it is about (`job` or `model`), and `links` to it.
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Delivery(Answer):
    """Something that happened, and whether the webhook was told."""

    #: The `webhook-id` of its message, the same at every try.
    id: str
    state: str
    #: Tries so far, since it happened or was last replayed.
    attempt: int
    #: When it is tried next; null when it is not on its way.
    next_at: datetime | None
    #: When it was last tried.
    tried_at: datetime | None
    #: What the receiver answered to the last try.
    status_code: int | None
    #: Why the last try failed.
    error: str | None
    delivered_at: datetime | None
    created_at: datetime
    message: Message
