"""Where what is told of a job lies."""

from __future__ import annotations

from db.events import key


def test_keys_carry_the_tenant() -> None:
    assert key("tnt_1", "job_2") == "fleetcast:tnt_1:job:job_2"
