"""A training: whether it would be accepted, how it is watched, and what it brought."""

from __future__ import annotations

from typing import Any

from webapp.examples.cast import MODEL, TRAINING, USER
from webapp.examples.example import Example, page, stream
from webapp.examples.jobs import DONE, job
from webapp.examples.versions import LINEAGE, METRICS, SPEC, VERDICT, VERSION

TRAINED = {
    "target": "rhr",
    "model": MODEL,
    "version": "1.0.0",
    "active": True,
    "served_by": "blend",
    "metrics": METRICS,
    "gate": VERDICT,
    "others": [],
}
TRAIN_SPEC = {
    "entity": "user-42",
    "recipe": "health-daily",
    "target": "rhr",
    "model": "rhr",
    "activation": "auto",
    "look_back_hours": None,
    "base": None,
    "spec": SPEC,
}
QUEUED_TRAINING = job(TRAINING, kind="train", spec=TRAIN_SPEC, queue={"name": "train", "position": 0}, metadata={"client": "ios"})
DONE_TRAINING = QUEUED_TRAINING | DONE | {"queue": {"name": "train", "position": None}, "result": TRAINED}


def _brief(**about: Any) -> dict[str, Any]:
    """What changes in the training while it runs, but for what is told about it."""
    names = ("id", "estimated_finish_at", "progress", "seq")
    return {name: QUEUED_TRAINING[name] for name in names} | {"state": "running", "rev": 2, "attempt": 1} | about


def _figures(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "epochs": 60, "train_loss": 0.5 / epoch, "val_loss": 0.6 / epoch, "best_epoch": epoch}


RESET = {"detail": "What happened meanwhile is not known any more; how the job stands now follows."}

CHAPTER: tuple[Example, ...] = (
    Example(
        "get_readiness",
        "Whether a training would be accepted",
        USER,
        {"recipe": "health-daily", "target": "rhr"},
        answer={
            "entity": "user-42",
            "recipe": "health-daily",
            "target": "rhr",
            "ready": True,
            "requirements": [{"name": "rhr.days", "have": 42.0, "need": 30.0, "unit": "day", "met": True, "eta": None}],
        },
    ),
    Example(
        "train",
        "One person, by a recipe",
        headers={"Idempotency-Key": "train-user-42-rhr-1"},
        body={"entity": "user-42", "recipe": "health-daily", "target": "rhr", "spec": {"epochs": 60}, "metadata": {"client": "ios"}},
        status=202,
        answer=QUEUED_TRAINING,
    ),
    Example("get_job", "A training that succeeded", {"job_id": TRAINING}, {"wait": 0}, answer=DONE_TRAINING),
    Example(
        "watch_job",
        "The events of a training that succeeded",
        {"job_id": TRAINING},
        headers={"Accept": "text/event-stream"},
        answer=stream(("3-1022", "snapshot", DONE_TRAINING), ("3-1023", "end", DONE_TRAINING)),
        answer_type="text/event-stream",
    ),
    Example(
        "watch_job",
        "What was told after the first event, for a client that was cut off",
        {"job_id": TRAINING},
        headers={"Accept": "text/event-stream", "Last-Event-ID": "1-1023"},
        answer=stream(
            ("2-1023", "state", _brief()),
            ("2-2046", "metric", {"attempt": 1} | _figures(1)),
            ("2-2047", "progress", _brief(seq=1, progress={"phase": "fit", "fraction": 0.067} | _figures(1))),
            ("2-3071", "metric", {"attempt": 1} | _figures(2)),
            ("3-1023", "end", DONE_TRAINING),
        ),
        answer_type="text/event-stream",
    ),
    Example(
        "watch_job",
        "A Last-Event-ID after which nothing is known any more",
        {"job_id": TRAINING},
        headers={"Accept": "text/event-stream", "Last-Event-ID": "1-7"},
        answer=stream(("0-0", "reset", RESET), ("3-1022", "snapshot", DONE_TRAINING), ("3-1023", "end", DONE_TRAINING)),
        answer_type="text/event-stream",
    ),
    Example("get_result", "What the training brought", {"job_id": TRAINING}, answer={"job": TRAINING, "kind": "train", "result": TRAINED}),
    Example("list_models", "Models of a person", query={"entity": "user-42", "limit": 10}, answer=page(LINEAGE)),
    Example("list_models_of", "The same by its path", USER, answer=page(LINEAGE)),
    Example("get_model", "A model and who serves", {"model_id": MODEL}, answer=LINEAGE),
    Example("list_versions", "Its versions", {"model_id": MODEL}, answer=page(VERSION)),
    Example("get_version", "The first version", {"model_id": MODEL, "semver": "1.0.0"}, answer=VERSION),
)
