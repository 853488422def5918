"""An upgrade without a pause: processes of two releases over the same servers, a migration under load, and every job done exactly once."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from db import ledger, migrate
from db.session import make_engine, make_sessions
from ops.processes import usable_port
from tests.support.client import Api, Body
from tests.support.compose import until
from tests.support.real import devices
from tests.support.releases import NEXT, ROOT, Release, next_release
from tests.support.servers import Servers, database

SCALED = {
    "LEASE_S": "6",
    "REDISPATCH_S": "2",
    "RECONCILE_S": "1",
    "RETRY_BASE_S": "1",
    "DISPATCH_POLL_S": "0.2",
    "DEVICE": "cpu",
    "API_HOST": "127.0.0.1",
    "WEB_WORKERS": "1",
    "WORKER_CONCURRENCY": "1",
}
PROCESSES = ("web", "dispatcher", "worker interactive", "worker train")
QUICK = {"epochs": 1, "hidden_size": 8, "num_layers": 1}
#: A training that is still at work when its worker is told to stop.
LONG = {"epochs": 120, "patience": 120, "hidden_size": 32}
TARGET = "system.cpuUsage"
#: For processes that import torch side by side on a busy machine.
START_S = 180.0
#: Pause between two submissions of a load.
BREATH_S = 0.4


@dataclass
class Client:
    """Asks for trainings, predictions and what-ifs, no two alike, and remembers what was accepted."""

    accepted: list[Body] = field(default_factory=list)
    _fresh: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def train(self, api: Api, **changes: object) -> Body:
        number = next(self._fresh)
        spec = QUICK | {"seed": number} | changes
        return self._submit(
            api, "/models/train", {"entity": f"dev-{number % 4}", "recipe": "device-metric", "target": TARGET, "spec": spec}
        )

    def ask(self, api: Api) -> None:
        number = next(self._fresh)
        question = {"entity": "dev-0", "target": TARGET, "level": round(0.5 + number / 1000, 3)}
        change = {"channel": TARGET, "op": "add", "value": 1}
        self._submit(api, "/predict", question)
        self._submit(api, "/predict/what-if", question | {"scenarios": [{"name": "more", "changes": [change]}]})

    def _submit(self, api: Api, path: str, body: Body) -> Body:
        answer = api.post(path, body)
        assert answer.status_code == 202, answer.text
        self.accepted.append(answer.json())
        return self.accepted[-1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def engine_url(live: Servers) -> Iterator[str]:
    with database(live.database_url) as url:
        yield url


@pytest.fixture
def shared(engine_url: str) -> Iterator[Engine]:
    engine = make_engine(engine_url)
    yield engine
    engine.dispose()


@pytest.fixture
def releases(engine_url: str, redis_url: str, folder: Path) -> Iterator[tuple[Release, Release]]:
    given = SCALED | {"DATABASE_URL": engine_url, "REDIS_URL": redis_url, "MODEL_DIR": str(folder / "models")}
    old = Release("old", ROOT, folder, given | {"API_PORT": str(usable_port(0))})
    new = Release("new", next_release(folder / "next"), folder, given | {"API_PORT": str(usable_port(0))})
    try:
        yield old, new
    finally:
        old.kill()
        new.kill()


def url(release: Release) -> str:
    return f"http://127.0.0.1:{release.environment['API_PORT']}"


def ready(release: Release) -> bool:
    try:
        return httpx.get(f"{url(release)}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def outcomes(engine: Engine) -> dict[tuple[str, str], int]:
    """How often tries ended so, by kind of job."""
    asked = text("SELECT kind, outcome, count(*) FROM attempts JOIN jobs ON jobs.id = job_id WHERE outcome IS NOT NULL GROUP BY 1, 2")
    with engine.connect() as connection:
        return {(kind, outcome): n for kind, outcome, n in connection.execute(asked)}


def under_load(submit: Callable[[], None], work: Callable[[], object]) -> None:
    """Submit again and again while the work is done."""
    done, failed = threading.Event(), []

    def load() -> None:
        while not done.is_set():
            try:
                submit()
            except AssertionError as error:
                failed.append(error)
            time.sleep(BREATH_S)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    assert failed == []


@pytest.mark.slow
def test_an_upgrade_under_load_loses_nothing_and_counts_no_try(releases: tuple[Release, Release], shared: Engine) -> None:
    old, new = releases
    old.run("migrate")
    key = old.run("keys", "create", "acme").strip()
    client = Client()
    with ExitStack() as stack:
        for process in PROCESSES:
            old.start(process)
        until(lambda: ready(old), "the old release answers", START_S)
        before = stack.enter_context(Api(url(old), key))
        points = next(iter(devices().values()))[TARGET][-400:]
        for n in range(4):
            before.send(f"dev-{n}", {TARGET: points})
        first = [client.train(before) for _ in range(4)]
        assert [before.wait(job, seconds=START_S)["state"] for job in first] == ["succeeded"] * 4

        # The old processes go on while the schema becomes the next one's.
        under_load(lambda: client.ask(before), lambda: new.run("migrate"))
        with shared.connect() as connection:
            assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == NEXT
        assert migrate.standing(shared) is migrate.Standing.AHEAD
        assert httpx.get(f"{url(old)}/readyz", trust_env=False).json()["ready"] is True
        assert "leaves it as it is" in old.run("migrate"), "an old release that is started again"

        # Only old workers, and jobs of the next release: what they do not know waits, and costs it nothing.
        new.start("web")
        until(lambda: ready(new), "the next release answers", START_S)
        after = stack.enter_context(Api(url(new), key))
        for _ in range(3):
            client.train(after)
            client.ask(after)
        until(lambda: outcomes(shared).get(("train", "handed_back"), 0) > 0, "an old worker hands a training back", START_S)
        until(lambda: "suppose" in old.log("interactive"), "an old worker hears of a kind that it does not know", START_S)
        assert ("suppose", "succeeded") not in outcomes(shared)

        # Both.
        for process in PROCESSES[1:]:
            new.start(process)
        for _ in range(3):
            for api in (before, after):
                client.train(api)
                client.ask(api)
        until(lambda: outcomes(shared).get(("suppose", "succeeded"), 0) > 0, "a new worker works", START_S)
        under_load(lambda: client.ask(after), lambda: stop_in_the_middle(old, before, client))
        for name in ("interactive", "dispatcher"):
            old.stop(name)
            client.train(before)
            client.ask(after)
        old.stop("web")
        client.train(after)

        ended = [after.wait(job, seconds=START_S) for job in client.accepted]
    assert {job["state"] for job in ended} == {"succeeded"}, [job["error"] for job in ended if job["error"]]
    assert {job["attempt"] for job in ended} == {1}, "no failed try was counted"
    _require_done_once(shared, len(ended))


def stop_in_the_middle(old: Release, api: Api, client: Client) -> None:
    """The training worker is told to stop while a training of its own release is under way, there or at the new worker."""
    job = client.train(api, **LONG)
    until(lambda: api.get(f"/jobs/{job['id']}")["progress"].get("phase") == "fit", "the training is under way")
    old.stop("train")


def _require_done_once(engine: Engine, jobs: int) -> None:
    found = outcomes(engine)
    assert {outcome for _, outcome in found} <= {"succeeded", "handed_back", "drained"}, found
    assert sum(n for (_, outcome), n in found.items() if outcome == "succeeded") == jobs
    with engine.connect() as connection:
        trained = connection.execute(text("SELECT count(*) FROM jobs WHERE kind = 'train'")).scalar_one()
        assert connection.execute(text("SELECT count(*), count(DISTINCT job_id) FROM versions")).one() == (trained, trained)
        formats = connection.execute(text("SELECT coalesce(spec->>'v', '1'), count(*) FROM jobs WHERE kind = 'train' GROUP BY 1")).all()
        assert dict(formats).keys() == {"1", "3"}, "both releases' trainings were asked for"
    with make_sessions(engine)() as session:
        assert not any(ledger.violations(session).values())
