"""Jobs through the client: asked for once, watched to their end, cancelled when nobody waits any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from fleetcast_client import Client, InsufficientData, Job, JobCancelled, JobFailed, NotFound, Problem, WaitTimedOut
from fleetcast_client.answers.jobs import EventMetric, JobStatus
from fleetcast_client.answers.models import TrainResult
from tasks.lease import Lease
from tasks.problems import problem
from tests.support.web import Caller, House


class Wire(httpx.BaseTransport):
    """The way to the app, with what happens to requests on it."""

    def __init__(self, house: House) -> None:
        self._app = httpx.WSGITransport(house.app)
        self.seen: list[httpx.Request] = []
        #: Asked about each request before it goes, and with its answer: may raise, or answer in its place.
        self.before: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
        self.after: Callable[[httpx.Request, httpx.Response], None] = lambda *_: None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        answer = self.before(request) or self._app.handle_request(request)
        self.after(request, answer)
        return answer

    @property
    def paths(self) -> list[str]:
        return [request.url.path.rpartition("/")[2] for request in self.seen]


@pytest.fixture
def wire(house: House) -> Wire:
    return Wire(house)


@pytest.fixture
def client(wire: Wire, me: Caller) -> Iterator[Client]:
    with Client("http://fleetcast.test", me.key, transport=wire) as made:
        yield made


@contextmanager
def meanwhile(work: Callable[[], object], after_s: float = 0.3) -> Iterator[None]:
    """Somebody else does this a moment later."""
    timer = threading.Timer(after_s, work)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def train(client: Client, **more: Any) -> Job[TrainResult]:
    return client.train("u", recipe="health-daily", **more)


def test_a_training_is_waited_for_by_its_events(house: House, me: Caller, ready: Client, wire: Wire) -> None:
    job = train(ready)
    assert (job.state, job.terminal, job.kind) == ("queued", False, "train")
    with meanwhile(lambda: house.publish(me, job.id)):
        result = job.result(timeout=60)
    assert (result.version, result.active, job.state) == ("1.0.0", True, "succeeded")
    assert wire.paths[-2:] == ["train", "events"], "one stream, and not a single poll"


def test_events_are_typed_and_tell_how_far_it_is(house: House, me: Caller, ready: Client) -> None:
    job = train(ready)
    job.refresh()  # from now on its watchers are told of everything

    def work() -> None:
        claim = house.claim(job.id)
        held = Lease(house.runtime, [claim])
        held.progress(job.id, "fit", fraction=0.5, epoch=1, epochs=2, train_loss=0.5, val_loss=0.6, best_epoch=1)
        held.tell(job.id)
        house.publish(me, job.id, claim=claim)

    with meanwhile(work):
        told = list(job.events())
    assert (told[0].type, told[-1].type) == ("snapshot", "end")
    assert [each.data.train_loss for each in told if isinstance(each.data, EventMetric)] == [0.5]
    assert isinstance(told[-1].data, JobStatus)
    assert job.terminal
    assert list(job.events(after=told[-1].id)) == [], "who has seen the end is told nothing more"


def refuse(_: httpx.Request) -> httpx.Response:
    return httpx.Response(429, json=problem("too_many_streams", "All are taken."), headers={"Content-Type": "application/problem+json"})


def test_without_a_stream_it_is_waited_for_by_long_polls(house: House, me: Caller, ready: Client, wire: Wire, monkeypatch: Any) -> None:
    monkeypatch.setattr("fleetcast_client.http.FIRST_PAUSE_S", 0.001)
    wire.before = lambda request: refuse(request) if request.url.path.endswith("/events") else None
    job = train(ready)
    with meanwhile(lambda: house.publish(me, job.id)):
        began = time.monotonic()
        job.wait(timeout=60)
    polls = [request for request in wire.seen if "wait" in request.url.params]
    assert job.state == "succeeded"
    assert wire.paths.count("events") == 1, "refused once is refused: there is another way"
    assert 1 <= len(polls) <= 4
    assert polls[0].headers["If-None-Match"] == '"1.0"'
    assert time.monotonic() - began < 5


def test_where_long_requests_are_cut_it_is_asked_again_when_the_service_says(
    house: House, me: Caller, ready: Client, wire: Wire, monkeypatch: Any
) -> None:
    monkeypatch.setattr("fleetcast_client.http.FIRST_PAUSE_S", 0.001)
    pauses: list[float] = []
    job = train(ready)

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            house.publish(me, job.id)

    monkeypatch.setattr("fleetcast_client.jobs.time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))

    def cut(request: httpx.Request) -> None:
        if "wait" in request.url.params or request.url.path.endswith("/events"):
            raise httpx.ReadTimeout("cut by somebody between", request=request)

    wire.before = cut
    with Client("http://fleetcast.test", me.key, retries=1, transport=wire) as impatient:
        waited = impatient.jobs.get(job.id).wait()
    assert waited.state == "succeeded"
    assert len(pauses) == 3
    assert all(pause >= 1 and pause.is_integer() for pause in pauses), "by Retry-After"


def test_a_wait_that_is_over_leaves_the_job_alone(ready: Client) -> None:
    job = train(ready)
    began = time.monotonic()
    with pytest.raises(WaitTimedOut, match=r"is queued after 0\.4 s, and goes on"):
        job.wait(timeout=0.4)
    assert time.monotonic() - began < 3
    assert job.refresh().state == "queued"


def test_a_failed_job_raises_its_own_problem(house: House, me: Caller, ready: Client) -> None:
    job = train(ready)
    house.fail(me, job.id, problem("training_diverged", "The loss left the numbers.", epoch=3))
    assert job.wait().state == "failed"
    with pytest.raises(JobFailed, match="The loss left the numbers") as told:
        job.result()
    assert told.value.details.more["epoch"] == 3
    again = job.retry()
    assert (again.status.retry_of, again.state) == (job.id, "queued")


def test_a_cancelled_job_raises_that(ready: Client) -> None:
    job = train(ready).cancel()
    assert (job.state, job.terminal) == ("cancelled", True)
    with pytest.raises(JobCancelled):
        job.result()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_who_leaves_by_an_exception_leaves_nothing_running(ready: Client, error: type[BaseException]) -> None:
    with pytest.raises(error), train(ready) as job:
        raise error
    assert job.state == "cancelled"


def test_who_leaves_quietly_cancels_nothing(ready: Client) -> None:
    with train(ready) as job:
        pass
    assert job.refresh().state == "queued"


def test_a_cancel_that_fails_hides_nothing(ready: Client, wire: Wire) -> None:
    def away(request: httpx.Request) -> None:
        raise httpx.UnsupportedProtocol("away", request=request)

    job = train(ready)
    wire.before = away
    with pytest.raises(ValueError, match="mine") as told, job:
        raise ValueError("mine")
    assert told.value.__notes__ == [f"{job.id} may go on, for it could not be cancelled: http://fleetcast.test did not answer: away"]


def test_an_answer_that_is_lost_makes_no_second_job(ready: Client, wire: Wire, monkeypatch: Any) -> None:
    """The batch is not compared with others: only its key tells that it is the same."""
    monkeypatch.setattr("fleetcast_client.http.FIRST_PAUSE_S", 0.001)
    lost: list[str] = []

    def lose(request: httpx.Request, answer: httpx.Response) -> None:
        if not lost:
            lost.append(answer.read().decode())
            raise httpx.ReadError("the line went dead", request=request)

    wire.after = lose
    job = ready.train_batch(["u"], recipe="health-daily")
    assert f'"{job.id}"' in lost[0]
    assert [each.id for each in ready.jobs.list()] == [job.id]
    assert [each.status.entity for each in job.items(state="queued")] == ["u"]


def test_a_forecast_in_hand_needs_no_waiting(house: House, me: Caller, ready: Client, wire: Wire) -> None:
    house.publish(me, train(ready).id)
    house.forecast(me, ready.predict("u", "rhr").id)
    before = len(wire.seen)
    forecast = ready.predict("u", "rhr", wait=5).result().forecast
    assert len(wire.seen) == before + 1
    assert (forecast.cached, len(forecast.points), forecast.served_by.version) == (True, 7, "1.0.0")
    assert ready.forecast("u", "rhr").points == forecast.points


def test_what_is_not_there_is_told_at_once(ready: Client) -> None:
    with pytest.raises(NotFound):
        ready.jobs.get("job_01KAG2Z5X8Q0V7M4R3T6W9Y1AA")
    with pytest.raises(InsufficientData):
        ready.entities.put("empty") and ready.train("empty", recipe="health-daily")
    assert issubclass(NotFound, Problem)
