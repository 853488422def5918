"""The stream of a job's events: read in whatever pieces it comes, resumed where it broke."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetcast_client import Client, ConnectionFailed, Event
from fleetcast_client.answers.jobs import EventMetric, JobStatus
from fleetcast_client.reading import Answer
from fleetcast_client.watching import heard

JOB = {"id": "job_1", "kind": "train", "state": "running", "terminal": False, "rev": 2, "seq": 0, "progress": {}}
DONE = JOB | {"state": "succeeded", "terminal": True, "rev": 3}
METRIC = {"attempt": 1, "epoch": 1, "epochs": 3, "train_loss": 0.5, "val_loss": 0.6, "best_epoch": 1}


def block(id_: str, event: str, data: object) -> bytes:
    return f"id: {id_}\nevent: {event}\ndata: {json.dumps(data)}\n\n".encode()


WHOLE = block("2.0", "snapshot", JOB) + b":\n\n" + block("2.1", "metric", METRIC) + block("3.0", "end", DONE)


@settings(deadline=None)
@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_the_pieces_in_which_it_comes_do_not_matter(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(WHOLE)]
    pieces = [WHOLE[start:stop] for start, stop in pairwise(edges)]
    told = list(heard(pieces))
    assert [each and (each.id, each.type) for each in told] == [("2.0", "snapshot"), None, ("2.1", "metric"), ("3.0", "end")]
    assert [type(each.data) for each in told if each] == [JobStatus, EventMetric, JobStatus]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"id: 1\r\nevent: x\r\ndata: {}\r\n\r\n", [Event("1", "x", Answer())]),
        (b"id:1\nevent:x\ndata:{}\n\n", [Event("1", "x", Answer())]),
        (b'id: 1\nevent: x\ndata: {"a":\ndata: 1}\n\n', [Event("1", "x", Answer(more={"a": 1}))]),
        (b"id: 1\nevent: x\n\n", []),
        (b"id: 1\nevent: x\ndata: {}", []),
        ('id: 1\nevent: x\ndata: {"a": "\u2028"}\n\n'.encode(), [Event("1", "x", Answer(more={"a": "\u2028"}))]),
    ],
    ids=["line ends of Windows", "no spaces", "two lines of data", "no data", "not whole", "a separator inside"],
)
def test_the_format_is_read_as_it_is_written_down(text: bytes, told: list[Event]) -> None:
    assert list(heard([text])) == told


class Breaking(httpx.SyncByteStream):
    """A body that breaks off."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        raise httpx.ReadError("the line went dead")


class Service:
    """Answers with these in turn, and notes where each stream was to go on."""

    def __init__(self, *answers: httpx.Response) -> None:
        self._answers, self.after = list(answers), list[str | None]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            self.after.append(request.headers.get("Last-Event-ID"))
        return self._answers.pop(0)


def stream(*pieces: bytes) -> httpx.Response:
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Breaking(*pieces))


@pytest.fixture(autouse=True)
def _pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


def events_of(service: Service, retries: int = 2) -> list[Event]:
    with Client("http://service.example", "fk_a_b", retries=retries, transport=httpx.MockTransport(service)) as client:
        return list(client.jobs.get("job_1").events())


def status() -> httpx.Response:
    return httpx.Response(200, json=JOB)


def test_a_stream_that_breaks_goes_on_after_its_last_whole_event() -> None:
    torn = block("3.0", "end", DONE)[:-5]
    told = events_of(
        Service(
            status(), stream(block("2.0", "snapshot", JOB), torn), stream(block("2.1", "metric", METRIC)), stream(block("3.0", "end", DONE))
        )
    )
    assert [each.type for each in told] == ["snapshot", "metric", "end"]


def test_it_says_where_it_was() -> None:
    service = Service(status(), stream(block("2.0", "snapshot", JOB)), stream(), stream(block("3.0", "end", DONE)))
    events_of(service)
    assert service.after == [None, "2.0", "2.0"]


def test_who_has_seen_the_end_is_not_kept() -> None:
    service = Service(status(), stream(block("2.0", "snapshot", JOB)), httpx.Response(204))
    assert [each.type for each in events_of(service)] == ["snapshot"]


def test_one_of_which_nothing_is_heard_any_more_is_given_up() -> None:
    service = Service(status(), *[stream() for _ in range(3)])
    with pytest.raises(ConnectionFailed, match="opened and broke 3 times"):
        events_of(service)


def test_a_heartbeat_is_a_sign_of_life() -> None:
    service = Service(status(), *[stream(b":\n\n") for _ in range(6)], stream(block("3.0", "end", DONE)))
    assert [each.type for each in events_of(service)] == ["end"]
