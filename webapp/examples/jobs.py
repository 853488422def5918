"""Jobs and batches as they stand when they were just asked for; an example says in what its own is different."""

from __future__ import annotations

from typing import Any


def job(job_id: str, **about: Any) -> dict[str, Any]:
    """A job that waits to be taken up, but for what is told about it."""
    here = f"/api/v1/jobs/{job_id}"
    return {
        "id": job_id,
        "kind": "predict",
        "state": "queued",
        "terminal": False,
        "rev": 1,
        "seq": 0,
        "created_at": "2026-10-12T06:03:58.585Z",
        "started_at": None,
        "finished_at": None,
        "expires_at": None,
        "entity": "user-42",
        "target": "rhr",
        "spec": {"entity": "user-42", "target": "rhr", "horizon": 7, "level": 0.9, "version": None, "future": None},
        "queue": {"name": "interactive", "position": 0},
        "estimated_finish_at": None,
        "progress": {},
        "attempt": 0,
        "max_attempts": 5,
        "deduplicated": False,
        "retry_of": None,
        "parent": None,
        "batch": False,
        "result": None,
        "error": None,
        "warnings": [],
        "metadata": {},
        "links": {"self": here, "events": f"{here}/events", "result": f"{here}/result", "cancel": f"{here}/cancel"},
    } | about


#: What is told of a job that succeeded.
DONE = {
    "state": "succeeded",
    "terminal": True,
    "rev": 3,
    "started_at": "2026-10-12T06:03:59.002Z",
    "finished_at": "2026-10-12T06:04:40.101Z",
    "expires_at": "2026-11-11T06:04:40.101Z",
    "attempt": 1,
}


def batch(job_id: str, items: int, **about: Any) -> dict[str, Any]:
    """A batch of so many items, all of which wait, but for what is told about it."""
    plain = job(job_id)
    return (
        plain
        | {
            "state": "running",
            "started_at": "2026-10-12T07:00:00.138Z",
            "entity": None,
            "target": None,
            "spec": {"items": items},
            "queue": {"name": "batch", "position": None},
            "progress": {"items": {"total": items, "queued": items}},
            "max_attempts": 1,
            "batch": True,
            "links": plain["links"] | {"items": f"/api/v1/jobs/{job_id}/items"},
        }
        | about
    )
