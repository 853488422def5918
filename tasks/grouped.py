"""Group commit: jobs that are asked for at the same moment are written by one statement, and wait for one lock and one disk."""

from __future__ import annotations

import threading
from collections import deque

from psycopg import OperationalError as ConnectionLost
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.orm import Session

from db import ledger
from db.errors import StoreError
from db.ledger import NewJob, Placed

#: Requests that one statement takes along. Those behind wait for the next, no longer than these.
MOST = 100

#: Whose lock is taken, and where it is counted: what one statement is for.
_Line = tuple[str, str]


class _Turn:
    """One request in a line. Who is called without being settled writes for all that stand behind."""

    __slots__ = ("called", "job_id", "new", "settled")

    def __init__(self, job_id: str, new: NewJob) -> None:
        self.job_id = job_id
        self.new = new
        self.called = threading.Event()
        #: What came of it: placed; refused; None for what must ask by itself; nothing until somebody has asked for it.
        self.settled: list[Placed | Exception | None] = []


class GroupCommit:
    """One per process, for its threads or greenlets.

    Who comes first writes at once; who comes while that is under way waits, and the first of those writes for all of them. So nobody waits
    in order to have company, and the busier it is the less a job costs. Without it the tenant's lock lets one commit at a time go
    to the disk.
    """

    def __init__(self, max_queue: int) -> None:
        self._max_queue = max_queue
        self._lock = threading.Lock()
        self._lines: dict[_Line, deque[_Turn]] = {}

    def place(self, session: Session, new: NewJob, job_id: str) -> Placed:
        """As `ledger.place`, in a session whose statements are sent singly and which holds nothing: while this waits it lets its
        connection go. Raises the same."""
        turn = _Turn(job_id, new)
        if not self._first(turn):
            self._wait(session, turn)
        if not turn.settled:
            self._write(session, turn)
        [settled] = turn.settled
        if isinstance(settled, Exception):
            raise settled
        return settled or ledger.place(session, new, max_queue=self._max_queue, id_=job_id)

    def _wait(self, session: Session, turn: _Turn) -> None:
        called = False
        try:
            session.close()
            called = turn.called.wait()
        finally:
            if not called:
                self._leave(turn)

    def _leave(self, turn: _Turn) -> None:
        """Ended while it waited: others must not wait for it."""
        with self._lock:
            line = self._lines.get(_line(turn), ())
            stands = turn in line
            if stands:
                self._lines[_line(turn)].remove(turn)
        if not stands and turn.called.is_set() and not turn.settled:
            self._call_next(turn)

    def _first(self, turn: _Turn) -> bool:
        with self._lock:
            line = self._lines.get(_line(turn))
            if line is None:
                self._lines[_line(turn)] = deque()
                return True
            line.append(turn)
            return False

    def _write(self, session: Session, turn: _Turn) -> None:
        group = [turn, *self._behind(turn)]
        try:
            _settle(session, group, self._max_queue)
        finally:
            self._call_next(turn)
            for other in group[1:]:
                other.settled = other.settled or [_lost()]
                other.called.set()

    def _behind(self, turn: _Turn) -> list[_Turn]:
        with self._lock:
            line = self._lines[_line(turn)]
            return [line.popleft() for _ in range(min(len(line), MOST - 1))]

    def _call_next(self, turn: _Turn) -> None:
        with self._lock:
            line = self._lines[_line(turn)]
            if line:
                line.popleft().called.set()
            else:
                del self._lines[_line(turn)]


def _line(turn: _Turn) -> _Line:
    return turn.new.tenant_id, turn.new.queue


def _settle(session: Session, group: list[_Turn], max_queue: int) -> None:
    """Ask for all of them. What is refused takes the statement with it: then each asks by itself and hears its own answer.

    Where the connection breaks, or this request is ended, nobody knows what was written; that is raised, and told to the others.
    """
    if len(group) == 1:
        group[0].settled = [ledger.place(session, group[0].new, max_queue=max_queue, id_=group[0].job_id)]
        return
    outcomes: list[Placed | Exception | None] = [None for _ in group]
    try:
        placed = ledger.place_together(session, {turn.job_id: turn.new for turn in group}, max_queue=max_queue)
        outcomes = [placed.get(turn.job_id) for turn in group]
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
    except PoolExhausted as error:
        outcomes = [PoolExhausted(*error.args) for _ in group]
    except StoreError:
        pass  # there is room for none: each hears how it stands when it asks
    for turn, outcome in zip(group, outcomes, strict=True):
        turn.settled = [outcome]


def _lost() -> OperationalError:
    error = ConnectionLost("the connection broke, or the request was ended, that wrote this job together with its own")
    return OperationalError(None, None, error, hide_parameters=True, connection_invalidated=True)
