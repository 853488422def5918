"""Whether a process of this machine does its work, asked from outside it: what a container's health check calls."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping

import click
import redis
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db.session import make_engine
from ops.telling import as_json_option, tell
from tasks.environment import load
from tasks.jobs import SERVES
from tasks.queue import make_celery
from tasks.settings import Settings

#: Longest wait for an answer. A process that is merely busy answers within a second.
PATIENCE_S = 5.0

# Both questions of a dispatcher that only Postgres can answer for it: does it listen for calls, and has it looked for work lately.
# Sessions from our own address are its, since a container has an address of its own.
_DISPATCHER = text("""
SELECT count(*) FILTER (WHERE application_name = 'fleetcast-dispatcher-listen') > 0 AS listens,
       extract(epoch FROM clock_timestamp() - max(state_change) FILTER (WHERE application_name = 'fleetcast-dispatcher')) AS silent_s
FROM pg_stat_activity
WHERE usename = current_user AND client_addr IS NOT DISTINCT FROM inet_client_addr()
""")


class Ill(click.ClickException):
    """It does not do its work; the sentence says what was seen."""


@click.command()
@click.argument("process", type=click.Choice(["web", "dispatcher", *sorted(SERVES), "flower"]))
@as_json_option
def healthcheck_command(process: str, as_json: bool) -> None:
    """Ask a process of this machine whether it does its work. Ends with 1 when it does not."""
    CHECKS[process](load())
    tell({"process": process, "well": True}, f"{process} is well.", as_json=as_json)


def web(settings: Settings) -> None:
    """It answers. Whether Postgres and Redis do is for `/readyz` to say: starting this process again would not mend them."""
    _get(settings.api_host, settings.api_port, "healthz")


def flower(settings: Settings) -> None:
    prefix = settings.flower_url_prefix.strip("/")
    _get(settings.api_host, settings.flower_port, f"{prefix}/healthcheck" if prefix else "healthcheck")


def dispatcher(settings: Settings) -> None:
    """It has no port; the ledger has seen it."""
    engine = make_engine(settings.database_url, connections=2, application="fleetcast-healthcheck")
    try:
        with engine.connect() as connection:
            listens, silent_s = connection.execute(_DISPATCHER).one()
    except DBAPIError as error:
        raise Ill(f"Postgres does not answer: {str(error.orig).splitlines()[0]}") from error
    finally:
        engine.dispose()
    # Three of its slowest rounds, and what one of them may take.
    patience_s = 3 * max(settings.dispatch_poll_s, settings.reconcile_s) + 10
    if not listens:
        raise Ill("No dispatcher of this address listens for jobs.")
    if silent_s is None or silent_s > patience_s:
        raise Ill(f"The dispatcher has not looked for jobs within {patience_s:g} s.")


def worker(settings: Settings, kind: str) -> None:
    """It hears the broker, answers, and takes from all its queues; one that was told to leave them would still answer a ping.

    Its parent process, that is. A job that hangs in a child loses its lease instead.
    """
    node = f"{kind}@{socket.gethostname()}"
    app = make_celery(settings, role="healthcheck")
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=int(PATIENCE_S))
            answers = app.control.inspect(destination=[node], timeout=PATIENCE_S, connection=connection).active_queues() or {}
    except (BrokerError, redis.RedisError) as error:
        raise Ill(f"The broker does not answer: {error}") from error
    finally:
        app.close()
    if node not in answers:
        raise Ill(f"{node} does not answer within {PATIENCE_S:g} s.")
    left = set(SERVES[kind]) - {queue["name"] for queue in answers[node]}
    if left:
        raise Ill(f"{node} takes nothing from {', '.join(sorted(left))} any more.")


CHECKS: Mapping[str, Callable[[Settings], None]] = {
    "web": web,
    "dispatcher": dispatcher,
    "flower": flower,
    "interactive": lambda settings: worker(settings, "interactive"),
    "train": lambda settings: worker(settings, "train"),
}


def _get(host: str, port: int, path: str) -> None:
    """Raises Ill unless the answer is a good one."""
    near = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(host, host)
    url = f"http://{near}:{port}/{path}"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the way out of this machine needs
    try:
        with direct.open(url, timeout=PATIENCE_S):  # a status of 400 or more raises
            return
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise Ill(f"{url} does not answer: {error}") from error
