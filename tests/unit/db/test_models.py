"""What the tables say of themselves, without a database."""

from __future__ import annotations

import pytest
from ulid import ULID

from db.models import TERMINAL, TRANSITIONS, UNFINISHED, Job, Version, new_id, new_ids, transition_trigger


def test_ids_say_what_they_are_and_sort_by_time() -> None:
    made = [new_id("job") for _ in range(3)]
    assert all(id_.startswith("job_") and len(id_) == 30 for id_ in made)
    assert len(set(made)) == 3


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_many_ids_are_made_at_once_of_one_moment_and_in_order(count: int) -> None:
    earlier, made = new_id("job"), new_ids("job", count)
    ulids = [ULID.from_str(id_.removeprefix("job_")) for id_ in made]
    assert (len(set(made)), made) == (count, sorted(made))
    assert [f"job_{ulid}" for ulid in sorted(ulids)] == made, "letters keep the order of the numbers"
    assert len({ulid.milliseconds for ulid in ulids}) == min(count, 1)
    assert all(id_[:14] >= earlier[:14] for id_ in made)


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
