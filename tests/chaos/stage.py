"""The stage: real servers, every process of the product by its own commands, and a wire between each pair of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import make_url, text

from db import migrate, tenants
from db.session import make_engine, make_sessions
from ops import stack
from ops.processes import usable_port, wait_until
from tasks.environment import inherited
from tests.chaos import clock, disk
from tests.chaos.ablations import ABLATIONS

ROOT = Path(__file__).parents[2]
#: Looks at who has died, and pauses between two of them.
LOOK_S = 0.1
#: Room for artefacts, so little that it can be filled in a moment.
DISK_MB = 256
#: What the clock of one worker and one dispatcher is wrong by.
SKEW_S = 3600.0


@dataclass
class Part:
    """One process of the product, and whether it is to run."""

    name: str
    command: tuple[str, ...]
    #: What its clock is wrong by.
    skew_s: float = 0.0
    settings: Mapping[str, str] = field(default_factory=dict)
    #: Kept down on purpose.
    held: bool = False
    deaths: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def kind(self) -> str:
        """Whose wire it uses: web, dispatcher or worker."""
        return self.command[0]

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def children(self) -> list[int]:
        """The processes that do its work: of a worker its pool, of gunicorn its workers."""
        if self.pid is None:
            return []
        with suppress(OSError):
            return [int(word) for word in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []


#: Two of each kind, so that one can fail; one of each pair has a clock of its own.
CREW: Sequence[Part] = (
    Part("web-1", ("web",)),
    Part("dispatcher-1", ("dispatcher",)),
    Part("dispatcher-2", ("dispatcher",), skew_s=-SKEW_S),
    Part("interactive-1", ("worker", "interactive")),
    Part("interactive-2", ("worker", "interactive"), skew_s=SKEW_S),
    Part("train-1", ("worker", "train")),
    Part("train-2", ("worker", "train"), settings={"COHORT_SIZE": "4"}),
)
KINDS = ("web", "dispatcher", "worker")
SERVERS = ("postgres", "redis")


class Stage:
    """Everything that a campaign acts on. A context: all of it is taken down in the end."""

    def __init__(self, folder: Path, settings: Mapping[str, str], crew: Sequence[Part] = CREW, without: Sequence[str] = ()) -> None:
        self.folder, self._settings, self.without = folder, dict(settings), tuple(without)
        self.parts = {part.name: replace(part) for part in crew}
        self.armed, self.models = folder / "armed", folder / "models"
        self._end, self._lock = threading.Event(), threading.RLock()
        self._held = ExitStack()
        #: Crash points that were armed.
        self.points: set[str] = set()
        #: Whether artefacts have a disk of their own, which can be filled.
        self.own_disk = False

    def __enter__(self) -> Self:
        try:
            self._raise()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _raise(self) -> None:
        for folder in (self.armed, self.models, self.folder / "logs", self.folder / "cwd"):
            folder.mkdir(parents=True)
        self.own_disk = disk.mount(self.models, DISK_MB)
        if self.own_disk:
            self._held.callback(disk.unmount, self.models)
        self._clock = clock.build(self.folder)
        self._held.callback(stack.remove, self.folder / "servers")
        self._servers()
        self._hang_wires()
        self.key = self._prepare()
        self.port = usable_port(0)
        self._held.callback(self._take_down)
        threading.Thread(target=self._keep, daemon=True).start()

    # --- servers ---------------------------------------------------------------------------------------------------------------

    def _servers(self) -> None:
        """Start what is down; the ports stay what they were."""
        self.up = stack.start(self.folder / "servers", durable=self._settings.get("DURABLE") == "1")

    def stop_postgres(self, *, down_s: float) -> None:
        """As after a power cut: no checkpoint, every session gone, and recovery when it comes back."""
        with self._lock:
            os.kill(self.up.pids["postgres"], signal.SIGQUIT)
            time.sleep(down_s)
            wait_until(lambda: "postgres" not in self._running(), 20)
            self._servers()

    def stop_redis(self, *, down_s: float) -> None:
        """Killed, and everything it held is gone."""
        with self._lock:
            os.kill(self.up.pids["valkey"], signal.SIGKILL)
            time.sleep(down_s)
            for left in self.up.folder.glob("**/appendonlydir"):
                shutil.rmtree(left)
            for left in self.up.folder.glob("**/dump.rdb"):
                left.unlink()
            self._servers()

    def _running(self) -> Mapping[str, int]:
        found = stack.status(self.folder / "servers")
        return found.pids if found is not None else {}

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.up.redis_url, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    @contextmanager
    def postgres(self) -> Iterator[psycopg.Connection[Any]]:
        """Past the wires; waits until it is there."""
        deadline = time.monotonic() + 60
        while True:
            try:
                connection = self.postgres_now()
                break
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        with connection:
            yield connection

    def postgres_now(self) -> psycopg.Connection[Any]:
        """One connection, or none: nobody waits."""
        url = make_url(self.up.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(url, autocommit=True, connect_timeout=3, application_name="campaign")

    def rows(self, query: str, **given: Any) -> list[tuple[Any, ...]]:
        """Asked again where Postgres goes away meanwhile: nothing asked here changes anything."""
        for _ in range(5):
            with suppress(psycopg.OperationalError), self.postgres() as connection:
                return connection.execute(query, given).fetchall()
            time.sleep(0.5)
        with self.postgres() as connection:
            return connection.execute(query, given).fetchall()

    # --- wires -----------------------------------------------------------------------------------------------------------------

    def _hang_wires(self) -> None:
        servers = {"postgres": make_url(self.up.database_url).port, "redis": make_url(self.up.redis_url).port}
        self._ports = {f"{kind}-{server}": usable_port(0) for kind in KINDS for server in SERVERS}
        plan = {name: (port, servers[name.partition("-")[2]]) for name, port in self._ports.items()}
        self._wires = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.wires", json.dumps(plan)],
            cwd=ROOT,
            env=inherited(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._held.callback(self._wires.__exit__, None, None, None)
        self._held.callback(self._wires.kill)
        assert self._wires.stdout is not None
        assert self._wires.stdout.readline() == "ready\n"

    def wire(self, name: str, order: str) -> None:
        with self._lock:
            assert self._wires.stdin is not None
            self._wires.stdin.write(f"{name} {order}\n")
            self._wires.stdin.flush()

    @property
    def wires(self) -> list[str]:
        return sorted(self._ports)

    # --- the product's processes ---------------------------------------------------------------------------------------------

    def _prepare(self) -> str:
        """The schema, a tenant with room, and its key."""
        engine = make_engine(self.up.database_url)
        migrate.upgrade(engine)
        with make_sessions(engine).begin() as session:
            for statement in (each for name in self.without for each in ABLATIONS[name].statements):
                session.execute(text(statement))
            acme = tenants.create_tenant(session, "acme", max_unfinished=100_000, max_running=100)
            _, key = tenants.issue_key(session, acme.id, "campaign")
        engine.dispose()
        return key

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start_all(self) -> None:
        with self._lock:
            for part in self.parts.values():
                part.held = False
                self._start(part)

    def _keep(self) -> None:
        """Start again whatever has died and is not held."""
        while not self._end.wait(LOOK_S):
            with self._lock:
                for part in self.parts.values():
                    if part.process is not None and part.pid is None and not part.held:
                        part.deaths += 1
                        self._start(part)

    def _start(self, part: Part) -> None:
        with (self.folder / "logs" / f"{part.name}.log").open("ab") as log:
            part.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ops.cli", *part.command],
                env=inherited() | {"PYTHONPATH": str(self._site(part))} | self._environment(part),
                cwd=self.folder / "cwd",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self, part: Part) -> dict[str, str]:
        through = {server: self._ports[f"{part.kind}-{server}"] for server in SERVERS}
        urls = {
            "DATABASE_URL": make_url(self.up.database_url).set(port=through["postgres"]).render_as_string(hide_password=False),
            "REDIS_URL": make_url(self.up.redis_url).set(port=through["redis"]).render_as_string(hide_password=False),
        }
        own = {"MODEL_DIR": str(self.models), "API_PORT": str(self.port), "WORKER_NAME": part.name, "DEVICE": "cpu"}
        return urls | own | self._settings | dict(part.settings)

    def _site(self, part: Part) -> Path:
        """Where Python finds, before anything else, the crash points and the wrong clock of this part."""
        site = self.folder / "site" / part.name
        site.mkdir(parents=True, exist_ok=True)
        lines = [
            "import sys",
            "from pathlib import Path",
            f"sys.path.insert(0, {str(ROOT)!r})",
            "from tests.chaos import clock, points",
            f"clock.shift({str(self._clock or '')!r}, {part.skew_s})",
            f"points.install(Path({str(self.armed)!r}), {self.without!r})",
        ]
        (site / "sitecustomize.py").write_text("\n".join(lines) + "\n")
        return site

    def kill(self, part: Part, number: signal.Signals = signal.SIGKILL) -> None:
        """The whole group: nothing of it is left to clean up after itself."""
        if part.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(part.pid, number)

    def hold(self, part: Part) -> None:
        """Kill it and keep it down until `free`."""
        with self._lock:
            part.held = True
            self.kill(part)

    def free(self, part: Part) -> None:
        with self._lock:
            part.held = False

    def of(self, kind: str) -> list[Part]:
        """The parts of one command: web, dispatcher or worker."""
        return [part for part in self.parts.values() if part.kind == kind]

    def kill_one(self, part: Part, number: signal.Signals) -> None:
        """The process alone, as whoever sends it a signal does."""
        if part.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(part.pid, number)

    def setting(self, name: str) -> str:
        return self._settings[name]

    def arm(self, point: str) -> None:
        self.points.add(point)
        (self.armed / point).touch()

    def hit(self) -> set[str]:
        """The points that were armed, and at which a process has died."""
        return {name for name in self.points if not (self.armed / name).exists()}

    def _take_down(self) -> None:
        self._end.set()
        with self._lock:
            for part in self.parts.values():
                part.held = True
                self.kill(part, signal.SIGCONT)
                self.kill(part)
        for part in self.parts.values():
            if part.process is not None:
                part.process.wait(20)
