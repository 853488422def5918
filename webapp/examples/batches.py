"""Batches: many at once, cancelled, retried, listed, and watched to the end."""

from __future__ import annotations

from tasks.problems import problem
from webapp.examples.cast import BATCH, BATCH_ITEM, ITEM_OF_ALL, RETRIED_BATCH, TRAINING_OF_ALL
from webapp.examples.example import Example, page, stream
from webapp.examples.jobs import batch, job
from webapp.examples.problems import PROBLEMS

ALL_FAILED = {"total": 1, "failed": 1}
ENDED_ITEM = {
    "job": ITEM_OF_ALL,
    "entity": "user-42",
    "target": "rhr",
    "state": "failed",
    "error": PROBLEMS["training_diverged"],
    "items": ALL_FAILED,
}
FAILED_BATCH = batch(
    TRAINING_OF_ALL,
    1,
    kind="train",
    queue={"name": "train", "position": None},
    state="failed",
    terminal=True,
    rev=2,
    finished_at="2026-10-12T07:01:20.502Z",
    expires_at="2026-11-11T07:01:20.502Z",
    progress={"items": ALL_FAILED, "failures": [{"code": "training_diverged", "count": 1, "jobs": [ITEM_OF_ALL]}]},
    result=ALL_FAILED | {"succeeded": 0, "cancelled": 0, "has_failures": True},
    error=problem("batch_failed", "0 of 1 items succeeded; each item says why."),
)

CHAPTER: tuple[Example, ...] = (
    Example(
        "predict_batch",
        "Two targets of one person; each is an item",
        headers={"Idempotency-Key": "predict-batch-1"},
        body={"entities": ["user-42"], "targets": ["rhr", "asleep_min"], "horizon": 3},
        status=202,
        answer=batch(BATCH, 2),
    ),
    Example(
        "list_items",
        "The first item of the batch",
        {"job_id": BATCH},
        {"state": "queued", "limit": 1},
        answer=page(
            job(
                BATCH_ITEM,
                parent=BATCH,
                queue={"name": "batch", "position": None},
                spec={"entity": "user-42", "target": "rhr", "horizon": 3, "level": None, "version": None, "future": None},
            ),
            more=True,
        ),
    ),
    Example(
        "cancel_job",
        "The batch is not wanted any more",
        {"job_id": BATCH},
        answer=batch(
            BATCH,
            2,
            state="cancelled",
            terminal=True,
            rev=3,
            finished_at="2026-10-12T07:00:01.238Z",
            expires_at="2026-11-11T07:00:01.238Z",
            progress={"items": {"total": 2, "cancelled": 2}},
            result={"total": 2, "succeeded": 0, "failed": 0, "cancelled": 2, "has_failures": False},
        ),
    ),
    Example(
        "retry_job",
        "It is wanted after all",
        {"job_id": BATCH},
        headers={"Idempotency-Key": "retry-1"},
        status=202,
        answer=batch(RETRIED_BATCH, 2, retry_of=BATCH),
    ),
    Example(
        "train",
        "Everyone whose sleep is known, in one batch",
        body={"selector": {"kind": "user", "has_channel": "asleep_min"}, "recipe": "health-daily", "target": "rhr"},
        status=202,
        answer=batch(TRAINING_OF_ALL, 1, kind="train", queue={"name": "train", "position": None}),
    ),
    Example(
        "list_jobs",
        "What is under way",
        query={"state": "running", "limit": 1},
        answer=page(batch(TRAINING_OF_ALL, 1, kind="train", queue={"name": "train", "position": None}, progress={}), more=True),
    ),
    Example(
        "watch_job",
        "How the batch ended: no item succeeded",
        {"job_id": TRAINING_OF_ALL},
        headers={"Accept": "text/event-stream", "Last-Event-ID": "1-1023"},
        answer=stream(("2-2046", "item", ENDED_ITEM), ("2-2047", "end", FAILED_BATCH)),
        answer_type="text/event-stream",
    ),
)
