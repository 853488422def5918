"""The verdict: what was promised, compared with what Postgres, the artefacts and the clients' book say after the storm."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from db import ledger
from db.session import make_engine
from tests.chaos.book import Book
from tests.chaos.faults import ROTTEN, Hit
from tests.chaos.points import POINTS, POISON
from tests.chaos.stage import Stage

#: Questions to Postgres whose every row breaks a promise.
BROKEN: Mapping[str, str] = {
    "doubled: two versions of one model by one job": """
        SELECT job_id FROM versions GROUP BY job_id, model_id HAVING count(*) > 1""",
    "doubled: two tries of one job succeeded": """
        SELECT job_id FROM attempts WHERE outcome = 'succeeded' GROUP BY job_id HAVING count(*) > 1""",
    "doubled: two forecasts by one job": """
        SELECT job_id FROM forecasts WHERE job_id IN (SELECT id FROM jobs WHERE kind = 'predict') GROUP BY job_id HAVING count(*) > 1""",
    "a forecast of a job that did not succeed": """
        SELECT job_id FROM forecasts JOIN jobs ON jobs.id = job_id WHERE state <> 'succeeded'""",
    "a succeeded job without a result": """
        SELECT id FROM jobs WHERE state = 'succeeded' AND result IS NULL""",
    "a job with more tries than its fences": """
        SELECT id FROM jobs WHERE attempt > (SELECT count(*) FROM attempts WHERE job_id = jobs.id)""",
    "several active versions, or none where there are some": """
        SELECT model_id FROM versions GROUP BY model_id HAVING count(*) FILTER (WHERE active) <> 1""",
    "a poisoned job that was not parked after three crashes": f"""
        SELECT id FROM jobs WHERE starts_with(label, '{POISON}')
          AND (state <> 'failed' OR error ->> 'code' <> 'worker_lost' OR crashes <> 3)""",
    "a healthy job that was parked": f"""
        SELECT id FROM jobs WHERE state = 'failed' AND error ->> 'code' = 'worker_lost' AND NOT starts_with(label, '{POISON}')""",
    "a healthy job that failed": f"""
        SELECT id || ' ' || kind || ' ' || (error ->> 'code') || ' ' || (error ->> 'detail') FROM jobs WHERE state = 'failed'
          AND error ->> 'code' <> 'worker_lost' AND NOT (error ->> 'code' = 'artefact_corrupt' AND starts_with(label, '{ROTTEN}'))
          AND error ->> 'code' <> 'batch_failed'""",
}
#: The fault after which the rate is measured, and the seconds after it between which.
POSTGRES_STOPPED, RETURNED_S = "Postgres stopped hard", (10.0, 20.0)


@dataclass
class Verdict:
    """Every count of `broken` is to be zero."""

    broken: dict[str, list[str]] = field(default_factory=dict)
    jobs: dict[str, int] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def red(self) -> dict[str, int]:
        return {name: len(found) for name, found in self.broken.items() if found}


def judge(stage: Stage, book: Book, hits: Sequence[Hit]) -> Verdict:
    """Once nothing is under way any more."""
    found = Verdict()
    stored = {row[0]: row[1:] for row in stage.rows("SELECT id, state, result::text FROM jobs")}
    found.broken["lost: accepted and not in Postgres"] = [job for job in book.jobs if job not in stored]
    found.broken["lost: accepted and not ended"] = [job for job, (state, _) in stored.items() if state in ("queued", "running")]
    found.broken["told to a client otherwise than it is"] = [
        job for job, seen in book.jobs.items() if seen.end is not None and job in stored and seen.end["state"] != stored[job][0]
    ]
    found.broken["contradictions that clients saw"] = list(book.contradictions)
    for name, query in BROKEN.items():
        found.broken[name] = [str(row[0]) for row in stage.rows(query)]
    found.broken |= {f"invariant {name}": ["" for _ in range(count)] for name, count in _invariants(stage).items()}
    found.broken["artefacts missing or damaged by nobody"] = list(_bad_artefacts(stage, hits))
    found.jobs = dict(stage.rows("SELECT kind || ' ' || state, count(*) FROM jobs GROUP BY 1 ORDER BY 1"))
    found.figures = _figures(stage, book, hits)
    return found


def _invariants(stage: Stage) -> dict[str, int]:
    engine = make_engine(stage.up.database_url)
    try:
        with Session(engine) as session:
            return ledger.violations(session, lease_s=float(stage.setting("LEASE_S")))
    finally:
        engine.dispose()


def _bad_artefacts(stage: Stage, hits: Sequence[Hit]) -> Iterable[str]:
    """Every version's files are those whose sum its row names, but for those that a fault damaged."""
    rotten = {hit.detail for hit in hits if hit.name == "artefact damaged"}
    for (sha256,) in stage.rows("SELECT DISTINCT artefact_sha256 FROM versions WHERE pruned_at IS NULL"):
        if sha256[:12] not in rotten and not _sound(stage.models / sha256[:2] / sha256, sha256):
            yield sha256


def _sound(folder: Path, sha256: str) -> bool:
    """The name of an artefact is the sum of its manifest, which names the sums of its other files; `ml.shelf` looks at those."""
    manifest = folder / "manifest.json"
    return manifest.is_file() and hashlib.sha256(manifest.read_bytes()).hexdigest() == sha256


def _figures(stage: Stage, book: Book, hits: Sequence[Hit]) -> dict[str, Any]:
    lost = [after for hit in hits if hit.name == "worker killed" for after in _resumed(stage, hit)]
    rung = [after for hit in hits if hit.name in ("Redis emptied", "Redis killed") for after in _rung_again(stage, hit)]
    [(tries, ran)] = stage.rows("SELECT count(*), count(DISTINCT job_id) FROM attempts")
    outcomes = dict(stage.rows("SELECT coalesce(outcome, 'open'), count(*) FROM attempts GROUP BY 1"))
    return {
        "jobs": stage.rows("SELECT count(*) FROM jobs")[0][0],
        "accepted": len(book.jobs),
        "reads": sum(seen.reads for seen in book.jobs.values()),
        "tries": tries,
        "tries beyond the first": tries - ran,
        "outcomes": outcomes,
        "faults": len(hits),
        "crash points hit": len(stage.hit()),
        "crash points missed": sorted({point.name for point in POINTS} - stage.hit()),
        "deaths": {part.name: part.deaths for part in stage.parts.values()},
        "worker killed, work resumed": spread(lost),
        "Redis gone, due job taken up or rung for again": spread(rung),
        "rate 10 to 20 s after Postgres came back, as a share of that in calm": spread(list(_returned(stage, hits))),
        "submit": spread([took for _, took in book.submits]),
        "submit while Redis was away": spread(_during(book, hits, ("Redis killed", "Redis silent", "Redis full"))),
        "submit in calm": spread(_during(book, hits, ("calm",))),
        "refusals": dict(book.refusals),
    }


def _resumed(stage: Stage, hit: Hit) -> Iterable[float]:
    """Seconds from a worker's end until each of its jobs was taken up by another, or had ended."""
    query = """SELECT extract(epoch FROM least(
          (SELECT min(started_at) FROM attempts WHERE job_id = jobs.id AND started_at > to_timestamp(%(at)s)), finished_at)) FROM jobs
        WHERE id = ANY(%(jobs)s)"""
    return [float(at) - hit.began for (at,) in stage.rows(query, at=hit.began, jobs=list(hit.jobs)) if at is not None]


def _rung_again(stage: Stage, hit: Hit) -> Iterable[float]:
    """Seconds from the end of Redis' absence until each job that had been rung for was taken up, or had ended."""
    return [max(0.0, at - (hit.ended - hit.began)) for at in _resumed(stage, hit)]


def _returned(stage: Stage, hits: Sequence[Hit]) -> Iterable[float]:
    """Jobs that ended a second, some seconds after each return of Postgres, beside those in calm."""
    calm = [_ended_per_s(stage, hit.began, hit.ended) for hit in hits if hit.name == "calm"]
    after = [hit.ended for hit in hits if hit.name == POSTGRES_STOPPED]
    return [_ended_per_s(stage, at + RETURNED_S[0], at + RETURNED_S[1]) / calm[0] for at in after if calm and calm[0]]


def _ended_per_s(stage: Stage, since: float, until: float) -> float:
    query = "SELECT count(*) FROM jobs WHERE finished_at BETWEEN to_timestamp(%(since)s) AND to_timestamp(%(until)s)"
    return float(stage.rows(query, since=since, until=until)[0][0]) / (until - since)


def _during(book: Book, hits: Sequence[Hit], names: Sequence[str]) -> list[float]:
    """What submissions took that were begun during such a fault."""
    spans = [(hit.began, hit.ended) for hit in hits if hit.name in names]
    return [took for at, took in book.submits if any(began <= at <= ended for began, ended in spans)]


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Count, median, 99th percentile (the nearest rank) and largest; None of nothing."""
    if not values:
        return None
    ranked = sorted(values)
    p99 = ranked[max(0, math.ceil(0.99 * len(ranked)) - 1)]
    return {"n": len(ranked), "median": round(statistics.median(ranked), 3), "p99": round(p99, 3), "max": round(ranked[-1], 3)}
