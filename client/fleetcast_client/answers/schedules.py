"""Schedules and their runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetcast_client.answers.problems import ProblemDetails
from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class Accuracy(Answer):
    """How much errors may grow."""

    worse_than: float


@dataclass(frozen=True, kw_only=True)
class When(Answer):
    """Conditions of a training; null is none."""

    age_hours: float | None
    new_rows: int | None
    drift: str | None
    accuracy: Accuracy | None


@dataclass(frozen=True, kw_only=True)
class OpenHours(Answer):
    """Hours of the day in which a schedule fires."""

    from_: str
    to: str


@dataclass(frozen=True, kw_only=True)
class NextRun(Answer):
    """A run to come."""

    #: The moment of cron or interval, or the opening of the window that it waits for.
    due_at: datetime
    #: With its jitter, or, of a run that found no room, when it is tried again.
    fires_at: datetime


@dataclass(frozen=True, kw_only=True)
class ScheduleRun(Answer):
    """What became of one due moment."""

    due_at: datetime
    #: When it came to this state.
    at: datetime
    #: `waiting`: it is tried again soon. `fired`: its job stands, and has a fate of its own.
    state: str
    #: Why it was not fired: `missed` (nobody was there, and the schedule says skip), `nobody` (nobody is meant any more, or the selector
    #: finds nobody), `none_due` (no condition holds), `window_shut`, `newer_release`, or the code of `error`.
    reason: str | None
    #: Null, too, once an entity that it may tell of was erased.
    error: ProblemDetails | None
    #: What was asked for; null once it was purged.
    job: str | None
    #: How many were meant.
    entities: int | None
    #: How many of them the job is about.
    due: int | None
    #: How many by each condition, by `no_active_version`, and, not due, by `under_way`: trained already.
    why: Mapping[str, int] | None
    #: Later runs that it stands for, since nobody was there; 1,000 or more as 1,000.
    passed_over: int
    #: Path of the job, if any.
    links: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Schedule(Answer):
    """A job that is asked for again and again."""

    id: str
    name: str
    #: Kind of the job.
    kind: str
    #: The request as it was made. Of `entities`, the first hundred; those erased since are left out.
    template: Mapping[str, Any]
    #: How many it names that are there; null with a selector.
    entities: int | None
    #: The client's own, given to each job.
    metadata: Mapping[str, Any]
    when: When | None
    cron: str | None
    every_s: int | None
    time_zone: str
    window: OpenHours | None
    jitter_s: int
    missed: str
    paused: bool
    #: Null while it is paused.
    next_run: NextRun | None
    last_fired_at: datetime | None
    created_at: datetime
    #: Paths: self, runs.
    links: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ScheduleInFull(Schedule):
    """A schedule with its next five runs, and its last five."""

    #: None while it is paused.
    next_runs: tuple[NextRun, ...]
    #: Newest first; the others with `GET …/runs`.
    last_runs: tuple[ScheduleRun, ...]
