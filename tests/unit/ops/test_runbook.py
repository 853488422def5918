"""`When a part dies` in docs/operations.md names nothing that the program does not have."""

from __future__ import annotations

import re
from pathlib import Path

from ops.children import FIRST_S, LONGEST_S, ROLES
from tasks.metrics import CATALOGUE, OUTCOMES
from tasks.problems import CATALOGUE as PROBLEMS
from tasks.reconcile import ORPHAN_AFTER_S
from tasks.status import UNFINISHED_TTL_S
from webapp.auth import OUTAGE_S

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "operations.md").read_text()
SECTION = PAGE[PAGE.index("## When a part dies") :].partition("\n## ")[0]
SOURCE = "".join(file.read_text() for room in ("webapp", "tasks", "db", "ml", "ops") for file in (ROOT / room).rglob("*.py"))
#: What clients and other commands say, and a job's own words.
BESIDES = {"queued", "running", "failed", "attempt", "up", "down", "unrecorded", "fenced", "estimated_finish_at", "reset"}


def test_every_metric_is_one_of_ours() -> None:
    named = set(re.findall(r"`(fleetcast_\w+)", SECTION))
    assert len(named) > 8
    assert named <= {metric.name for metric in CATALOGUE}


def test_every_role_is_one_that_is_counted() -> None:
    assert set(re.findall(r'role="(\w+)"', SECTION)) <= set(ROLES)


def test_every_other_word_is_logged_or_answered() -> None:
    """A line of a log, an outcome of a try, or the code of a problem."""
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", SECTION)) - BESIDES
    words = {word for word in words if not word.startswith("fleetcast_")}
    logged = {word for word in words if re.search(rf'log\.\w+\(\s*"{word}"', SOURCE)}
    assert {"job_swept", "child_died", "broker_away"} <= logged
    assert words <= logged | set(OUTCOMES) | set(PROBLEMS) | {"lost"}, words - logged


def test_its_figures_are_the_programs() -> None:
    assert "after a second" in SECTION
    assert f"up to {LONGEST_S:g} s" in SECTION
    assert FIRST_S == 1
    assert f"of an unfinished job for {UNFINISHED_TTL_S} s, of a finished one for a minute" in SECTION
    assert (OUTAGE_S, ORPHAN_AFTER_S) == (60, 3600)
