"""Webhooks: who is told, what was not taken, and sending it again."""

from __future__ import annotations

from typing import Any

from webapp.examples.cast import DELIVERY, WEBHOOK
from webapp.examples.example import Example, page

WEBHOOK_PATH = {"webhook_id": WEBHOOK}
TYPES = ["job.succeeded", "job.failed", "model.activated"]
LISTENER: dict[str, Any] = {
    "id": WEBHOOK,
    "url": "https://backend.example/fleetcast",
    "types": TYPES,
    "disabled_at": None,
    "disabled_reason": None,
    "created_at": "2026-10-12T08:00:00.125000Z",
}
WITH_SECRET = {"secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD3n6Ls0yJt4k="}
TEST_DELIVERY = {
    "id": DELIVERY,
    "state": "pending",
    "attempt": 0,
    "next_at": "2026-10-12T08:01:30.500000Z",
    "tried_at": None,
    "status_code": None,
    "error": None,
    "delivered_at": None,
    "created_at": "2026-10-12T08:01:30.500000Z",
    "message": {
        "type": "webhook.test",
        "timestamp": "2026-10-12T08:01:30.500Z",
        "data": {"webhook": WEBHOOK, "links": {"self": f"/api/v1/webhooks/{WEBHOOK}"}},
    },
}
GIVEN_UP = TEST_DELIVERY | {
    "state": "failed",
    "attempt": 7,
    "next_at": None,
    "tried_at": "2026-10-13T01:40:12.020000Z",
    "status_code": 503,
    "error": "The answer was 503.",
}

CHAPTER: tuple[Example, ...] = (
    Example(
        "create_webhook",
        "Be told when jobs end and when another version serves",
        body={"url": "https://backend.example/fleetcast", "types": TYPES},
        status=201,
        answer=LISTENER | WITH_SECRET,
    ),
    Example("list_webhooks", "Who is told", answer=page(LISTENER)),
    Example("get_webhook", "Look at one", WEBHOOK_PATH, answer=LISTENER),
    Example("rotate_secret", "A new secret; the old one signs beside it for a day", WEBHOOK_PATH, answer=LISTENER | WITH_SECRET),
    Example("test_webhook", "A message that tells of nothing", WEBHOOK_PATH, answer=TEST_DELIVERY),
    Example("list_deliveries", "What was not taken", WEBHOOK_PATH, {"state": "failed", "limit": 1}, answer=page(GIVEN_UP)),
    Example("enable_webhook", "The receiver is mended", WEBHOOK_PATH, answer=LISTENER),
    Example("replay_delivery", "Send it again", WEBHOOK_PATH | {"delivery_id": DELIVERY}, answer=TEST_DELIVERY),
    Example("delete_webhook", "Be told nothing more", WEBHOOK_PATH, status=204),
)
