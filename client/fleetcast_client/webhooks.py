"""Webhooks: where news is sent, what was sent, and whether a message that came is the service's."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence

from fleetcast_client.answers.webhooks import Delivery, Message, Webhook, WebhookWithSecret
from fleetcast_client.errors import FleetcastError
from fleetcast_client.http import Ask, Http, below
from fleetcast_client.pages import Pages

#: A message older or newer than this may have been sent by somebody who overheard it.
TOLERANCE_S = 300.0


class ForgedMessage(FleetcastError):
    """The message is not the service's, not whole, or not of now."""


class Webhooks:
    """`client.webhooks`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(self, url: str, types: Sequence[str]) -> WebhookWithSecret:
        """Have an address told; the secret is shown once. Never sent twice: after ConnectionFailed, list them and delete one too many."""
        return WebhookWithSecret.read(self._http.json("POST", below("webhooks"), {"url": url, "types": types}, again=False))

    def get(self, webhook_id: str) -> Webhook:
        return Webhook.read(self._http.json("GET", below("webhooks", webhook_id)))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Pages[Webhook]:
        """Webhooks, oldest first."""
        return Pages(self._http, below("webhooks"), Webhook.read, {"limit": limit, "cursor": cursor})

    def delete(self, webhook_id: str) -> None:
        """Delete it, and what it was told."""
        self._http.send(Ask(method="DELETE", path=below("webhooks", webhook_id)))

    def enable(self, webhook_id: str) -> Webhook:
        """Tell it again, once its receiver has been mended."""
        return Webhook.read(self._http.json("POST", below("webhooks", webhook_id, "enable")))

    def rotate(self, webhook_id: str) -> WebhookWithSecret:
        """A new secret, shown once; for a day messages carry signatures by both. Never sent twice."""
        return WebhookWithSecret.read(self._http.json("POST", below("webhooks", webhook_id, "rotate"), again=False))

    def test(self, webhook_id: str) -> Delivery:
        """Send it a message of type `webhook.test`. Never sent twice."""
        return Delivery.read(self._http.json("POST", below("webhooks", webhook_id, "test"), again=False))

    def deliveries(
        self, webhook_id: str, *, state: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Pages[Delivery]:
        """What it was told, newest first; `state` is pending, delivered or failed."""
        query = {"state": state, "limit": limit, "cursor": cursor}
        return Pages(self._http, below("webhooks", webhook_id, "deliveries"), Delivery.read, query)

    def replay(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Send once more what was delivered or failed."""
        return Delivery.read(self._http.json("POST", below("webhooks", webhook_id, "deliveries", delivery_id, "replay")))


def verify(headers: Mapping[str, str], body: bytes, secret: str) -> Message:
    """The message, by the rule of Standard Webhooks. `body` is the bytes as they came; names of headers may be in any case.

    Raises ForgedMessage. A message may come twice, with the same `webhook-id`: pass over those you know.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        id_, at, signatures = (given[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        age = abs(time.time() - int(at))
    except (KeyError, ValueError) as error:
        raise ForgedMessage(f"It lacks a header of Standard Webhooks, or holds none of its values: {error}") from None
    if not any(hmac.compare_digest(_signed(id_, at, body, secret), each.encode()) for each in signatures.split()):
        raise ForgedMessage("It is not signed with this secret.")
    if age > TOLERANCE_S:
        raise ForgedMessage(f"It was signed {age:.0f} s from now: too old, or sent again by somebody.")
    return Message.read(json.loads(body))


def _signed(id_: str, at: str, body: bytes, secret: str) -> bytes:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, b".".join((id_.encode(), at.encode(), body)), hashlib.sha256).digest()
    return b"v1," + base64.b64encode(digest)
