"""Bases: learned here from two people, brought from elsewhere, and started from."""

from __future__ import annotations

import json
import math

from ml.shapes import declared
from ml.shelf import MANIFEST, WEIGHTS, zipped
from ml.spec import ModelSpec
from ml.weights import packed
from webapp.examples.cast import BASE, IMPORT, IMPORTED_BASE, PRETRAINING, TRAINING_FROM_BASE
from webapp.examples.example import Example, page
from webapp.examples.jobs import job
from webapp.examples.trainings import TRAIN_SPEC
from webapp.examples.versions import SPEC, VERDICT, VERSION, lineage, scores

BASE_SPEC = SPEC | {"covariates": [], "epochs": 100}
PRETRAINED = {
    "base": "resting-hearts",
    "target": "rhr",
    "model": BASE,
    "version": "1.0.0",
    "active": True,
    "entities": 2,
    "skill": 0.12,
    "losses": {"user-42": 0.85, "user-43": 0.91},
    "gate": VERDICT | {"checks": [{"name": "skill", "have": 0.12, "need": 0.0, "met": True}], "production_ready": None},
}
BASE_VERSION = VERSION | {
    "model": BASE,
    "job": PRETRAINING,
    "spec": BASE_SPEC,
    "metrics": {"lstm": {"stop": dict.fromkeys(scores(0, 0)) | {"n": 2, "mape_n": 0, "skill": 0.12}}},
    "gate": PRETRAINED["gate"],
    "artefact": {"sha256": "5f1d" * 16, "bytes": 380_116},
}
ELSEWHERE_SPEC = ModelSpec(("rhr",), window=14, horizon=7, hidden_size=8, num_layers=1, cadence_s=86_400.0)
#: All numbers 0, as no network is that has learned; it is the last value.
ELSEWHERE = zipped(
    {
        MANIFEST: json.dumps({"spec": ELSEWHERE_SPEC.as_dict()}).encode(),
        WEIGHTS: packed({name: [0.0] * math.prod(shape) for name, shape in declared(ELSEWHERE_SPEC).items()}, ELSEWHERE_SPEC),
    },
    "other-hearts",
)
IMPORTED_VERSION = BASE_VERSION | {
    "model": IMPORTED_BASE,
    "job": IMPORT,
    "recipe": None,
    "spec": ELSEWHERE_SPEC.as_dict(),
    "metrics": {},
    "gate": {"passed": False, "checks": [{"name": "imported", "have": None, "need": 0.0, "met": False}], "production_ready": None},
    "data_from": None,
    "data_until": None,
    "source": None,
    "artefact": {"sha256": "7c0e" * 16, "bytes": 4_320},
}
IMPORTED = {
    "base": "other-hearts",
    "target": "rhr",
    "model": IMPORTED_BASE,
    "version": "1.0.0",
    "active": True,
    "gate": IMPORTED_VERSION["gate"],
}

CHAPTER: tuple[Example, ...] = (
    Example(
        "pretrain",
        "A base, learned from two people",
        headers={"Idempotency-Key": "resting-hearts-1"},
        body={"name": "resting-hearts", "entities": ["user-43", "user-42"], "recipe": "health-daily", "target": "rhr"},
        status=202,
        answer=job(
            PRETRAINING,
            kind="pretrain",
            entity="resting-hearts",
            spec={
                "entity": "resting-hearts",
                "recipe": "health-daily",
                "target": "rhr",
                "entities": ["user-43", "user-42"],
                "activation": "auto",
                "look_back_hours": None,
                "spec": BASE_SPEC,
            },
            queue={"name": "train", "position": 0},
        ),
    ),
    Example(
        "get_result",
        "What became of the base",
        {"job_id": PRETRAINING},
        answer={"job": PRETRAINING, "kind": "pretrain", "result": PRETRAINED},
    ),
    Example(
        "list_models",
        "The bases that there are",
        query={"kind": "base"},
        answer=page(lineage(BASE, "resting-hearts", BASE_VERSION) | {"kind": "base"}),
    ),
    Example(
        "train",
        "Start from the base: a few epochs are enough",
        body={
            "entity": "user-42",
            "recipe": "health-daily",
            "target": "rhr",
            "base": {"name": "resting-hearts"},
            "spec": {"epochs": 10, "learning_rate": 0.001},
        },
        status=202,
        answer=job(
            TRAINING_FROM_BASE,
            kind="train",
            spec=TRAIN_SPEC | {"base": {"model": BASE, "version": "1.0.0"}, "spec": BASE_SPEC | {"epochs": 10, "learning_rate": 0.001}},
            queue={"name": "train", "position": 0},
        ),
    ),
    Example(
        "import_base",
        "A network that was learned elsewhere, as a base",
        query={"name": "other-hearts", "activation": "auto"},
        body=ELSEWHERE,
        media_type="application/zip",
        status=201,
        answer=IMPORTED_VERSION,
    ),
    Example(
        "import_base",
        "The same once more is the same version",
        query={"name": "other-hearts"},
        body=ELSEWHERE,
        media_type="application/zip",
        answer=IMPORTED_VERSION,
    ),
    Example("get_result", "What its job tells", {"job_id": IMPORT}, answer={"job": IMPORT, "kind": "import", "result": IMPORTED}),
)
