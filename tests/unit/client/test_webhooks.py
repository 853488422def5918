"""Messages to webhooks: whoever is told can tell whether it is the service that tells."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime

import pytest

from fleetcast_client import ForgedMessage, verify
from tasks.deliver import headers, message, written

SECRET, OTHER = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
BODY = written(message("job.succeeded", datetime(2026, 10, 12, 8, tzinfo=UTC), {"job": "job_1", "kind": "train", "state": "succeeded"}))


def test_what_the_service_signs_is_taken() -> None:
    told = verify(headers("msg_1", BODY, [SECRET]), BODY, SECRET)
    assert (told.type, told.timestamp, told.data["job"]) == ("job.succeeded", datetime(2026, 10, 12, 8, tzinfo=UTC), "job_1")


def test_names_of_headers_may_be_in_any_case_and_either_signature_does() -> None:
    told = {name.title(): value for name, value in headers("msg_1", BODY, [OTHER, SECRET]).items()}
    assert verify(told, BODY, SECRET) == verify(told, BODY, OTHER)


def signed(**changes: str) -> dict[str, str]:
    return headers("msg_1", BODY, [SECRET]) | {name.replace("_", "-"): value for name, value in changes.items()}


@pytest.mark.parametrize(
    ("told", "body", "secret", "why"),
    [
        (signed(), BODY, OTHER, "not signed"),
        (signed(), BODY + b" ", SECRET, "not signed"),
        (signed(webhook_id="msg_2"), BODY, SECRET, "not signed"),
        (signed(webhook_timestamp=str(int(time.time()) - 5)), BODY, SECRET, "not signed"),
        (signed(webhook_timestamp="soon"), BODY, SECRET, "lacks a header"),
        (signed(webhook_signature=""), BODY, SECRET, "not signed"),
        (signed(webhook_signature="v1,é"), BODY, SECRET, "not signed"),
        ({}, BODY, SECRET, "lacks a header"),
    ],
)
def test_anything_else_is_not(told: dict[str, str], body: bytes, secret: str, why: str) -> None:
    with pytest.raises(ForgedMessage, match=why):
        verify(told, body, secret)


def test_one_that_was_overheard_is_not_taken_later(monkeypatch: pytest.MonkeyPatch) -> None:
    told, later = signed(), time.time() + 301
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(ForgedMessage, match=r"30[12] s from now"):
        verify(told, BODY, SECRET)
