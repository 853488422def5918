"""What a receiver is sent: a message that it can check, the same at every try."""

from __future__ import annotations

import base64
import json
import re
import runpy
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tasks.deliver import JITTER, PAUSES_S, headers, message, pause_s, sign, written

ROOT = Path(__file__).resolve().parents[3]
AT = datetime(2026, 10, 12, 8, 1, 30, 500_000, tzinfo=UTC)
SECRETS = [f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2)]


def test_a_receiver_by_the_book_takes_it() -> None:
    body = written(message("job.succeeded", AT, {"job": "job_1", "kind": "train", "state": "succeeded"}))
    told = headers("msg_1", body, SECRETS[:1])
    read = Webhook(SECRETS[0]).verify(body, told)
    assert read == {
        "type": "job.succeeded",
        "timestamp": "2026-10-12T08:01:30.500Z",
        "data": {
            "job": "job_1",
            "kind": "train",
            "state": "succeeded",
            "links": {"self": "/api/v1/jobs/job_1", "result": "/api/v1/jobs/job_1/result"},
        },
    }


def test_one_who_knows_another_secret_does_not() -> None:
    body = b"{}"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRETS[1]).verify(body, headers("msg_1", body, SECRETS[:1]))


@pytest.mark.parametrize("changed", ["webhook-id", "body"])
def test_one_that_was_changed_on_the_way_is_not_taken(changed: str) -> None:
    body = b"{}"
    told = headers("msg_1", body, SECRETS[:1])
    if changed == "body":
        body = b"[]"
    else:
        told[changed] = "msg_2"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRETS[0]).verify(body, told)


def test_after_a_rotation_either_secret_does() -> None:
    body = b"{}"
    told = headers("msg_1", body, SECRETS)
    for secret in SECRETS:
        assert Webhook(secret).verify(body, told) == {}


def test_the_receiver_of_the_docs_reads_it(tmp_path: Path) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "http-api.md").read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "receiver.py").write_text(code)
    page = runpy.run_path(str(tmp_path / "receiver.py"))
    body = written(message("model.activated", AT, {"model": "mdl_1", "version": "1.0.0", "former": None}))
    told = headers("msg_1", body, SECRETS)
    for secret in SECRETS:
        assert page["read"](told, body, secret)["data"]["model"] == "mdl_1"
    old = str(int(told["webhook-timestamp"]) - 600)
    stale = told | {"webhook-timestamp": old, "webhook-signature": sign(SECRETS[0], "msg_1", int(old), body)}
    for headers_, body_ in ((told, body + b" "), (told | {"webhook-id": "msg_2"}, body), (stale, body)):
        with pytest.raises(ValueError, match=r"not signed|too old"):
            page["read"](headers_, body_, SECRETS[0])


def test_members_come_in_one_order_whatever_order_they_are_kept_in() -> None:
    one, other = {"job": "j", "kind": "train"}, {"kind": "train", "job": "j"}
    assert written(message("job.failed", AT, one)) == written(message("job.failed", AT, other))


@pytest.mark.parametrize(
    ("data", "links"),
    [
        ({"model": "mdl_1", "version": "1.2.0"}, {"self": "/api/v1/models/mdl_1", "version": "/api/v1/models/mdl_1/versions/1.2.0"}),
        ({"webhook": "whk_1"}, {"self": "/api/v1/webhooks/whk_1"}),
    ],
)
def test_each_leads_to_what_it_is_about(data: dict[str, str], links: dict[str, str]) -> None:
    assert json.loads(written(message("x", AT, data)))["data"] == data | {"links": links}


def test_pauses_grow_as_promised_and_never_meet() -> None:
    assert PAUSES_S == (5, 300, 1800, 7200, 18_000, 36_000)
    for attempt, pause in enumerate(PAUSES_S, 1):
        drawn = {pause_s(attempt) for _ in range(50)}
        assert len(drawn) > 40
        assert all(pause * (1 - JITTER) <= each <= pause * (1 + JITTER) for each in drawn)
