"""A minute of everything at once, or as many as `--minutes` says: nothing acknowledged is lost, nothing happens twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.campaign import Plan, run
from tests.chaos.points import POINTS

pytestmark = pytest.mark.chaos

#: What the points need to be reached, without the faults that keep everybody waiting.
ROADS = (
    "died at a named point",
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
    outcome = run(Plan(seed, 8.0, quick_s=0.8, lasting_s=6.0, faults=ROADS, points=True), folder, say)
    assert outcome.verdict.red == {}, {name: found[:5] for name, found in outcome.verdict.broken.items() if found}
    assert outcome.verdict.figures["crash points hit"] == len(POINTS)
