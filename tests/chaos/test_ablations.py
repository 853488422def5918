"""It bites: the same stories with one protection switched off each end red, and with all of them green."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from ops.processes import wait_until
from tests.chaos.book import Book, opened
from tests.chaos.campaign import SCALED, drain, ready
from tests.chaos.clients import CHANNEL, SMALL, Client, Mix, Order, rows
from tests.chaos.stage import CREW, Part, Stage
from tests.chaos.verdict import Verdict, judge

pytestmark = pytest.mark.chaos

#: One worker more than the least, so that there is somebody to take a job over.
FEW = [part for part in CREW if part.name in ("web-1", "dispatcher-1", "train-1", "train-2")]
ENTITY = "device-1"
#: Some ten seconds, and none.
LONG, SHORT = {"size": 64, "epochs": 300}, {"size": 8, "epochs": 2}
NOT_ENDED = "lost: accepted and not ended"
DOUBLED = "doubled: two versions of one model by one job"
STALE = "invariant version_under_stale_fence"
Story = Callable[["Scene"], None]


class Scene:
    """A stage with few parts, one device, and one client."""

    def __init__(self, stage: Stage, book: Book) -> None:
        self.stage, self.mix = stage, Mix(Random(0))
        #: How long a worker that is not stopped is waited for.
        self.linger_s = 40.0 if stage.without else 0.0
        self.client = Client(stage.url, stage.key, book, iter(()), most=0, every_s=1, told=threading.Event())
        assert wait_until(lambda: ready(stage), 60, pause=0.2)
        assert self.client.ask("POST", f"/entities/{ENTITY}/observations", {"observations": rows(0)}).status == 200

    def train(self, size: int, epochs: int) -> str:
        """A training of a network of such a size, accepted."""
        effort = {"hidden_size": size, "epochs": epochs, "patience": min(epochs, 200)}
        spec = SMALL | effort | {"covariates": ["load"], "seed": self.mix.dice.randrange(10_000)}
        body = {"entity": ENTITY, "recipe": "device-metric", "target": CHANNEL, "spec": spec}
        found = self.client.order(Order("train", ENTITY, "/models/train", body))
        assert found is not None
        return str(found["id"])

    def state(self, job: str) -> tuple[str, int]:
        [(state, attempt)] = self.stage.rows("SELECT state, attempt FROM jobs WHERE id = %(job)s", job=job)
        return state, attempt

    def versions(self, job: str) -> int:
        return int(self.stage.rows("SELECT count(*) FROM versions WHERE job_id = %(job)s", job=job)[0][0])

    def holder(self, job: str) -> Part | None:
        """The worker that runs it, once it learns."""
        [(owner, phase)] = self.stage.rows("SELECT lease_owner, progress ->> 'phase' FROM jobs WHERE id = %(job)s", job=job)
        return self.stage.parts[owner.partition("/")[0]] if owner is not None and phase == "fit" else None

    def held(self, job: str) -> Part:
        assert wait_until(lambda: self.holder(job) is not None, 60, pause=0.05), self.state(job)
        part = self.holder(job)
        assert part is not None
        return part


def frozen_worker(scene: Scene) -> None:
    """It sleeps past its lease, another takes the job over, and it wakes before that one has ended."""
    job = scene.train(**LONG)
    first = scene.held(job)
    processes = [pid for pid in (first.pid, *first.children()) if pid is not None]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    assert wait_until(lambda: scene.state(job) != ("running", 1), 60, pause=0.1)
    assert wait_until(lambda: scene.state(job) == ("running", 2), 60, pause=0.1)
    time.sleep(1.0)
    for pid in processes:
        os.kill(pid, signal.SIGCONT)
    assert wait_until(lambda: scene.versions(job) >= 1, 180, pause=0.2)
    # The other one learns on, whatever became of the job: where nothing stops it, it is to have said what it has to say.
    wait_until(lambda: scene.versions(job) >= 2, scene.linger_s, pause=0.2)


def emptied_redis(scene: Scene) -> None:
    """Bells lie in Redis, nobody is there to hear them, and Redis forgets."""
    workers = scene.stage.of("worker")
    for worker in workers:
        scene.stage.hold(worker)
    jobs = [scene.train(**SHORT) for _ in range(3)]
    rung = "SELECT count(*) FROM jobs WHERE id = ANY(%(jobs)s) AND dispatched_at IS NOT NULL"
    assert wait_until(lambda: scene.stage.rows(rung, jobs=jobs) == [(3,)], 30, pause=0.1)
    with scene.stage.redis() as client:
        client.flushall()
    for worker in workers:
        scene.stage.free(worker)


def killed_worker(scene: Scene) -> None:
    """With a job in its hands, and nobody left of it to say so."""
    job = scene.train(**LONG)
    scene.stage.kill(scene.held(job))


def play(folder: Path, stories: Sequence[Story], *without: str, patience_s: float = 20) -> Verdict:
    with opened(folder / "clients.jsonl") as book, Stage(folder, SCALED, crew=FEW, without=without) as stage:
        stage.start_all()
        scene = Scene(stage, book)
        for story in stories:
            story(scene)
        scene.client.close()
        drain(stage, patience_s=patience_s)
        return judge(stage, book, [])


@pytest.mark.slow
def test_with_every_protection_all_stories_end_well(folder: Path) -> None:
    found = play(folder, [frozen_worker, emptied_redis, killed_worker], patience_s=120)
    assert found.red == {}, found.broken
    assert found.figures["outcomes"]["lost"] >= 2


@pytest.mark.slow
def test_without_the_fence_a_woken_worker_publishes_what_is_no_longer_its_own(folder: Path) -> None:
    found = play(folder, [frozen_worker], "fence")
    assert STALE in found.red, found.red
    assert DOUBLED not in found.red, "the index refuses the second version"


@pytest.mark.slow
def test_without_the_index_behind_it_two_versions_appear(folder: Path) -> None:
    found = play(folder, [frozen_worker], "all before the index", "index")
    assert DOUBLED in found.red, found.red


@pytest.mark.slow
def test_with_the_index_alone_none_appears_twice(folder: Path) -> None:
    found = play(folder, [frozen_worker], "all before the index")
    assert DOUBLED not in found.red, found.red
    assert found.red


@pytest.mark.slow
def test_without_a_second_bell_what_redis_forgot_waits_for_ever(folder: Path) -> None:
    found = play(folder, [emptied_redis], "ringing again")
    assert found.red.get(NOT_ENDED) == 3, found.red


@pytest.mark.slow
def test_without_the_reaper_a_dead_worker_keeps_its_job(folder: Path) -> None:
    found = play(folder, [killed_worker], "reaper")
    assert found.red.get(NOT_ENDED) == 1, found.red
    assert "invariant lease_not_reaped" in found.red
