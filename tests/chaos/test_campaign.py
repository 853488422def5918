"""A minute of everything at once, or as many as `--minutes` says: nothing acknowledged is lost, nothing happens twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.campaign import Plan, run

pytestmark = pytest.mark.chaos

#: What the points need to be reached, without the faults that keep everybody waiting.
ROADS = (
    "child killed",
    "worker told to stop",
    "worker killed",
    "artefact damaged",
    "worker frozen and woken",
    "messages doubled",
)


def say(line: str) -> None:
    print(line, flush=True)


def test_nothing_is_lost_and_nothing_happens_twice(folder: Path, seed: int, minutes: float) -> None:
    outcome = run(Plan(seed, minutes), folder, say)
    assert outcome.verdict.red == {}, {name: found[:5] for name, found in outcome.verdict.broken.items() if found}
    assert sum(outcome.faults.values()) >= 15 * minutes, outcome.faults
    assert outcome.verdict.figures["accepted"] >= 60 * minutes


@pytest.mark.slow
def test_somebody_dies_at_every_named_point(folder: Path, seed: int) -> None:
    """With pauses in which a slow machine can start again what died: points are reached by those who work."""
    outcome = run(Plan(seed, 12.0, quick_s=6.0, lasting_s=10.0, faults=ROADS, points=True), folder, say)
    assert outcome.verdict.red == {}, {name: found[:5] for name, found in outcome.verdict.broken.items() if found}
    assert outcome.verdict.figures["crash points missed"] == []
