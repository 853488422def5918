"""A worker whose trainings do nothing, and whose poisonous ones take their process down. For `celery --include`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence

from tasks.execute import Work
from tasks.worker import HANDLERS
from tasks.workshop import Workshop

#: The seed of a training that kills its process, and of one that waits to be told to stop.
POISON, PATIENT = 666, 777


def train(_: Workshop, works: Sequence[Work]) -> None:
    for work in works:
        with work.outcome():
            seed = work.job.spec["spec"]["seed"]
            if seed == POISON:
                os.kill(os.getpid(), signal.SIGKILL)
            while seed == PATIENT:
                work.progress("fit")
                time.sleep(0.05)
            work.publish(lambda _: ({"trained": True}, []))


HANDLERS["train"] = train
