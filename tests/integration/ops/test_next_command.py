"""Every mistake ends with what to type next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.ops.conftest import Command


@pytest.mark.parametrize(
    ("words", "following"),
    [
        ("jobs show job_none", "fleetcast jobs ls"),
        ("jobs ls --tenant nobody", "fleetcast keys create nobody"),
        ("jobs cancel", "fleetcast jobs ls"),
        ("jobs cancel job_none", "fleetcast jobs ls"),
        ("jobs retry job_none", "fleetcast jobs ls"),
        ("schedules show sch_none", "fleetcast schedules ls"),
        ("schedules pause sch_none", "fleetcast schedules ls"),
        ("webhooks deliveries whk_none", "fleetcast webhooks ls"),
        ("webhooks replay whk_none msg_none", "fleetcast webhooks ls"),
        ("keys ls nobody", "fleetcast keys create nobody"),
        ("run price-week --tenant nobody", "fleetcast keys create nobody"),
        ("sinks check nowhere", "fleetcast sinks ls"),
        ("sources check nowhere", "fleetcast sources ls"),
        ("status --folder /nowhere", "fleetcast up"),
        ("nonsense", "fleetcast --help"),
    ],
)
def test_a_mistake_names_the_next_command(fleetcast: Command, words: str, following: str) -> None:
    told = fleetcast(*words.split())
    assert told.exit_code in (1, 2)
    assert following in told.output, told.output
    assert "Traceback" not in told.output


def test_what_programs_read_is_json(fleetcast: Command, tmp_path: Path) -> None:
    """What has no test of its own elsewhere."""
    made = json.loads(fleetcast("keys", "create", "acme", "--json").stdout)
    assert made["key"].split("_")[1] == made["id"]
    [listed] = [json.loads(line) for line in fleetcast("keys", "list", "acme", "--json").stdout.splitlines()]
    assert listed["id"] == made["id"]
    assert "key" not in listed
    turned = json.loads(fleetcast("keys", "rotate", "acme", made["id"], "--json").stdout)
    assert turned["old"]["id"] == made["id"]
    assert json.loads(fleetcast("keys", "revoke", "acme", turned["id"], "--json").stdout)["state"] == "revoked"
    assert json.loads(fleetcast("migrate", "--json").stdout) == {"standing": "level"}
    (tmp_path / "pump.csv").write_text("at,flow\n2026-01-01T00:00Z,1\n")
    taken = json.loads(fleetcast("import", str(tmp_path / "pump.csv"), "--tenant", "acme", "--json").stdout)
    assert taken == {"rows": 1, "entities": 1, "channels": ["flow"]}
    [undone] = [json.loads(line) for line in fleetcast("jobs", "cancel", "job_none", "--json").stdout.splitlines()]
    assert (undone["id"], undone["done"]) == ("job_none", False)
    assert {"variable", "default", "why"} <= json.loads(fleetcast("settings", "--json").stdout.splitlines()[0]).keys()
