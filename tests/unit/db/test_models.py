"""What the tables say of themselves, without a database."""

from __future__ import annotations

import pytest

from db.models import TERMINAL, TRANSITIONS, UNFINISHED, Job, Version, new_id, transition_trigger


def test_ids_say_what_they_are_and_sort_by_time() -> None:
    made = [new_id("job") for _ in range(3)]
    assert all(id_.startswith("job_") and len(id_) == 30 for id_ in made)
    assert len(set(made)) == 3


def test_nothing_leads_out_of_an_end() -> None:
    assert not [pair for pair in TRANSITIONS if pair[0] in TERMINAL]
    assert {pair[1] for pair in TRANSITIONS} == {*UNFINISHED, *TERMINAL}


def test_the_trigger_knows_every_transition() -> None:
    function, trigger = transition_trigger()
    for before, after in TRANSITIONS:
        assert f"('{before}', '{after}')" in function
    assert "BEFORE UPDATE ON jobs" in trigger


@pytest.mark.parametrize(
    ("state", "terminal"), [("queued", False), ("running", False), ("succeeded", True), ("failed", True), ("cancelled", True)]
)
def test_terminal_states(state: str, terminal: bool) -> None:
    assert Job(state=state).terminal is terminal


def test_semver() -> None:
    assert Version(major=1, minor=2, patch=10).semver == "1.2.10"
