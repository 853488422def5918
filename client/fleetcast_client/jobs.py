"""Jobs: a handle on one, which can be waited for, watched, cancelled and asked for its result; and the list of them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import httpx

from fleetcast_client.answers.jobs import EventState, JobStatus, Progress
from fleetcast_client.answers.problems import ProblemDetails
from fleetcast_client.errors import ConnectionFailed, FleetcastError, QuotaExceeded, Unavailable, WaitTimedOut, problem
from fleetcast_client.http import Ask, Http, below, encoded
from fleetcast_client.pages import Pages
from fleetcast_client.watching import Deadline, Event, follow

R_co = TypeVar("R_co", covariant=True)

#: Longest that one request waits for a job; the service cuts more than thirty.
POLL_S = 25.0
#: What is left of a wait is asked for with `wait`, which ends on time; a stream says something only every fifteen seconds.
STRETCH_S = 20.0
#: A poll answered sooner than this without news did not wait: too many do already.
AT_ONCE_S = 1.0
#: What an event tells anew of a job.
_MOVING = ("state", "rev", "seq", "attempt", "estimated_finish_at", "progress")
#: Between polls where the service says nothing of when to come again.
PAUSE_S = 2.0


class Job(Generic[R_co]):
    """A job of the service's, and how it stood when it was last heard of (`status`).

    As a context manager it is cancelled when its block is left by an exception, a Ctrl-C among them.
    """

    def __init__(self, http: Http, status: JobStatus, etag: str | None = None) -> None:
        self._http, self.status, self._etag = http, status, etag

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self.kind}, {self.state}>"

    @property
    def id(self) -> str:
        return self.status.id

    @property
    def kind(self) -> str:
        return self.status.kind

    @property
    def state(self) -> str:
        """queued, running, cancelling, succeeded, failed or cancelled; test `terminal` for whether it has ended."""
        return self.status.state

    @property
    def terminal(self) -> bool:
        return self.status.terminal

    @property
    def progress(self) -> Progress:
        return self.status.progress

    @property
    def error(self) -> ProblemDetails | None:
        """Why it failed, or why its last try did."""
        return self.status.error

    def refresh(self) -> Self:
        """Look how it stands now."""
        self._take(self._http.send(self._look()))
        return self

    def wait(self, timeout: float | None = None) -> Self:
        """Until it has ended, as succeeded or not: by its events, else by long polls, else by asking again when the service says so.

        Raises WaitTimedOut when `timeout` seconds are over; the job goes on.
        """
        deadline = Deadline(timeout)
        self._listen(deadline)
        patient = True
        while not self.terminal:
            if deadline.left() == 0:
                raise WaitTimedOut(f"{self.id} is {self.state} after {timeout:g} s, and goes on.")
            patient = self._poll(deadline, patient=patient)
        return self

    def result(self, timeout: float | None = None) -> R_co:
        """What it brought, once it has ended. Raises the job's own Problem when it failed or was cancelled, WaitTimedOut as `wait` does."""
        self.wait(timeout)
        if self.state == "succeeded":
            return cast(R_co, self.status.result)
        if self.error is not None:
            raise problem(self.error)
        self._http.send(Ask(method="GET", path=below("jobs", self.id, "result")))  # answers with the problem
        raise FleetcastError(f"{self.id} ended as {self.state} without saying why.")

    def events(self, after: str | None = None) -> Iterator[Event]:
        """What happens to it, until its end: a snapshot first, or what came after the event whose id is `after`.

        A connection that breaks is made again. After `reset`, forget what was heard; a snapshot follows.
        """
        for event in follow(self._http, self.id, after):
            if event is not None:
                self._hear(event)
                yield event

    def cancel(self) -> Self:
        """Ask for its end. A queued job is cancelled at once, a running one stops soon; one that has ended stays as it is."""
        self._take(self._http.send(Ask(method="POST", path=below("jobs", self.id, "cancel"))))
        return self

    def retry(self, *, idempotency_key: str | None = None) -> Job[R_co]:
        """A new job of a failed or cancelled one; of a batch, of its items that did not succeed."""
        return submit(self._http, ("jobs", self.id, "retry"), None, idempotency_key=idempotency_key)

    def items(self, state: str | None = None, *, limit: int | None = None, cursor: str | None = None) -> Pages[Job[Any]]:
        """The jobs of a batch, in the order in which they were given."""
        query = {"state": state, "limit": limit, "cursor": cursor}
        return Pages(self._http, below("jobs", self.id, "items"), lambda row: Job(self._http, JobStatus.read(row)), query)

    def chart(self) -> str:
        """Of a backtest: an SVG of the error by step, and of truth beside forecast."""
        return self._http.send(Ask(method="GET", path=f"{below('backtests', self.id)}/chart.svg")).text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None or self.terminal:
            return
        try:
            self.cancel()
        except FleetcastError as trouble:
            error.add_note(f"{self.id} may go on, for it could not be cancelled: {trouble}")

    def _listen(self, deadline: Deadline) -> None:
        """Hear its events, until its end, the last stretch of the time given, or until they cannot be had."""
        if self.terminal or deadline.left() < STRETCH_S:
            return
        try:
            for event in follow(self._http, self.id, insist=False, deadline=deadline):
                if event is not None:
                    self._hear(event)
                if deadline.left() < STRETCH_S:
                    return
        except (ConnectionFailed, QuotaExceeded, Unavailable):
            return

    def _poll(self, deadline: Deadline, *, patient: bool) -> bool:
        """Ask once, and pause where the answer brought no news at once. Returns whether to ask the service to wait the next time."""
        began, seconds = time.monotonic(), min(POLL_S, deadline.left()) if patient else 0.0
        try:
            response = self._http.send(self._look(seconds))
        except ConnectionFailed:
            if not patient:
                raise
            return False  # somebody between cuts what takes long
        self._take(response)
        if not self.terminal and (not patient or (response.status_code == 304 and time.monotonic() - began < AT_ONCE_S)):
            after = response.headers.get("Retry-After", "")
            time.sleep(min(float(after) if after.isdigit() else PAUSE_S, deadline.left()))
        return patient

    def _look(self, seconds: float = 0.0) -> Ask:
        seen = {"If-None-Match": self._etag} if self._etag is not None else {}
        query = {"wait": round(seconds, 3)} if seconds else {}
        return Ask(method="GET", path=below("jobs", self.id), query=query, headers=seen, wait=seconds)

    def _take(self, response: httpx.Response) -> None:
        self._etag = response.headers.get("ETag", self._etag)
        if response.status_code != 304:
            self.status = JobStatus.read(response.json())

    def _hear(self, event: Event) -> None:
        self._etag = None
        if isinstance(event.data, JobStatus):
            self.status = event.data
        elif isinstance(event.data, EventState):
            self.status = replace(self.status, **{name: getattr(event.data, name) for name in _MOVING})


class Jobs:
    """`client.jobs`: jobs by their ids, and the list of them."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def get(self, job_id: str, *, wait: float | None = None) -> Job[Any]:
        """A job by its id, as it stands; with `wait` when something changed, or after so many seconds (30 at most)."""
        ask = Ask(method="GET", path=below("jobs", job_id), query={"wait": wait}, wait=wait or 0.0)
        return handle(self._http, self._http.send(ask))

    def list(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        entity: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[Job[Any]]:
        """Jobs, newest first. Items of batches appear only when an entity is asked for."""
        query = {"kind": kind, "state": state, "entity": entity, "limit": limit, "cursor": cursor}
        return Pages(self._http, below("jobs"), lambda row: Job(self._http, JobStatus.read(row)), query)


def handle(http: Http, response: httpx.Response) -> Job[Any]:
    """The job in an answer."""
    return Job(http, JobStatus.read(response.json()), response.headers.get("ETag"))


def submit(
    http: Http,
    path: tuple[str, ...],
    body: Mapping[str, Any] | None,
    *,
    idempotency_key: str | None = None,
    wait: float | None = None,
) -> Job[Any]:
    """Ask for a job once, however often the request has to be sent: under one key, made here unless given."""
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if wait is not None:
        headers["Prefer"] = f"wait={wait:g}"
    content = None if body is None else encoded(body)
    return handle(http, http.send(Ask(method="POST", path=below(*path), headers=headers, content=content, wait=wait or 0.0)))
