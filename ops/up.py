"""Bringing the whole house up on one machine: servers where none are given, migrations, and every process, watched and restarted."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

import redis
from sqlalchemy.orm import Session

from db import migrate, tenants
from db.errors import NotFound
from db.session import make_engine, make_sessions
from ops import stack
from ops.children import Children
from ops.house import House, HouseError, forget, keeping, note, write_private
from ops.keeper import READY_S, clear_up
from ops.ports import free_ports
from ops.processes import wait_until
from tasks.settings import Settings

TENANT = "development"
#: A server that is to serve requests must answer a greeting within so many seconds.
GREETING_S = 5.0


class Supervisor:
    """Starts every process, restarts those that die, and stops them all in the end."""

    def __init__(self, settings: Settings, folder: Path, say: Callable[[str], None]) -> None:
        self._given, self._folder, self._say = settings, folder, say
        self._embedded = not (settings.database_url and settings.redis_url)
        self._stop = threading.Event()

    def run(self, ready: Callable[[House], None]) -> None:
        """Up, until told to stop by SIGINT, SIGTERM, the end of the terminal or `stop`. `ready` is called once the API answers."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self.stop)
        with keeping(self._folder):
            for name in clear_up(self._folder, servers_too=not self._embedded):
                self._say(f"Ended {name}, left behind by an `up` that was killed.")
            self._children = Children(self._folder, self._say, embedded=self._embedded)
            try:
                self._live(ready)
            finally:
                self._take_down()

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        self._stop.set()

    def _live(self, ready: Callable[[House], None]) -> None:
        settings = self._settled()
        house = describe(settings, self._open_database(settings), self._folder)
        for line in gave_way(self._given, house):
            self._say(line)
        self._say("Starting API, dispatcher, workers and Flower …")
        self._children.start_all(settings)
        self._await_api(house.url)
        if self._stop.is_set():
            return
        ready(self._note(house))
        while not self._stop.wait(0.5):
            if self._children.look_after(settings):
                self._note(house)

    def _settled(self) -> Settings:
        """The settings with every blank filled in: servers, folder of models, free ports, a password for Flower."""
        settings = self._with_servers()
        models = settings.model_dir if settings.model_dir.is_absolute() else self._folder / settings.model_dir
        models.mkdir(parents=True, exist_ok=True)
        api_port, flower_port = free_ports(settings.api_host, settings.api_port, settings.flower_port)
        return replace(
            settings,
            model_dir=models,
            api_port=api_port,
            flower_port=flower_port,
            flower_basic_auth=settings.flower_basic_auth or f"operator:{secrets.token_urlsafe(12)}",
        )

    def _with_servers(self) -> Settings:
        if not self._embedded:
            _greet(self._given.redis_url)
            return self._given
        self._say("Starting Postgres and Valkey …")
        servers = stack.start(self._folder)
        return replace(
            self._given,
            database_url=self._given.database_url or servers.database_url,
            redis_url=self._given.redis_url or servers.redis_url,
        )

    def _open_database(self, settings: Settings) -> str:
        """Migrate, and return the development key."""
        engine = make_engine(settings.database_url, application="fleetcast-up")
        try:
            migrate.upgrade(engine)
            with make_sessions(engine).begin() as session:
                key = self._key(session, settings)
        finally:
            engine.dispose()
        write_private(self._folder / "development.key", key)
        return key

    def _key(self, session: Session, settings: Settings) -> str:
        """The development key of the last time, if it still opens the door; else a new one."""
        kept = self._folder / "development.key"
        if kept.is_file() and tenants.authenticate(session, kept.read_text()) is not None:
            return kept.read_text()
        try:
            tenant = tenants.find_tenant(session, TENANT)
        except NotFound:
            limits = {"max_unfinished": settings.tenant_max_unfinished, "max_running": settings.tenant_max_running}
            tenant = tenants.create_tenant(session, TENANT, **limits)
        return tenants.issue_key(session, tenant.id, "fleetcast up")[1]

    def _await_api(self, url: str) -> None:
        """Until it answers or we are told to stop. Raises HouseError with the end of its log when it dies or stays silent."""
        wait_until(lambda: self._stop.is_set() or self._children.is_gone("web") or _answers(url), READY_S, pause=0.1)
        if not self._stop.is_set() and not _answers(url):
            log = self._children.log("web")
            told = log.read_text(errors="replace").splitlines()[-15:]
            raise HouseError("\n".join([f"The API does not answer. The end of {log}:", *told]))

    def _note(self, house: House) -> House:
        noted = replace(house, pids={"supervisor": os.getpid()} | self._children.pids)
        note(self._folder, noted)
        return noted

    def _take_down(self) -> None:
        """From here on nothing counts as running; the servers last."""
        forget(self._folder)
        self._children.end_all()
        if self._embedded:
            stack.stop(self._folder)


def describe(settings: Settings, key: str, folder: Path) -> House:
    """The house of these settings, before any process of it runs."""
    host = "127.0.0.1" if settings.api_host in ("0.0.0.0", "") else settings.api_host
    user, _, password = settings.flower_basic_auth.partition(":")
    return House(
        url=f"http://{host}:{settings.api_port}",
        key=key,
        docs=f"http://{host}:{settings.api_port}/docs",
        flower=f"http://{host}:{settings.flower_port}",
        flower_user=user,
        flower_password=password,
        database_url=settings.database_url,
        redis_url=settings.redis_url,
        folder=str(folder),
        pids={},
    )


def gave_way(wished: Settings, house: House) -> list[str]:
    """What is to be said of ports that somebody else has: who listens elsewhere for that, and where."""
    ports = (("the API", "API_PORT", wished.api_port, house.url), ("Flower", "FLOWER_PORT", wished.flower_port, house.flower))
    return [
        f"Port {port} is taken, so {name} listens at {url} instead ({variable} names another)."
        for name, variable, port, url in ports
        if port and not url.endswith(f":{port}")
    ]


def _greet(redis_url: str) -> None:
    try:
        with redis.Redis.from_url(redis_url, socket_timeout=GREETING_S, socket_connect_timeout=GREETING_S) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise HouseError(f"Redis does not answer: {error}. Check REDIS_URL, or leave it blank for an embedded server.") from error


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2):  # a status of 400 or more raises
            return True
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False
