"""The dispatcher: due rows become doorbells on the broker, bounded and fair; a lost bell is rung again."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import psycopg
import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError as BrokerError
from redis import Redis
from sqlalchemy.exc import OperationalError

from db import ledger
from tasks.jobs import QUEUES
from tasks.queue import make_celery
from tasks.reconcile import Rounds
from tasks.runtime import Runtime

log = structlog.get_logger()


class Dispatcher:
    """One loop; any number may run, because rows are taken with SKIP LOCKED. Knows no handler: it sends by name."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._celery: Celery = make_celery(runtime.settings, role="dispatcher")
        self._broker = Redis.from_url(runtime.settings.redis_url, socket_timeout=5, socket_connect_timeout=2)
        self._rounds = Rounds(runtime)

    def run(self, stop: threading.Event) -> None:
        """Dispatch and reconcile until told to stop. Postgres or the broker may go and come back meanwhile."""
        while not stop.is_set():
            try:
                with self._listen() as connection:
                    self._loop(stop, connection)
            except (OperationalError, psycopg.OperationalError) as error:
                log.warning("postgres_away", error=str(error).splitlines()[0])
                self._rounds.rest()
                stop.wait(self._runtime.settings.dispatch_poll_s)
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
            self._rounds.walk()
            if not rung:
                for _ in connection.notifies(timeout=self._runtime.settings.dispatch_poll_s, stop_after=1):
                    pass

    def _dispatch(self, queue: str) -> int:
        """Fill the queue's window. Rows are locked while their bells are sent, and stamped in the same transaction.

        A crash in between rings twice, never not at all. Bells are taken for lost only as far as Redis holds fewer than are out:
        a slow worker's queue is not rung again and again.
        """
        settings = self._runtime.settings
        waiting = int(self._broker.llen(queue))
        with self._runtime.sessions.begin() as session:
            lost = max(0, ledger.outstanding(session, queue) - waiting)
            free = max(0, settings.dispatch_window - waiting)
            bells = ledger.due(session, queue, free, settings.redispatch_s, lost)
            rung = self._ring(bells)
            ledger.dispatched(session, [bell.job_id for bell in rung])
        return len(rung)

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
                    argsrepr=bell.label,
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
        connection = psycopg.connect(url, autocommit=True, application_name="fleetcast-dispatcher-listen", connect_timeout=5)
        connection.execute("LISTEN job_due")
        return connection
