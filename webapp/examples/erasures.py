"""Last: the person is forgotten, with a receipt, and the audit keeps that it was done."""

from __future__ import annotations

from webapp.examples.cast import ACTOR, ERASURE, USER
from webapp.examples.example import Example, page

RECEIPT = {
    "id": ERASURE,
    "entity_sha256": "1c7f" * 16,
    "erased_by": ACTOR,
    "request_id": "req_5b2f0c9e3a7b1d4c2e8a",
    "erased": {
        "entities": 1,
        "channels": 2,
        "observations": 82,
        "models": 1,
        "versions": 2,
        "activations": 4,
        "forecasts": 1,
        "jobs": 12,
        "idempotency_keys": 3,
        "artefacts": 2,
    },
    "erased_at": "2026-10-12T09:00:00.250000Z",
    "done_at": "2026-10-12T09:02:04.750000Z",
}
ENTRY = {
    "at": "2026-10-12T09:00:00.250000Z",
    "action": "entity.erased",
    "subject": ERASURE,
    "actor": ACTOR,
    "request_id": "req_5b2f0c9e3a7b1d4c2e8a",
    "about": {},
}

CHAPTER: tuple[Example, ...] = (
    Example("delete_entity", "The person wants to be forgotten", USER, status=204),
    Example("list_erasures", "That they were", query={"limit": 1}, answer=page(RECEIPT)),
    Example("get_erasure", "And whether every store has followed", {"erasure_id": ERASURE}, answer=RECEIPT),
    Example("list_audit", "Who did what", query={"limit": 1}, answer=page(ENTRY, more=True)),
)
