"""The dispatcher: due rows become doorbells on the broker, bounded and fair; a lost bell is rung again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import psycopg
import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError as BrokerError
from redis import Redis
from sqlalchemy.exc import SQLAlchemyError

from db import ledger
from db.session import LIVELY
from tasks.jobs import QUEUES
from tasks.metrics import BELLS, BELLS_AGAIN, DISPATCHER
from tasks.queue import make_celery
from tasks.reconcile import patrols
from tasks.runtime import Runtime

log = structlog.get_logger()


#: Longest wait for rounds under way when told to stop; what they leave undone any other dispatcher does.
STOP_S = 10.0


class Dispatcher:
    """One loop; any number may run, because rows are taken with SKIP LOCKED. Knows no handler: it sends by name."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._celery: Celery = make_celery(runtime.settings, role="dispatcher")
        self._broker = Redis.from_url(runtime.settings.redis_url, socket_timeout=5, socket_connect_timeout=2)

    def run(self, stop: threading.Event) -> None:
        """Dispatch and reconcile until told to stop. Postgres or the broker may go and come back meanwhile."""
        self._runtime.serve(DISPATCHER)
        rounds = patrols(self._runtime, stop)
        for patrol in rounds:
            patrol.start()
        while not stop.is_set():
            try:
                with self._listen() as connection:
                    self._loop(stop, connection)
            except (SQLAlchemyError, psycopg.Error) as error:
                log.warning("postgres_away", error=str(error).splitlines()[0])
                stop.wait(self._runtime.settings.dispatch_poll_s)
        gone = time.monotonic() + STOP_S
        for patrol in rounds:
            patrol.join(max(0.0, gone - time.monotonic()))
        self.close()

    def dispatch_once(self) -> int:
        """Ring for what is due in every queue; the number of bells rung. A broker that is away rings nothing and loses nothing."""
        try:
            return sum(self._dispatch(queue) for queue in QUEUES)
        except (redis.RedisError, BrokerError) as error:
            log.warning("broker_away", error=str(error))
            return 0

    def close(self) -> None:
        self._broker.close()
        self._celery.close()

    def _loop(self, stop: threading.Event, connection: psycopg.Connection) -> None:
        """Called as soon as a job is submitted, and every `dispatch_poll_s` in case the call was lost."""
        while not stop.is_set():
            rung = self.dispatch_once()
            if not rung:
                self._sleep(connection)

    def _sleep(self, connection: psycopg.Connection) -> None:
        """Until called or `dispatch_poll_s` is over. Calls that came together are one."""
        for timeout in (self._runtime.settings.dispatch_poll_s, 0.0):
            for _ in connection.notifies(timeout=timeout, stop_after=1 if timeout else None):
                pass

    def _dispatch(self, queue: str) -> int:
        """Fill the queue's window. Rows are locked while their bells are sent, and stamped in the same transaction.

        A crash in between rings twice, never not at all.
        """
        settings = self._runtime.settings
        waiting = int(self._broker.llen(queue))
        with self._runtime.sessions.begin() as session:
            bells = ledger.due(session, queue, settings.dispatch_window - waiting, settings.prediction_cohort)
            new = len(bells)
            if ledger.unanswered(session, queue, settings.redispatch_s):
                bells += ledger.lost(session, queue, settings.redispatch_s, self._lying(queue), settings.dispatch_window)
            rung = self._ring(bells)
            ledger.dispatched(session, [bell.job_id for bell in rung])
        self._runtime.meter.count(BELLS, queue, by=len(rung))
        self._runtime.meter.count(BELLS_AGAIN, queue, by=max(0, len(rung) - new))
        return len(rung)

    def _lying(self, queue: str) -> set[str]:
        """The jobs whose bell still lies on the broker: behind a slow worker, not lost. What is no message of ours is passed over."""
        found: set[str] = set()
        for raw in self._broker.lrange(queue, 0, -1):
            with suppress(ValueError, KeyError, TypeError):
                found.add(str(json.loads(raw)["headers"]["id"]).partition(":")[0])
        return found

    def _ring(self, bells: Sequence[ledger.Bell]) -> list[ledger.Bell]:
        """Send each bell; those sent before the broker went away."""
        rung: list[ledger.Bell] = []
        for bell in bells:
            try:
                self._celery.send_task(
                    bell.kind,
                    args=(bell.job_id,),
                    task_id=f"{bell.job_id}:{bell.dispatch_no}",
                    queue=bell.queue,
                    argsrepr=bell.job_id,  # ids alone: nothing can be erased from the broker, nor from what Flower has seen
                    kwargsrepr="",
                    ignore_result=True,
                )
            except (redis.RedisError, BrokerError) as error:
                log.warning("broker_away", error=str(error))
                break
            rung.append(bell)
        return rung

    def _listen(self) -> psycopg.Connection:
        url = self._runtime.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        connection = psycopg.connect(url, autocommit=True, application_name="fleetcast-dispatcher-listen", **LIVELY)
        connection.execute("LISTEN job_due")
        return connection
