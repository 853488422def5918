"""Crash points: named places in the product where a process kills itself, once, when the point was armed.

The product knows nothing of them. A process of the campaign finds `install` called by its own `sitecustomize`, which wraps the functions
named here as their modules are loaded. A point is armed by a file of its name; whoever reaches the point first takes the file away and
dies by SIGKILL there, so that each is hit exactly once and by one process.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.chaos.ablations import ABLATIONS


@dataclass(frozen=True)
class Point:
    """Before or after one function of one module."""

    name: str
    module: str
    function: str
    after: bool = False


def _before(name: str, module: str, function: str) -> Point:
    return Point(name, module, function)


def _after(name: str, module: str, function: str) -> Point:
    return Point(name, module, function, after=True)


POINTS: Sequence[Point] = (
    # A request that writes.
    _before("web_before_the_job_is_written", "db.ledger", "place"),
    _after("web_before_the_commit", "tasks.placing", "_placed"),
    _after("web_after_the_commit", "tasks.placing", "once"),
    _before("web_before_the_answer", "webapp.answers", "_answer"),
    _after("web_after_the_answer_is_made", "webapp.answers", "_answer"),
    # The dispatcher's rounds.
    _after("dispatcher_before_it_rings", "db.ledger", "due"),
    _after("dispatcher_after_it_rang", "tasks.dispatcher", "Dispatcher._ring"),
    _after("dispatcher_before_its_commit", "db.ledger", "dispatched"),
    _after("dispatcher_after_its_commit", "tasks.dispatcher", "Dispatcher._dispatch"),
    _after("reconciler_before_its_commit", "db.ledger", "reap"),
    _before("reconciler_before_it_tells", "tasks.reconcile", "_tell"),
    _before("tidying_before_it_purges", "db.ledger", "purge"),
    _after("tidying_with_a_list_of_orphans", "tasks.reconcile", "_kept"),
    # A worker's job, from the bell to the mirror.
    _before("worker_before_the_claim", "tasks.execute", "_claim"),
    _after("worker_before_the_claim_is_committed", "db.ledger", "claim"),
    _after("worker_after_the_claim", "tasks.execute", "_claim"),
    _after("worker_while_a_cohort_joins", "db.ledger", "join_cohort"),
    _after("worker_in_its_heartbeat", "db.ledger", "beat"),
    _before("worker_before_it_reads", "tasks.train", "_prepare"),
    _after("worker_after_it_read", "tasks.train", "_prepare"),
    _before("worker_in_an_epoch", "tasks.train", "figures"),
    _before("worker_before_the_gate", "tasks.train", "_judge"),
    _before("worker_before_the_artefact", "ml.shelf", "put"),
    _after("worker_in_the_artefact", "ml.shelf", "_write_synced"),
    _after("worker_with_half_a_folder", "ml.shelf", "_sync_folder"),
    _after("worker_after_the_artefact", "ml.shelf", "put"),
    _before("worker_before_it_holds_its_fence", "db.ledger", "hold"),
    _after("worker_with_its_fence_held", "db.ledger", "hold"),
    _after("worker_after_the_version_is_written", "tasks.execute", "Work.publish_version"),
    _after("worker_after_the_sinks_commit", "tasks.sinks", "send"),
    _after("worker_before_the_commit", "db.ledger", "succeed"),
    _after("worker_after_the_commit", "tasks.execute", "Work._commit"),
    _after("worker_after_the_commit_of_a_cohort", "tasks.together", "_commit"),
    _before("worker_before_it_mirrors", "tasks.execute", "Work._settle"),
    _after("worker_after_it_mirrored", "tasks.execute", "Work._settle"),
    _before("worker_before_it_remembers_a_forecast", "tasks.predict", "_remember"),
    _after("worker_before_a_failure_is_committed", "db.ledger", "fail"),
    _after("worker_before_a_cancel_is_committed", "db.ledger", "cancelled"),
    _after("worker_before_a_release_is_committed", "db.ledger", "release"),
    _after("worker_before_a_crash_is_committed", "db.ledger", "crashed"),
)

#: A cohort of predictions on its way, from its rows to its commit. The campaign has few batches: see test_killed_in_batches.
OF_COHORTS: Sequence[Point] = (
    _after("worker_with_a_cohorts_rows", "tasks.batch", "_served"),
    _after("worker_with_a_cohorts_forecasts", "tasks.batch", "_made"),
    _after("worker_with_a_cohorts_fences_held", "db.ledger", "hold_all"),
    _after("worker_before_the_commit_of_a_cohort", "db.ledger", "succeed_all"),
)
#: A run of a schedule: taken, its job written, its run written, committed, told.
OF_SCHEDULES: Sequence[Point] = (
    _after("dispatcher_with_a_schedule_taken", "db.schedules", "take_due"),
    _after("dispatcher_with_a_runs_job_written", "tasks.firing", "_attempt"),
    _after("dispatcher_before_a_runs_commit", "db.schedules", "record"),
    _before("dispatcher_after_a_runs_commit", "tasks.firing", "_tell"),
)

#: A job whose label begins so takes down every process that works on it.
POISON = "poison"


def install(armed: Path, without: Sequence[str] = ()) -> None:
    """Watch for the modules of the points, and of what is switched off, and wrap their functions once they are loaded."""
    changes: dict[str, list[Callable[[ModuleType], None]]] = {"tasks.execute": [_spare, _poison]}
    for point in (*POINTS, *OF_COHORTS, *OF_SCHEDULES):
        changes.setdefault(point.module, []).append(partial(_wrap, point=point, armed=armed))
    for name in without:
        for module, change in ABLATIONS[name].changes:
            changes.setdefault(module, []).append(change)
    sys.meta_path.insert(0, _Watcher(changes))


class _Watcher(importlib.abc.MetaPathFinder):
    """Finds a module as everybody does, and has it changed right after it was executed."""

    def __init__(self, changes: dict[str, list[Callable[[ModuleType], None]]]) -> None:
        self._changes = changes

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name not in self._changes:
            return None
        todo = self._changes.pop(name)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            load = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                for change in todo:
                    change(module)

            loader.exec_module = exec_module
        return spec


def _wrap(module: ModuleType, *, point: Point, armed: Path) -> None:
    owner, name = _place(module, point.function)
    function = getattr(owner, name)
    file = armed / point.name

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not point.after:
            _die_if(file)
        found = function(*args, **kwargs)
        if point.after:
            _die_if(file)
        return found

    setattr(owner, name, wrapped)


def _place(module: ModuleType, function: str) -> tuple[Any, str]:
    *owners, name = function.split(".")
    owner: Any = module
    for each in owners:
        owner = getattr(owner, each)
    return owner, name


def _die_if(file: Path) -> None:
    """The one who takes the file away dies; an armed point is rare, so a look is all that it costs."""
    if file.exists() and not _CRASHED:
        try:
            file.unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


#: Jobs in this process's hands that have taken one down before. They are spared: a third time is what the product calls poison.
_CRASHED: set[str] = set()


def _spare(execute: ModuleType) -> None:
    claim = execute._claim

    @wraps(claim)
    def noted(*args: Any) -> Any:
        claims = claim(*args)
        _CRASHED.clear()
        _CRASHED.update(each.job.id for each in claims if each.job.crashes)
        return claims

    execute._claim = noted  # type: ignore[attr-defined]


def _poison(execute: ModuleType) -> None:
    progress = execute.Work.progress

    @wraps(progress)
    def poisoned(self: Any, phase: str, **figures: Any) -> None:
        if self.job.label.startswith(POISON):
            os.kill(os.getpid(), signal.SIGKILL)
        progress(self, phase, **figures)

    execute.Work.progress = poisoned
