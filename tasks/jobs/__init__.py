"""Job specs: frozen values that know their kind, their queue and what operators read of them.

Processes of two releases read each other's specs while one takes the other's place; docs/decisions/0024 has the rule.
A job is written in the lowest format that says all of it: one that reads the built-in store is an older release's to do as well.
"""

from tasks.jobs.digests import Mark, Stencil, digest, mark
from tasks.jobs.formats import FORMAT
from tasks.jobs.questions import Ahead, AnomalyDetectJob, BacktestJob, PredictJob, ReadinessJob, WhatIfJob
from tasks.jobs.queues import BATCH, INTERACTIVE, JOINED, QUEUES, SERVES, TRAIN
from tasks.jobs.trainings import AnomalyTrainJob, BaseRef, ImportJob, PretrainJob, TrainJob

JobSpec = TrainJob | PretrainJob | ImportJob | PredictJob | WhatIfJob | BacktestJob | AnomalyTrainJob | AnomalyDetectJob | ReadinessJob

__all__ = [
    "BATCH",
    "FORMAT",
    "INTERACTIVE",
    "JOINED",
    "QUEUES",
    "SERVES",
    "TRAIN",
    "Ahead",
    "AnomalyDetectJob",
    "AnomalyTrainJob",
    "BacktestJob",
    "BaseRef",
    "ImportJob",
    "JobSpec",
    "Mark",
    "PredictJob",
    "PretrainJob",
    "ReadinessJob",
    "Stencil",
    "TrainJob",
    "WhatIfJob",
    "digest",
    "mark",
]
