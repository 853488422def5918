"""The ringer: wakes the dispatchers for what was submitted, once for however many came meanwhile, and nobody waits for it."""

from __future__ import annotations

import threading
import time

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db import ledger
from db.session import make_sessions

log = structlog.get_logger()

#: Pause after a call: a hundred submissions a second are told of in twenty calls, each of which costs as much as a third of a submission.
#: The first after a while is told of at once.
REST_S = 0.05
#: Longest wait for a last call when the process ends; the dispatcher looks by itself every second.
JOIN_S = 2.0


class Ringer:
    """A thread that calls after COMMIT. A NOTIFY inside the submitting transaction would make all of these commit one after another."""

    def __init__(self, engine: Engine) -> None:
        self._sessions = make_sessions(engine, singly=True)
        self._asked = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def ring(self) -> None:
        """Best effort: the job is written, and the dispatcher looks by itself."""
        self._asked.set()
        if self._thread is None:
            self._start()

    def close(self) -> None:
        """Make the call that is asked for, if any, and end."""
        self._closing = True
        self._asked.set()
        if self._thread is not None:
            self._thread.join(JOIN_S)

    def _start(self) -> None:
        """With the first job, so that a process which submits none has no such thread."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ringer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closing or self._asked.is_set():
            self._asked.wait()
            self._asked.clear()
            self._call()
            time.sleep(REST_S)

    def _call(self) -> None:
        try:
            with self._sessions.begin() as session:
                ledger.ring(session)
        except SQLAlchemyError as error:
            log.warning("not_rung", error=str(error).splitlines()[0])
