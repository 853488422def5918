"""The audit at the command line."""

from __future__ import annotations

import json

from tests.integration.ops.conftest import Command


def test_who_did_what(fleetcast: Command) -> None:
    assert "No such entries." in fleetcast("audit").output
    key_id = fleetcast("keys", "create", "acme", "--name", "[red]phone").stdout.split("_")[1]
    fleetcast("keys", "revoke", "acme", key_id)
    fleetcast("keys", "create", "other")
    told = [json.loads(line) for line in fleetcast("audit", "--json", "--tenant", "acme").stdout.splitlines()]
    assert [(entry["tenant"], entry["action"], entry["subject"], entry["actor"]) for entry in told] == [
        ("acme", "key.revoked", key_id, "operator"),
        ("acme", "key.created", key_id, "operator"),
    ]
    shown = fleetcast("audit", "--action", "key.created", "--since", "1h").output
    assert shown.count("key.created") == 2
    assert "key.revoked" not in shown
    assert fleetcast("audit", "--tenant", "nobody").exit_code == 1
