"""Protections that can be switched off, one at a time, to see that the verdict notices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

Change = Callable[[ModuleType], None]


@dataclass(frozen=True)
class Ablation:
    """Changes to modules as they are loaded, and statements that the database is given before."""

    changes: Sequence[tuple[str, Change]] = ()
    statements: Sequence[str] = ()


def _no_fence(leases: ModuleType) -> None:
    """Whoever once held the job may go on as if nobody else did: it renews, writes and ends it."""
    leases._under = lambda job_id, _: (leases.jobs.c.id == job_id) & (leases.jobs.c.state == "running")  # type: ignore[attr-defined]
    renew = leases.beat

    def beat(session: object, fences: Mapping[str, int], *rest: object) -> dict[str, object]:
        renewed: dict[str, object] = renew(session, fences, *rest)
        return {job_id: leases.Pulse(job_id, fence, False, False, False) for job_id, fence in fences.items()} | renewed

    leases.beat = beat  # type: ignore[attr-defined]


def _no_end(leases: ModuleType) -> None:
    """Nor does it matter that the job has ended."""
    leases._under = lambda job_id, _: leases.jobs.c.id == job_id  # type: ignore[attr-defined]


def _no_look(publication: ModuleType) -> None:
    """A version is written without a look whether the job has one already."""

    def publish(session: Any, tenant_id: str, model_id: str, new: Any, **_: object) -> object:
        model = publication.lock(session, tenant_id, model_id)
        newest = publication.newest(session, model)
        major, minor, patch = publication._next_number(newest, new)
        number = {"major": major, "minor": minor, "patch": patch}
        published = publication.Version(tenant_id=tenant_id, model_id=model.id, **number, active=newest is None, **asdict(new))
        session.add(published)
        session.flush()
        return published

    publication.publish = publish  # type: ignore[attr-defined]


def _no_second_bell(dispatch: ModuleType) -> None:
    dispatch.unanswered = lambda *_: False  # type: ignore[attr-defined]


def _no_reaping(sweeps: ModuleType) -> None:
    sweeps.reap = lambda *_, **__: []  # type: ignore[attr-defined]


ABLATIONS: Mapping[str, Ablation] = {
    "fence": Ablation([("db.ledger.leases", _no_fence)]),
    # With these there is never a second version for the index to refuse: it is the last of four.
    "all before the index": Ablation(
        [("db.ledger.leases", _no_fence), ("db.ledger.leases", _no_end), ("db.registry.publication", _no_look)],
        ["DROP TRIGGER job_transition ON jobs"],
    ),
    "index": Ablation(statements=["ALTER TABLE versions DROP CONSTRAINT versions_one_per_job"]),
    "ringing again": Ablation([("db.ledger.dispatch", _no_second_bell)]),
    "reaper": Ablation([("db.ledger.sweeps", _no_reaping)]),
}
