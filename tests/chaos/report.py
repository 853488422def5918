"""The report of a campaign: what befell, what was promised, what was found, as tables for docs/reliability.md."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.chaos.campaign import Outcome


def written(outcome: Outcome) -> str:
    """Markdown."""
    figures, plan = outcome.verdict.figures, outcome.plan
    head = f"Seed {plan.seed}, {plan.minutes:g} minutes, {datetime.now(UTC):%d %B %Y}, {_machine()}, commit {_commit()}."
    verdict = (
        "Nothing broken." if not outcome.verdict.red else "Broken: " + ", ".join(f"{n} {what}" for what, n in outcome.verdict.red.items())
    )
    return "\n".join(
        [
            head,
            "",
            *_table(("what", "figure"), _counts(outcome, figures)),
            "",
            *_table(("seconds, or shares", "n", "median", "99th percentile", "largest"), _spreads(figures)),
            "",
            *_table(("fault", "times"), outcome.faults.most_common()),
            "",
            verdict,
        ]
    )


def _counts(outcome: Outcome, figures: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    jobs = outcome.verdict.jobs
    yield "jobs, items of batches among them", f"{figures['jobs']:,}"
    yield "accepted with 202", f"{figures['accepted']:,}"
    yield "reads by clients", f"{figures['reads']:,}"
    yield "faults", f"{figures['faults']:,}"
    yield "of these deaths at a named point", f"{outcome.faults['died at a named point']:,}, at {figures['crash points hit']} of them"
    yield "deaths of whole processes", f"{sum(figures['deaths'].values()):,}"
    yield "tries, beyond the first of each job", f"{figures['tries']:,}, {figures['tries beyond the first']:,}"
    yield "jobs by state", ", ".join(f"{n:,} {state}" for state, n in _by_state(jobs).items())
    for name, found in outcome.verdict.broken.items():
        if not name.startswith("invariant"):
            yield name, len(found)
    yield (
        "invariants of the ledger broken",
        sum(len(found) for name, found in outcome.verdict.broken.items() if name.startswith("invariant")),
    )


def _by_state(jobs: Mapping[str, int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, n in jobs.items():
        state = name.partition(" ")[2]
        found[state] = found.get(state, 0) + n
    return found


def _spreads(figures: Mapping[str, Any]) -> Iterable[Sequence[object]]:
    for name, found in figures.items():
        if isinstance(found, dict) and "p99" in found:
            yield name, *found.values()


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [" | ".join(str(cell) for cell in row) for row in rows]
    return [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {line} |" for line in lines)]


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
