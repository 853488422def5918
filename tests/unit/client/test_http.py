"""Requests that are sent again when that is safe and may help, and never otherwise."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from fleetcast_client import Client, ConnectionFailed, FleetcastError, InvalidRequest, Problem, QuotaExceeded, ServiceFault, Unavailable
from fleetcast_client.http import LONGEST_PAUSE_S, below, encoded
from tasks.problems import problem

KEY = "fk_0123456789ab_verysecret"
URL = "http://service.example"
JOB = {"id": "job_1", "kind": "train", "state": "queued", "terminal": False, "progress": {}, "metadata": {}, "links": {}}
Line = Callable[[httpx.Request], httpx.Response]


def refused(code: str, after: int | None = None, /, **more: Any) -> Line:
    told = problem(code, "It went wrong.") | more
    headers = {"Content-Type": "application/problem+json", "X-Request-Id": "req_1"} | ({} if after is None else {"Retry-After": str(after)})
    return lambda _: httpx.Response(told["status"], json=told, headers=headers)


def plainly(status: int, text: str = "<html>", **headers: str) -> Line:
    return lambda _: httpx.Response(status, text=text, headers=headers)


def broken(error: type[httpx.TransportError]) -> Line:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error("it broke", request=request)

    return fail


def queued(_: httpx.Request) -> httpx.Response:
    return httpx.Response(202, json=JOB, headers={"ETag": '"1.0"'})


class Wire:
    """What a wire does with each request in turn, and what it saw."""

    def __init__(self, *turns: Line) -> None:
        self.turns, self.seen = list(turns), list[httpx.Request]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.seen.append(request)
        return self.turns.pop(0)(request)

    def client(self, **options: Any) -> Client:
        return Client(URL, KEY, transport=httpx.MockTransport(self), **options)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was paused, without pausing."""
    told: list[float] = []
    monkeypatch.setattr(time, "sleep", told.append)
    return told


def train(client: Client) -> Any:
    return client.train("u", recipe="health-daily")


ASKED: Mapping[str, Callable[[Client], Any]] = {
    "train": train,
    "write": lambda client: client.observations.write("u", iter([{"at": "2026-01-01", "rhr": 57}])),
    "rollback": lambda client: client.models.rollback("mdl_1"),
    "get": lambda client: client.jobs.get("job_1"),
}


@pytest.mark.parametrize(
    ("asked", "trouble", "again"),
    [
        ("train", refused("queue_saturated", 3), True),
        ("train", refused("rate_limited", 3), True),
        ("train", refused("source_unavailable"), True),
        ("train", refused("internal"), True),
        ("train", plainly(502), True),
        ("train", broken(httpx.ReadTimeout), True),
        ("train", broken(httpx.RemoteProtocolError), True),
        ("train", broken(httpx.ConnectError), True),
        ("write", broken(httpx.WriteError), True),
        ("get", plainly(504), True),
        ("rollback", refused("unavailable", 1), True),
        ("rollback", broken(httpx.ConnectError), True),
        # What may have been done is not done twice.
        ("rollback", broken(httpx.ReadTimeout), False),
        ("rollback", refused("internal"), False),
        ("rollback", plainly(502), False),
        # What would be refused again is not sent again.
        ("train", refused("insufficient_data"), False),
        ("train", refused("validation_failed"), False),
        ("get", refused("job_not_found"), False),
        ("get", refused("storage_full"), False),
        ("get", refused("source_unreadable"), False),
        ("train", refused("rate_limited", int(LONGEST_PAUSE_S) + 1), False),
        ("get", broken(httpx.LocalProtocolError), False),
        ("get", plainly(404), False),
    ],
)
def test_what_is_sent_again(pauses: list[float], asked: str, trouble: Line, again: bool) -> None:
    wire = Wire(trouble, queued)
    with wire.client() as client:
        if again:
            ASKED[asked](client)
        else:
            with pytest.raises(FleetcastError):
                ASKED[asked](client)
    assert (len(wire.seen), len(pauses)) == ((2, 1) if again else (1, 0))
    assert len({request.content for request in wire.seen}) == 1, "the same bytes each time"


def test_one_key_is_kept_over_all_tries_of_a_submission_and_is_another_for_the_next(pauses: list[float]) -> None:
    wire = Wire(plainly(502), broken(httpx.ReadError), queued, queued, queued)
    with wire.client() as client:
        train(client)
        train(client)
        client.train("u", recipe="health-daily", idempotency_key="mine")
    keys = [request.headers["Idempotency-Key"] for request in wire.seen]
    assert len(set(keys[:3])) == 1
    assert len(set(keys)) == 3
    assert keys[-1] == "mine"


def test_the_pause_is_what_the_service_says_and_a_random_part_of_as_many_again(pauses: list[float]) -> None:
    wire = Wire(*[refused("quota_exceeded", 10)] * 5)
    with wire.client() as client, pytest.raises(QuotaExceeded):
        train(client)
    assert len(pauses) == 4
    assert all(10 <= pause <= 20 for pause in pauses)
    assert len(set(pauses)) > 1


def test_without_a_word_of_the_service_pauses_double(pauses: list[float]) -> None:
    wire = Wire(*[plainly(503)] * 5)
    with wire.client() as client, pytest.raises(ConnectionFailed):
        train(client)
    assert all(0.25 * 2**n <= pause <= 0.5 * 2**n for n, pause in enumerate(pauses))


def test_who_wants_no_retries_gets_none(pauses: list[float]) -> None:
    wire = Wire(refused("unavailable", 5))
    with wire.client(retries=0) as client, pytest.raises(Unavailable):
        train(client)
    assert pauses == []


@pytest.mark.usefixtures("pauses")
def test_a_problem_is_told_with_all_that_it_carries() -> None:
    fault = {"pointer": "/spec/epochs", "code": "out_of_bounds", "detail": "0 is below 1."}
    wire = Wire(refused("validation_failed", errors=[fault], hint="Mend it."))
    with wire.client() as client, pytest.raises(InvalidRequest) as told:
        train(client)
    found = told.value
    assert (found.code, found.status, found.retryable, found.request_id, found.hint) == (
        "validation_failed",
        422,
        False,
        "req_1",
        "Mend it.",
    )
    assert found.errors[0].pointer == "/spec/epochs"
    assert "/spec/epochs: 0 is below 1." in str(found)


@pytest.mark.usefixtures("pauses")
def test_a_fault_that_the_detail_says_already_is_told_once() -> None:
    faults = [{"pointer": f"/spec/{name}", "code": "out_of_bounds", "detail": f"{name} is below 1."} for name in ("epochs", "window")]
    wire = Wire(refused("validation_failed", detail="/spec/epochs: epochs is below 1.", errors=faults))
    with wire.client() as client, pytest.raises(InvalidRequest) as told:
        train(client)
    assert [str(told.value).count(fault["detail"]) for fault in faults] == [1, 1]


@pytest.mark.usefixtures("pauses")
def test_two_faults_of_one_sentence_are_both_named() -> None:
    faults = [{"pointer": f"/{name}", "code": "required", "detail": "Missing data for required field."} for name in ("entity", "recipe")]
    wire = Wire(refused("validation_failed", detail="/entity: Missing data for required field.", errors=faults))
    with wire.client() as client, pytest.raises(InvalidRequest) as told:
        train(client)
    assert "/recipe: Missing" in str(told.value)


@pytest.mark.parametrize(
    ("status", "kind"), [(404, "NotFound"), (409, "Conflict"), (418, "InvalidRequest"), (503, "Unavailable"), (500, "ServiceFault")]
)
def test_a_code_of_a_newer_service_is_what_its_status_says(status: int, kind: str) -> None:
    wire = Wire(refused("internal", code="melancholy", status=status, retryable=False))
    with wire.client() as client, pytest.raises(Problem) as told:
        client.jobs.get("job_1")
    assert (type(told.value).__name__, told.value.code) == (kind, "melancholy")


def test_an_exception_outlives_a_process_boundary() -> None:
    wire = Wire(refused("artefact_corrupt"))
    with wire.client() as client, pytest.raises(ServiceFault) as told:
        client.models.version("mdl_1", "1.0.0")
    make, given = told.value.__reduce__()
    again = make(*given)
    assert (type(again), str(again)) == (ServiceFault, str(told.value))


def test_nobody_is_followed_with_a_key() -> None:
    wire = Wire(plainly(307, Location="http://elsewhere.example/api/v1/models/train"))
    with wire.client() as client, pytest.raises(ConnectionFailed, match=r"elsewhere\.example.*nobody follows"):
        train(client)
    assert {request.url.host for request in wire.seen} == {"service.example"}


def test_the_key_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(refused("internal", 1), broken(httpx.ReadTimeout))
    with caplog.at_level(logging.DEBUG), wire.client(retries=1) as client, pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "sleep", lambda _: None)
        with pytest.raises(ConnectionFailed) as told:
            train(client)
        assert repr(client) == f"Client('{URL}')"
    assert "verysecret" not in caplog.text + str(told.value) + repr(told.value) + repr(told.value.__cause__)
    assert wire.seen[0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("url", "key", "told"),
    [
        ("ftp://service.example", KEY, "https://"),
        ("service.example:8000", KEY, "https://"),
        ("http://me:secret@service.example", KEY, "without user"),
        ("http://service.example?x=1", KEY, "without user"),
        (URL, "", "fk_"),
        (URL, "fk_a b", "fk_"),
        (URL, "fk_a\r\nX-Evil: 1", "fk_"),
        (URL, "fk_é", "fk_"),
    ],
)
def test_what_cannot_be_a_service_or_a_key_is_refused_at_once(url: str, key: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as refusal:
        Client(url, key)
    assert "secret" not in str(refusal.value)


def test_a_key_from_a_file_may_end_with_its_line() -> None:
    wire = Wire(queued)
    with Client(URL + "/", KEY + "\n", transport=httpx.MockTransport(wire)) as client:
        train(client)
    assert (str(wire.seen[0].url), wire.seen[0].headers["Authorization"]) == (f"{URL}/api/v1/models/train", f"Bearer {KEY}")


def test_from_the_environment_or_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETCAST_URL", URL)
    monkeypatch.delenv("FLEETCAST_KEY", raising=False)
    with pytest.raises(ValueError, match="Set FLEETCAST_KEY,"):
        Client.from_env()
    monkeypatch.setenv("FLEETCAST_KEY", KEY)
    with Client.from_env(timeout=3) as client:
        assert repr(client) == f"Client('{URL}')"


@pytest.mark.parametrize("name", ["user 42", "a/b", "ä", "50%", "a?b#c"])
def test_any_name_is_one_step_of_a_path(name: str) -> None:
    wire = Wire(lambda _: httpx.Response(200, json={"entity": name, "channels": []}))
    with wire.client() as client:
        client.entities.get(name)
    assert wire.seen[0].url.raw_path.decode() == below("entities", name)
    assert wire.seen[0].url.raw_path.count(b"/") == 4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_word_for_is_refused_before_it_is_sent(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encoded({"value": value})


def test_who_asks_to_wait_is_given_the_time(pauses: list[float]) -> None:
    wire = Wire(queued, queued)
    with wire.client(timeout=5) as client:
        client.predict("u", "rhr", wait=30)
        client.predict("u", "rhr")
    assert [request.extensions["timeout"]["read"] for request in wire.seen] == [40, 10]
    assert wire.seen[0].headers["Prefer"] == "wait=30"
