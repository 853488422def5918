"""The command `top`: how full the queues are and which jobs move, looked at again and again."""

from __future__ import annotations

import select
import sys
import termios
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import redis
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db import ledger
from db.models import RUNNING, Job
from ops.asking import asking
from ops.durations import short
from ops.house import folder_option
from ops.jobs import now_by_postgres
from ops.telling import as_json_option, fitting, tell
from tasks import status
from tasks.jobs import QUEUES
from tasks.runtime import Runtime

#: How often it looks: progress comes at most twice a second.
LOOK_S = 1.0
#: Jobs that are looked at, and how long one that has ended stays in sight.
MOST, AFTERGLOW = 40, timedelta(seconds=20)
#: Lines that are not jobs: the head, the queues, and what parts them.
FRAME = 8
AWAY = "does not answer; asking again. `fleetcast doctor` says what is wrong."


@dataclass(frozen=True)
class Sight:
    """What was seen at one moment."""

    at: datetime | None = None
    queues: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    #: What does not answer, and what to do.
    trouble: list[str] = field(default_factory=list)


@click.command()
@click.option("--once", is_flag=True, help="Look once, and end; so it does anyway where nobody looks on.")
@as_json_option
@folder_option
def top_command(once: bool, as_json: bool, folder: Path | None) -> None:
    """Show queues and jobs live; `q` leaves. With `--json` a line for each look, a second apart."""
    console = Console(markup=False, emoji=False, highlight=False)
    with asking(folder, "top") as runtime:
        if once or not (as_json or console.is_terminal):
            seen = look(runtime)
            _tell(console, seen, as_json=as_json)
            if seen.at is None:
                raise SystemExit(1)
        elif as_json:
            _stream(console, runtime)
        else:
            _live(console, runtime)


def look(runtime: Runtime, before: Sight | None = None) -> Sight:
    """Queues and jobs as they are. What cannot be seen while Postgres is away is shown as it was before."""
    trouble = [] if _answers(runtime) else [f"Redis {AWAY}"]
    try:
        with runtime.sessions() as session:
            now = now_by_postgres(session)
            return Sight(now, _queues(session), [_job(runtime, *found, now) for found in _moving(session)], trouble)
    except DBAPIError as error:
        first = str(error.orig).splitlines()[0]
        last = before or Sight()
        return Sight(last.at, last.queues, last.jobs, [f"Postgres {AWAY} ({first})", *trouble])


def _answers(runtime: Runtime) -> bool:
    try:
        return bool(runtime.memory.ping())
    except redis.RedisError:
        return False


def _queues(session: Session) -> list[dict[str, Any]]:
    """Each queue, whether or not anything waits there."""
    held = {depth.queue: depth for depth in ledger.queues(session)}
    workers = ledger.holders(session)
    empty = ledger.QueueDepth("", 0, 0, None)
    return [_queue(name, held.get(name, empty), workers.get(name, 0)) for name in QUEUES]


def _queue(name: str, depth: ledger.QueueDepth, workers: int) -> dict[str, Any]:
    return {"queue": name, "waiting": depth.queued, "oldest_s": depth.oldest_due_s, "running": depth.running, "workers": workers}


def _moving(session: Session) -> list[tuple[Job, str]]:
    """What runs, the newest first, then what ended a moment ago. A batch stands for its items."""
    running = ledger.survey(session, ledger.Sought(state=RUNNING, items=False), MOST)
    lately = ledger.survey(session, ledger.Sought(since=AFTERGLOW, items=False), MOST)
    return running + [(job, tenant) for job, tenant in lately if job.terminal]


def _job(runtime: Runtime, job: Job, tenant: str, now: datetime) -> dict[str, Any]:
    """As watchers are told of it: Redis knows it to the second."""
    found = status.read(runtime, job.tenant_id, job.id)
    ran = None if job.started_at is None else ((job.finished_at or now) - job.started_at).total_seconds()
    same = {name: found[name] for name in ("id", "kind", "state", "progress", "estimated_finish_at")}
    return same | {"tenant": tenant, "label": job.label, "worker": job.lease_owner, "ran_s": ran}


def _tell(console: Console, seen: Sight, *, as_json: bool) -> None:
    if as_json:
        tell(asdict(seen), "", as_json=True)
    else:
        console.print(drawn(seen, rows=len(seen.jobs)))


def _stream(console: Console, runtime: Runtime) -> None:
    seen = None
    with _keys() as pressed:
        while not pressed():
            seen = look(runtime, seen)
            _tell(console, seen, as_json=True)


def _live(console: Console, runtime: Runtime) -> None:
    seen = look(runtime)
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as screen:
        while True:
            screen.update(drawn(seen, rows=max(console.height - FRAME, 1)), refresh=True)
            if pressed():
                return
            seen = look(runtime, seen)


def drawn(seen: Sight, rows: int) -> RenderableType:
    """One screen, in a terminal of whatever width."""
    at = "" if seen.at is None else f"   {seen.at:%Y-%m-%d %H:%M:%S} UTC"
    parts: list[RenderableType] = [Text(f"fleetcast{at}   q leaves", style="bold")]
    parts += [Text(sentence, style="red") for sentence in seen.trouble]
    if seen.queues:
        parts += [
            Text(),
            fitting([_queue_line(each) for each in seen.queues], whole=("queue",), numbers=("waiting", "running", "busy", "oldest")),
        ]
    lines = [_job_line(each) for each in seen.jobs[:rows]]
    parts += [Text(), fitting(lines, whole=("id", "state", "done"), numbers=("ran",)) if lines else Text("No job moves.")]
    left = len(seen.jobs) - len(lines)
    return Group(*parts, *([Text(f"and {left} more: `fleetcast jobs ls`", style="dim")] if left else []))


def _queue_line(queue: Mapping[str, Any]) -> dict[str, str]:
    oldest = "–" if queue["oldest_s"] is None else short(queue["oldest_s"])
    # `workers` are those that hold a job: one that waits for work is none of them.
    numbers = {"waiting": queue["waiting"], "running": queue["running"], "busy": queue["workers"]}
    return {"queue": queue["queue"], "oldest": oldest} | {name: str(number) for name, number in numbers.items()}


def _job_line(job: Mapping[str, Any]) -> dict[str, str]:
    ran = "" if job["ran_s"] is None else short(job["ran_s"])
    about = {"state": job["state"], "done": _done(job), "ran": ran, "kind": job["kind"], "tenant": job["tenant"]}
    return about | {"label": job["label"], "worker": job["worker"] or "", "id": job["id"]}


def _done(job: Mapping[str, Any]) -> str:
    """How far it is: items of a batch, epochs of a training, else a share."""
    progress: Mapping[str, Any] = job["progress"]
    items = progress.get("items")
    if items is not None:
        return f"{sum(items.get(state, 0) for state in ('succeeded', 'failed', 'cancelled'))}/{items['total']} items"
    if "epoch" in progress:
        return f"{progress['epoch']}/{progress['epochs']} epochs"
    return f"{progress['fraction']:.0%}" if "fraction" in progress else ""


class _Pressed:
    """Waits for a look's time, and says whether somebody wants to leave."""

    def __init__(self, listening: bool) -> None:
        self._listening = listening

    def __call__(self) -> bool:
        heard, _, _ = select.select([sys.stdin] if self._listening else [], [], [], LOOK_S)
        return bool(heard) and sys.stdin.read(1) in ("q", "Q")


@contextmanager
def _keys() -> Iterator[_Pressed]:
    """Single keys, unseen, on a terminal; Ctrl-C leaves as `q` does."""
    try:
        if not sys.stdin.isatty():
            yield _Pressed(False)
            return
        before = termios.tcgetattr(sys.stdin)
        try:
            tty.setcbreak(sys.stdin)
            yield _Pressed(True)
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
    except KeyboardInterrupt:
        return
