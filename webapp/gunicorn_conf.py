"""How gunicorn serves: gevent workers, each of which imports the app after patching, so that psycopg waits without blocking others."""

import gc
import logging
import re
import sys
from typing import Any

from gevent.socket import wait_read, wait_readwrite, wait_write
from gunicorn import glogging

from tasks import logs
from tasks.environment import load

#: Lines of gunicorn's that go on with what a client sent: a path, a header, maybe a key.
_QUOTES = re.compile(r"Invalid request from ip=\S*(?=: )|Error handling request(?= )")


class Logger(glogging.Logger):  # type: ignore[misc]  # gunicorn is untyped
    """gunicorn's own lines, from the master's first, in the shape of ours."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        logs.configure(load())
        self.error_log.handlers.clear()
        self.error_log.setLevel(logging.NOTSET)
        self.error_log.propagate = True
        self.error_log.addFilter(unquoted)


def unquoted(record: logging.LogRecord) -> bool:
    """Of a request that gunicorn refuses or fails at, the kind of error is told and not the request."""
    quotes = _QUOTES.match(record.getMessage())
    if quotes:
        kind = sys.exc_info()[0]
        record.msg, record.args = f"{quotes[0]}: {kind.__name__ if kind else 'unknown'}", ()
    return True


logger_class = Logger
worker_class = "gevent"
worker_connections = 1000
# The master must not import the app: psycopg imported before gevent's patching blocks the whole process at each query.
preload_app = False
# How long a worker may give no sign of life. It gives one every second, whatever its requests wait for.
timeout = 60
# Long polls and event streams end when a worker is told to stop; what is being answered has so long.
graceful_timeout = 35
keepalive = 5
limit_request_line = 8190
limit_request_fields = 60
limit_request_field_size = 8190
# It would write a socket below the home folder, which a read-only container does not have.
control_socket_disable = True
accesslog = None


def post_worker_init(worker: Any) -> None:
    """The app is loaded: it waits for Postgres in gevent's own way, and whoever waits in it is let go when the worker is told to stop."""
    wait_by_gevent()
    hub = worker.wsgi.extensions.get("fleetcast.hub")
    if hub is not None:  # another app may be served with these settings
        hub.leave_when(lambda: not worker.alive)
    _settle()


def _settle() -> None:
    """What was imported stays for good: whole collections that walk its 180,000 objects keep everybody waiting for 0.2 s each time."""
    gc.collect()
    gc.freeze()


def wait_by_gevent() -> None:
    """psycopg under gevent waits by a `poll` made anew each time, which is a third of what a short statement costs."""
    from psycopg import waiting  # not before the patching

    by_poll = waiting.wait
    ways = {
        waiting.Wait.R: (wait_read, waiting.Ready.R),
        waiting.Wait.W: (wait_write, waiting.Ready.W),
        waiting.Wait.RW: (wait_readwrite, waiting.Ready.RW),
    }

    def wait(gen: Any, fileno: int, interval: float = 0.0, timeout: float | None = None) -> Any:
        if timeout is not None:
            return by_poll(gen, fileno, interval, timeout)
        try:
            wanted = next(gen)
            while True:
                until, ready = ways[wanted]
                until(fileno)
                wanted = gen.send(ready)
        except StopIteration as done:
            return done.value

    waiting.wait = wait
