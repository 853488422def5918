"""Entry for `celery -A tasks`: Flower and the workers find the application here."""

import logging
import os
from pathlib import Path
from typing import Any

from billiard.util import get_logger
from celery.signals import celeryd_after_setup, setup_logging

from tasks import logs
from tasks.environment import load, withdraw
from tasks.queue import make_celery

_settings = load()
logs.configure(_settings)
app = make_celery(_settings, role="worker")


@setup_logging.connect
def keep_our_logs(**_: Any) -> None:
    """Celery sets up its own logs unless somebody answers here. The pool tells of its children through a logger that keeps to itself."""
    logs.configure(_settings)
    pool = get_logger()
    pool.handlers.clear()
    pool.setLevel(logging.ERROR)
    pool.propagate = True


@celeryd_after_setup.connect
def say_it_in_the_log_alone(**_: Any) -> None:
    """A worker greets and takes its leave on standard output, and has a child that is started afresh log in words of its own."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    withdraw("_MP_FORK_LOGLEVEL_")
