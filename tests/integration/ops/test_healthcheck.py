"""Health checks against real processes, those that hang, and those that are gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from ops import healthcheck
from ops.healthcheck import Ill
from tasks.dispatcher import Dispatcher
from tasks.runtime import open_runtime
from tasks.settings import Settings
from tests.support.road import settings_for

AWAY = "redis://127.0.0.1:1/0"


@contextmanager
def answering(status: int) -> Iterator[tuple[int, list[str]]]:
    """A server that answers everything with this status, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Said nowhere."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_api_is_well_when_it_answers(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:1")  # the way out of this machine, not to itself
    with answering(200) as (port, asked):
        healthcheck.web(replace(Settings(), api_host=host, api_port=port))
        assert asked == ["/healthz"]


@pytest.mark.parametrize(
    ("prefix", "path"), [("", "/healthcheck"), ("flower", "/flower/healthcheck"), ("/ops/flower/", "/ops/flower/healthcheck")]
)
def test_flower_is_asked_below_its_prefix(prefix: str, path: str) -> None:
    with answering(200) as (port, asked):
        healthcheck.flower(replace(Settings(), flower_port=port, flower_url_prefix=prefix))
        assert asked == [path]


def test_an_error_or_no_answer_is_ill_and_told() -> None:
    with answering(500) as (port, _), pytest.raises(Ill, match="does not answer: HTTP Error 500"):
        healthcheck.web(replace(Settings(), api_port=port))
    with pytest.raises(Ill, match=rf"http://127.0.0.1:{port}/healthz does not answer: .*refused"):
        healthcheck.web(replace(Settings(), api_port=port))


@pytest.fixture
def settings(engine: Engine, migrated_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return replace(settings_for(migrated_url, redis_url, tmp_path), dispatch_poll_s=0.1)


@contextmanager
def dispatching(settings: Settings) -> Iterator[None]:
    runtime, stop = open_runtime(settings, "dispatcher", connections=4), threading.Event()
    loop = threading.Thread(target=Dispatcher(runtime).run, args=(stop,))
    loop.start()
    try:
        yield
    finally:
        stop.set()
        loop.join()
        runtime.close()


def until_well(settings: Settings) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            return healthcheck.dispatcher(settings)
        except Ill:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_dispatcher_is_well_while_it_looks_for_jobs(settings: Settings) -> None:
    with pytest.raises(Ill, match="No dispatcher of this address listens"):
        healthcheck.dispatcher(settings)
    with dispatching(settings):
        until_well(settings)
    with pytest.raises(Ill, match="No dispatcher of this address listens"):
        healthcheck.dispatcher(settings)


def test_a_dispatcher_that_listens_and_never_looks_is_ill(settings: Settings) -> None:
    url = settings.database_url.replace("+psycopg", "")
    with (
        psycopg.connect(url, application_name="fleetcast-dispatcher-listen"),
        pytest.raises(Ill, match=r"has not looked for jobs within 11\.5 s"),
    ):
        healthcheck.dispatcher(settings)


def test_a_dispatcher_without_its_broker_is_well(settings: Settings) -> None:
    """It waits for it; to start it anew would bring no broker."""
    with dispatching(replace(settings, redis_url=AWAY)):
        until_well(settings)


def test_a_postgres_that_is_away_is_told() -> None:
    with pytest.raises(Ill, match=r"Postgres does not answer: .*refused"):
        healthcheck.dispatcher(replace(Settings(), database_url="postgresql+psycopg://x@127.0.0.1:1/x"))


def test_a_worker_that_does_not_answer_is_ill(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthcheck, "PATIENCE_S", 1.0)
    with pytest.raises(Ill, match=r"train@.* does not answer within 1 s"):
        healthcheck.worker(settings, "train")
    with pytest.raises(Ill, match="The broker does not answer"):
        healthcheck.worker(replace(settings, redis_url=AWAY), "train")
    with pytest.raises(Ill, match="The broker does not answer"):
        healthcheck.worker(replace(settings, redis_url=settings.redis_url.replace("://:", "://:not")), "train")
