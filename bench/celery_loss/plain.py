"""The textbook's two Celery apps, and the one task of both."""

from __future__ import annotations

import time

from celery import Celery

from bench.celery_loss.record import FINISHED, STARTED, note

VISIBILITY_S = 5
TRANSPORT = {"visibility_timeout": VISIBILITY_S, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
safest = Celery("safest", set_as_current=False)
safest.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, broker_transport_options=TRANSPORT)
defaults = Celery("defaults", set_as_current=False)
defaults.conf.update(broker_transport_options=TRANSPORT)
LEGS = (safest, defaults)


def work(record: str, number: int) -> None:
    """What each message asks for; its length depends on the number alone."""
    note(record, STARTED, number)
    time.sleep(0.005 + number % 6 / 1000)
    note(record, FINISHED, number)


for leg in LEGS:
    leg.task(name="work")(work)
