"""Webhooks on the command line: listed with what is wrong, their deliveries shown, one sent again; a secret is never told."""

from __future__ import annotations

import json

from sqlalchemy import func, update

from db import deliveries, webhooks
from db.models import Delivery, Webhook
from db.session import Sessions
from tests.integration.ops.conftest import Command
from tests.support import ledger as desk


def test_an_operator_sees_whose_webhook_is_disabled_and_sends_again(fleetcast: Command, sessions: Sessions) -> None:
    assert fleetcast("webhooks", "ls").stdout.strip() == "No webhooks."
    acme = desk.tenant(sessions)
    with sessions.begin() as session:
        made = webhooks.create(session, acme, url="https://a.example/", host="a.example", types=["job.failed"], most=9)
        sent = deliveries.try_out(session, made).id
        session.execute(update(Delivery).values(state="failed", attempt=7, error="The answer was 503."))
        session.execute(update(Webhook).values(disabled_at=func.now(), disabled_reason="The answer was 503."))
    [row] = [json.loads(line) for line in fleetcast("webhooks", "ls", "--tenant", "acme", "--json").stdout.splitlines()]
    assert (row["tenant"], row["id"], row["disabled_reason"]) == ("acme", made.id, "The answer was 503.")
    assert made.id in fleetcast("webhooks", "ls").stdout
    refused = fleetcast("webhooks", "replay", made.id, sent)
    assert refused.exit_code == 1
    assert "is disabled" in refused.output
    with sessions.begin() as session:
        webhooks.enable(session, acme, made.id)
    assert fleetcast("webhooks", "replay", made.id, sent).stdout == f"{sent} is due now.\n"
    told = fleetcast("webhooks", "deliveries", made.id, "--state", "pending").stdout
    assert sent in told
    assert made.secret not in told + json.dumps(row)
    assert fleetcast("webhooks", "deliveries", "whk_none").exit_code == 1
