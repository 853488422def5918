"""Messages that nobody of ours sent: none of them ends a worker, and what comes after them is heard."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from redis import Redis

from tasks.environment import load
from tasks.queue import make_celery
from tests.support.servers import Servers, empty_redis

GARBAGE: dict[str, bytes] = {
    "no JSON": b"{" * 5000,
    "no UTF-8": b"\xff\xfe\x00",
    "nothing": b"",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "an object without properties": b'{"not": "a message"}',
    "properties without a tag": b'{"properties": {}}',
    "properties that are none": b'{"properties": 3}',
    "a body that is no base64": b'{"body": "%%%", "properties": {"delivery_tag": "x", "body_encoding": "base64", "delivery_info": {}}}',
    "headers that are none": b'{"body": "[]", "headers": 3, "properties": {"delivery_tag": "x", "delivery_info": {}}}',
    "an unknown task": json.dumps(
        {
            "body": "[[],{},{}]",
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"task": "format_disk", "id": "x"},
            "properties": {"delivery_tag": "x", "delivery_info": {"exchange": "", "routing_key": "train"}},
        }
    ).encode(),
}


@pytest.fixture
def app(live: Servers) -> Iterator[Celery]:
    empty_redis(live.redis_url)
    made = make_celery(load({"REDIS_URL": live.redis_url}))
    yield made
    made.close()


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_worker_outlives_it_and_hears_the_bell_behind_it(app: Celery, live: Servers, raw: bytes) -> None:
    heard = threading.Event()

    @app.task(name="hear", shared=False)
    def hear() -> None:
        heard.set()

    with Redis.from_url(live.redis_url) as client:
        client.lpush("train", raw)
    app.send_task("hear", queue="train", ignore_result=True)
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=20, queues=["train"]):
        assert heard.wait(15), "nothing behind the message was heard"
