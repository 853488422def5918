"""The audit: who did what, and in which request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class AuditEntry(Answer):
    """That somebody did something. It names no entity and no secret, and never changes."""

    at: datetime
    action: str
    #: Id of what it was done to: a key, a model, the receipt of an erasure, a webhook, a schedule.
    subject: str
    #: The key by its public part, or `operator`, who sits at the servers.
    actor: str
    #: `X-Request-Id` of the request; null of a command.
    request_id: str | None
    #: What else there is to say: `version`, `former`, `new_key`, `scopes` …, by action.
    about: Mapping[str, Any]
