"""Webhooks are told, whatever the receiver does, and nobody else is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.exc import OperationalError
from standardwebhooks import Webhook as Verifier

from db import deliveries, webhooks
from db.models import Delivery, Webhook
from db.session import Sessions
from tasks import deliver
from tasks.addresses import Guard
from tasks.deliver import PAUSES_S, Courier
from tasks.outside import Outside, Unreachable
from tasks.runtime import Runtime
from tasks.settings import Settings
from tests.support import ledger as desk
from tests.support.receiver import Behaviour, Receiver, answer, drip, hang, hang_up, pour, receiver
from tests.support.web import make_runtime

TIMEOUT_S = 0.4
ALLOWED = {"webhook_networks": "127.0.0.0/8", "webhook_schemes": "https,http", "webhook_timeout_s": TIMEOUT_S, "dispatch_poll_s": 0.05}


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as listening:
        yield listening


@pytest.fixture
def runtime(engine: Engine, redis_url: str) -> Iterator[Runtime]:
    made = make_runtime(engine, redis_url, **ALLOWED)
    yield made
    made.memory.close()


@pytest.fixture
def acme(sessions: Sessions) -> str:
    return desk.tenant(sessions)


def listen(sessions: Sessions, tenant_id: str, url: str, *types: str) -> Webhook:
    with sessions.begin() as session:
        made = webhooks.create(session, tenant_id, url=url, host=Guard.of(_open()).host_of(url), types=types or webhooks.TYPES, most=1000)
        session.refresh(made)
        return made


def _open() -> Settings:
    return replace(Settings(), webhook_networks="0.0.0.0/0,::/0", webhook_schemes="https,http")


def try_out(sessions: Sessions, webhook: Webhook, times: int = 1) -> list[str]:
    with sessions.begin() as session:
        return [deliveries.try_out(session, webhook).id for _ in range(times)]


def work(courier: Courier) -> None:
    """Rounds until nothing is under way."""
    courier.round()
    while courier.under_way:
        time.sleep(0.01)
        courier.round()


def rows(sessions: Sessions) -> list[Delivery]:
    with sessions() as session:
        return list(session.scalars(select(Delivery).order_by(Delivery.created_at)))


def hook(sessions: Sessions, webhook: Webhook) -> Webhook:
    with sessions() as session:
        return webhooks.get(session, webhook.tenant_id, webhook.id)


def due_now(sessions: Sessions) -> None:
    """As if the pauses were over, or a lease."""
    with sessions.begin() as session:
        session.execute(update(Delivery).values(next_at=func.clock_timestamp() - timedelta(seconds=1)))


def test_it_is_told_once_signed_and_by_the_book(runtime: Runtime, sessions: Sessions, acme: str, there: Receiver) -> None:
    webhook = listen(sessions, acme, there.url)
    [sent] = try_out(sessions, webhook)
    courier = Courier(runtime, threading.Event())
    work(courier)
    work(courier)
    [letter], [row] = there.letters, rows(sessions)
    assert Verifier(webhook.secret).verify(letter.body, letter.headers)["type"] == "webhook.test"
    assert (letter.id, letter.path, letter.headers["host"]) == (sent, "/news", f"127.0.0.1:{there.port}")
    assert (row.state, row.attempt, row.status_code, row.error) == ("delivered", 1, 204, None)
    assert row.delivered_at is not None


BAD: dict[str, tuple[Behaviour, int | None, str]] = {
    "500": (answer(500), 500, "The answer was 500."),
    "401": (answer(401), 401, "The answer was 401."),
    "a redirect to where it may not go": (
        answer(302, Location="http://169.254.169.254/latest/meta-data/"),
        302,
        "The answer was 302. Redirects are not followed.",
    ),
    "silence": (hang, None, "No answer within 0.4 s."),
    "a byte now and then": (drip, None, "No answer within 0.4 s."),
    "a closed socket": (hang_up, None, "The connection broke"),
}


@pytest.mark.parametrize(("behave", "status", "error"), BAD.values(), ids=BAD)
def test_what_is_not_taken_is_tried_again_under_the_same_id(
    runtime: Runtime, sessions: Sessions, acme: str, there: Receiver, behave: Behaviour, status: int | None, error: str
) -> None:
    try_out(sessions, listen(sessions, acme, there.url))
    there.behave = behave
    courier, began = Courier(runtime, threading.Event()), time.monotonic()
    work(courier)
    assert time.monotonic() - began < TIMEOUT_S + 2
    [row] = rows(sessions)
    assert (row.state, row.attempt, row.status_code) == ("pending", 1, status)
    assert row.error is not None
    assert row.error.startswith(error)
    work(courier)
    assert len(there.letters) == 1, "not before its pause is over"
    there.behave = answer(200, b"thanks")
    due_now(sessions)
    work(courier)
    [row] = rows(sessions)
    assert (row.state, row.attempt, row.status_code, row.error) == ("delivered", 2, 200, None)
    first, second = there.letters
    assert (first.id, first.body) == (second.id, second.body)


def test_an_answer_without_an_end_is_an_answer(runtime: Runtime, sessions: Sessions, acme: str, there: Receiver) -> None:
    try_out(sessions, listen(sessions, acme, there.url))
    there.behave = pour
    work(Courier(runtime, threading.Event()))
    assert [row.state for row in rows(sessions)] == ["delivered"]


def test_nobody_there(runtime: Runtime, sessions: Sessions, acme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    try_out(sessions, listen(sessions, acme, f"http://127.0.0.1:{port}/"))
    work(Courier(runtime, threading.Event()))
    [row] = rows(sessions)
    assert (row.state, row.status_code) == ("pending", None)
    assert "No connection" in str(row.error)


def test_after_the_last_try_the_webhook_is_disabled_and_says_why(runtime: Runtime, sessions: Sessions, acme: str, there: Receiver) -> None:
    webhook = listen(sessions, acme, there.url)
    try_out(sessions, webhook)
    there.behave = answer(503)
    courier = Courier(runtime, threading.Event())
    for _ in range(len(PAUSES_S)):
        work(courier)
        assert hook(sessions, webhook).disabled_at is None
        due_now(sessions)
    work(courier)
    [row] = rows(sessions)
    assert (row.state, row.attempt, len(there.letters)) == ("failed", 7, 7)
    assert hook(sessions, webhook).disabled_reason == "The answer was 503."
    claim = desk.running(sessions, acme)
    with sessions.begin() as session:
        desk.ledger.succeed(session, claim.job_id, claim.fence, {})
    assert len(rows(sessions)) == 1, "a disabled one is told nothing"


def test_one_that_takes_others_is_not_disabled(runtime: Runtime, sessions: Sessions, acme: str, there: Receiver) -> None:
    webhook = listen(sessions, acme, there.url)
    [poison, other] = try_out(sessions, webhook, 2)

    def choose(handler: Any, over: threading.Event) -> None:
        answer(500 if handler.headers["webhook-id"] == poison else 204)(handler, over)

    there.behave = choose
    courier = Courier(runtime, threading.Event())
    for _ in range(len(PAUSES_S) + 1):
        work(courier)
        due_now(sessions)
    assert {row.id: row.state for row in rows(sessions)} == {poison: "failed", other: "delivered"}
    assert hook(sessions, webhook).disabled_at is None


def test_one_that_is_gone_is_disabled_at_once_and_what_waits_is_sent_when_it_is_back(
    runtime: Runtime, sessions: Sessions, acme: str, there: Receiver
) -> None:
    webhook = listen(sessions, acme, there.url)
    there.behave = answer(410)
    [first] = try_out(sessions, webhook)
    courier = Courier(runtime, threading.Event())
    work(courier)
    assert [row.state for row in rows(sessions)] == ["failed"]
    assert hook(sessions, webhook).disabled_reason == "The answer was 410."
    with sessions.begin() as session:
        session.execute(update(Delivery).values(state="pending"))  # as one that had been on its way
    work(courier)
    assert len(there.letters) == 1
    there.behave = answer(204)
    with sessions.begin() as session:
        webhooks.enable(session, acme, webhook.id)
    work(courier)
    assert [letter.id for letter in there.letters] == [first, first]


# Where it must not go


def resolving(*answers: Sequence[str]) -> Callable[[str, int], Sequence[str]]:
    """A resolver that says one thing after the other, and the last for ever."""
    left = list(answers)
    return lambda _host, _port: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.5", "169.254.169.254", "100.64.0.1", "::1", "fe80::1%eth0", "::ffff:127.0.0.1", "fd00:ec2::254"]
)
def test_a_name_that_leads_inside_is_not_followed(there: Receiver, address: str) -> None:
    outside = Outside(Guard(frozenset({"http"})), TIMEOUT_S, resolving([address]))
    with pytest.raises(Unreachable, match="not a public one"):
        outside.post(f"http://backend.example:{there.port}/", {}, b"")
    assert there.letters == []


def test_a_name_that_leads_to_both_sides_is_not_followed(there: Receiver) -> None:
    outside = Outside(Guard(frozenset({"http"})), TIMEOUT_S, resolving(["8.8.8.8", "127.0.0.1"]))
    with pytest.raises(Unreachable, match="not a public one"):
        outside.post(f"http://backend.example:{there.port}/", {}, b"")
    assert there.letters == []


def test_a_name_is_looked_up_once_and_connected_to_by_that_address(there: Receiver) -> None:
    """Rebinding: the second answer is never asked for, and what is connected to is what was looked at."""
    asked: list[str] = []
    answers = resolving(["127.0.0.1"], ["127.0.0.2"])

    def look_up(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers(host, port)

    outside = Outside(Guard.of(_only("127.0.0.1/32")), TIMEOUT_S, look_up)
    assert outside.post(f"http://rebound.example:{there.port}/news", {"webhook-id": "m"}, b"x") == 204
    assert asked == ["rebound.example"]
    assert there.letters[0].headers["host"] == f"rebound.example:{there.port}"
    with pytest.raises(Unreachable, match="not a public one"):
        outside.post(f"http://rebound.example:{there.port}/news", {"webhook-id": "m"}, b"x")
    assert len(there.letters) == 1


def _only(allowed: str) -> Settings:
    return replace(_open(), webhook_networks=allowed)


def test_a_second_address_is_tried_when_the_first_does_not_answer(there: Receiver) -> None:
    outside = Outside(Guard.of(_only("127.0.0.0/8")), 2.0, resolving(["127.0.0.2", "127.0.0.1"]))
    assert outside.post(f"http://two.example:{there.port}/", {}, b"") == 204


def test_a_name_without_an_address_is_told(there: Receiver) -> None:
    def nothing(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(Unreachable, match="The name has no address"):
        Outside(Guard(), TIMEOUT_S, nothing).post("https://nowhere.example/", {}, b"")


def test_https_looks_at_the_certificate_for_the_name(there: Receiver) -> None:
    """The receiver speaks no TLS: the hand is not shaken, and nothing is sent in clear."""
    outside = Outside(Guard.of(_open()), TIMEOUT_S, resolving(["127.0.0.1"]))
    with pytest.raises(Unreachable):
        outside.post(f"https://backend.example:{there.port}/", {}, b"")
    assert there.letters == []


# Who sends what, when, and how many


def test_a_dispatcher_killed_between_sending_and_recording_sends_the_same_again(
    runtime: Runtime, sessions: Sessions, acme: str, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_out(sessions, listen(sessions, acme, there.url))

    def killed(*_: Any) -> str:
        raise OperationalError("as if it were gone", None, Exception("gone"))

    with monkeypatch.context() as patch:
        patch.setattr(deliver, "_recorded", killed)
        work(Courier(runtime, threading.Event()))
    other = Courier(runtime, threading.Event())
    work(other)
    assert len(there.letters) == 1, "its lease goes on"
    due_now(sessions)
    work(other)
    first, second = there.letters
    assert (first.id, first.body) == (second.id, second.body)
    [row] = rows(sessions)
    assert (row.state, row.attempt) == ("delivered", 2)


def test_two_couriers_send_each_once(runtime: Runtime, sessions: Sessions, acme: str, there: Receiver) -> None:
    sent = try_out(sessions, listen(sessions, acme, there.url), 60)
    both = [Courier(runtime, threading.Event()) for _ in range(2)]
    threads = [threading.Thread(target=work, args=(courier,)) for courier in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(letter.id for letter in there.letters) == sorted(sent)
    assert there.most_at_once <= 2 * runtime.settings.webhook_host_at_once


def test_a_slow_receiver_holds_up_no_other(runtime: Runtime, sessions: Sessions, acme: str, there: Receiver) -> None:
    slow = listen(sessions, desk.tenant(sessions, "slow"), there.url)
    try_out(sessions, slow, 30)
    there.behave = hang
    with receiver() as quick:
        by_name = quick.url.replace("127.0.0.1", "localhost")  # another host, though on the same machine
        try_out(sessions, listen(sessions, acme, by_name), 10)
        courier = Courier(runtime, threading.Event())
        began = time.monotonic()
        while len(quick.letters) < 10 and time.monotonic() - began < 5:
            courier.round()
        assert time.monotonic() - began < TIMEOUT_S, "before any of the others was over"
        assert there.most_at_once <= runtime.settings.webhook_host_at_once
        work(courier)


def test_no_tenant_takes_every_place(runtime: Runtime, sessions: Sessions, acme: str, there: Receiver) -> None:
    for host in range(6):
        try_out(sessions, listen(sessions, acme, f"http://127.0.1.{host}:1/"), 4)
    other = desk.tenant(sessions, "other")
    try_out(sessions, listen(sessions, other, there.url), 4)
    room = deliveries.Room(free=16, per_host=4, per_tenant=8, hosts={}, tenants={})
    with sessions.begin() as session:
        taken = deliveries.take(session, room, 60)
    assert sorted(due.tenant_id for due in taken) == sorted([acme] * 8 + [other] * 4)
    with sessions.begin() as session:
        busy = replace(room, tenants={acme: 8}, hosts={"127.0.1.0": 4})
        assert deliveries.take(session, busy, 60) == []
