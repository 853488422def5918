"""Delivering: what happened is told to webhooks, signed, by as many tries as it takes or as there are."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from db import deliveries
from db.deliveries import Due, Room
from tasks import metrics
from tasks.addresses import Guard
from tasks.documents import API
from tasks.outside import Outside, Unreachable
from tasks.runtime import Runtime

log = structlog.get_logger()

#: Pauses between two tries, each a fifth longer or shorter by chance: what failed together does not come back together.
PAUSES_S = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0)
JITTER = 0.2
#: Beside the time that a try may take: to look a name up, which nobody can hurry, and to write down what came of it.
SLACK_S = 60.0
#: A receiver that says so is never told again.
GONE = 410


class Courier:
    """Takes up what is due and sends it, so many at once. Any number may run: each delivery is taken up under a lease."""

    def __init__(self, runtime: Runtime, told: threading.Event, outside: Outside | None = None) -> None:
        settings = runtime.settings
        self._runtime, self._told = runtime, told
        self._outside = outside or Outside(Guard.of(settings), settings.webhook_timeout_s)
        self._pool = ThreadPoolExecutor(settings.webhook_at_once, thread_name_prefix="deliver")
        self._flying: dict[Future[None], Due] = {}

    def round(self) -> None:
        """Send what is due until nothing is, or all places are taken by tries that go on."""
        while not self._told.is_set():
            self._land()
            taken = self._take()
            for due in taken:
                self._flying[self._pool.submit(self._deliver, due)] = due
            if not taken:
                return
            if self.under_way >= self._runtime.settings.webhook_at_once:
                wait(self._flying, timeout=self._runtime.settings.dispatch_poll_s, return_when=FIRST_COMPLETED)

    @property
    def under_way(self) -> int:
        return len(self._flying)

    def _land(self) -> None:
        """Forget tries that have ended. One that met an error nobody foresaw raises it here, in the thread that is watched."""
        for done in [each for each in self._flying if each.done()]:
            del self._flying[done]
            done.result()

    def _take(self) -> list[Due]:
        settings, flying = self._runtime.settings, self._flying.values()
        room = Room(
            free=settings.webhook_at_once - self.under_way,
            per_host=settings.webhook_host_at_once,
            per_tenant=settings.webhook_tenant_at_once,
            hosts=Counter(due.host for due in flying),
            tenants=Counter(due.tenant_id for due in flying),
        )
        with self._runtime.sessions.begin() as session:
            return deliveries.take(session, room, settings.webhook_timeout_s + SLACK_S)

    def _deliver(self, due: Due) -> None:
        """Send, and write down what came of it. What cannot be written down is sent again when its lease is over."""
        status, error = self._send(due)
        try:
            with self._runtime.sessions.begin() as session:
                outcome = _recorded(session, due, status, error)
        except SQLAlchemyError as away:
            log.warning("delivery_not_recorded", delivery=due.id, error=str(away).splitlines()[0])
            return
        self._runtime.meter.count(metrics.DELIVERIES, outcome)
        log.info("delivery_tried", delivery=due.id, tenant=due.tenant_id, webhook=due.webhook_id, attempt=due.attempt, outcome=outcome)

    def _send(self, due: Due) -> tuple[int | None, str | None]:
        """The answer's status, and what is wrong with it, if anything is."""
        body = written(message(due.type, due.created_at, due.data))
        try:
            status = self._outside.post(due.url, headers(due.id, body, due.secrets), body)
        except Unreachable as error:
            return None, str(error)
        if 200 <= status < 300:
            return status, None
        return status, f"The answer was {status}." + (" Redirects are not followed." if 300 <= status < 400 else "")


def _recorded(session: Session, due: Due, status: int | None, error: str | None) -> str:
    """Writes the outcome down, and says which it was."""
    if status is not None and error is None:
        return "delivered" if deliveries.delivered(session, due, status) else "late"
    assert error is not None
    if status == GONE or due.attempt > len(PAUSES_S):
        return "failed" if deliveries.given_up(session, due, status_code=status, error=error, gone=status == GONE) else "late"
    return "retried" if deliveries.again(session, due, pause_s(due.attempt), status_code=status, error=error) else "late"


def pause_s(attempt: int) -> float:
    """Seconds from the end of this try to the next one."""
    return PAUSES_S[attempt - 1] * random.uniform(1 - JITTER, 1 + JITTER)


def message(kind: str, happened_at: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    """What a receiver reads: the type, the moment, the ids of what it is about, and where to read the rest. The same at every try."""
    moment = happened_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"type": kind, "timestamp": moment, "data": {**data, "links": _links(data)}}


def _links(data: Mapping[str, Any]) -> dict[str, str]:
    if "job" in data:
        here = f"{API}/jobs/{data['job']}"
        return {"self": here, "result": f"{here}/result"}
    if "model" in data:
        here = f"{API}/models/{data['model']}"
        return {"self": here, "version": f"{here}/versions/{data['version']}"}
    return {"self": f"{API}/webhooks/{data['webhook']}"}


def written(body: Mapping[str, Any]) -> bytes:
    """As it travels: members in the order of their names, for the ledger's JSON keeps no order."""
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def headers(message_id: str, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """Those of Standard Webhooks; a signature by each secret."""
    at = int(time.time())
    signatures = " ".join(sign(secret, message_id, at, body) for secret in secrets)
    ours = {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": signatures}
    return ours | {"Content-Type": "application/json", "User-Agent": "Fleetcast"}


def sign(secret: str, message_id: str, at: int, body: bytes) -> str:
    """`v1,<base64 HMAC-SHA256(id.timestamp.body)>` (https://github.com/standard-webhooks/standard-webhooks, "Symmetric")."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"
