"""The acts of the demo: series in, trained through the queue, versions beside baselines, forecasts drawn, handed over."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import httpx
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from ml.recipes import RECIPES
from ops.chart import draw
from ops.house import House
from ops.plan import CHANNELS, ROWS, Body, Plan, curl_lines
from ops.telling import UNBOUNDED

#: Seconds after which a training of the demo counts as stuck.
PATIENCE_S = 600.0
#: Forecasters, as the tables call them.
KINDS = {"blend": "blend", "lstm": "network", "persistence": "last value", "seasonal_naive": "seasonal"}
#: Letters of an entity's name that the table of versions has room for on 80 columns.
WIDEST = 14


class Show:
    """The acts of the demo, one method each."""

    def __init__(self, console: Console, house: House, plan: Plan, output: Path) -> None:
        self._console, self._house, self._plan, self._output = console, house, plan, output
        self._http = httpx.Client(base_url=f"{house.url}/api/v1", headers={"Authorization": f"Bearer {house.key}"}, timeout=60)

    def run(self) -> None:
        """Raises ClickException when not a single series could be trained."""
        began = time.monotonic()
        with self._http:
            jobs = self._train(self._ingest())
            if not jobs:
                raise click.ClickException("None of these series could be trained; why is said above.")
            self._versions(jobs)
            self._forecast(list(jobs))
        self._hand_over(next(iter(jobs)))
        self._console.print(f"\nDone in {time.monotonic() - began:.0f} s.")

    def _ingest(self) -> list[str]:
        """Those entities whose observations were taken."""
        self._console.rule("1  Real series in")
        taken = []
        for entity in self._plan.entities:
            rows = self._history(entity)
            path = f"/entities/{quote(entity, safe='')}/observations"
            answer = self._http.post(path, content=_csv(rows), headers={"Content-Type": "text/csv"})
            if answer.is_error:
                self._sorry(entity, f"refused, {_reason(answer)}")
                continue
            span = f"{rows['at'].min():%Y-%m-%d} to {rows['at'].max():%Y-%m-%d}"
            self._console.print(f"{entity}: {answer.json()['accepted']:,} observations, {span}")
            taken.append(entity)
        return taken

    def _train(self, entities: Sequence[str]) -> dict[str, Body]:
        """Submit all, then watch all; the job of each that succeeded. Those refused or failed are told with their problem."""
        self._console.rule(f"2  Trained through the queue: {self._plan.recipe}, {self._plan.target}")
        waiting: dict[str, Body] = {}
        for entity in entities:
            answer = self._http.post("/models/train", json=self._plan.training(entity))
            if answer.is_error:
                self._sorry(entity, f"refused, {_reason(answer)}")
            else:
                waiting[entity] = answer.json()
        done = self._watch(waiting)
        for entity, job in done.items():
            if job["state"] != "succeeded":
                self._sorry(entity, f"{job['error']['title']}: {job['error']['detail']}")
        return {entity: job for entity, job in done.items() if job["state"] == "succeeded"}

    def _watch(self, waiting: Mapping[str, Body]) -> dict[str, Body]:
        """Poll each job to its end, drawing its phase, epoch, losses and the time it may yet take."""
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=12), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
        done: dict[str, Body] = {}
        deadline = time.monotonic() + PATIENCE_S
        with Progress(*columns, console=self._console) as bar:
            lines = {entity: bar.add_task(entity, total=1.0, note="queued") for entity in waiting}
            while len(done) < len(waiting) and time.monotonic() < deadline:
                for entity in waiting.keys() - done.keys():
                    found = self._ask("GET", f"/jobs/{waiting[entity]['id']}")
                    _draw_line(bar, lines[entity], found)
                    if found["terminal"]:
                        done[entity] = found
                time.sleep(0.2)
        if len(done) < len(waiting):
            raise click.ClickException(f"A training did not end within {PATIENCE_S:.0f} s; see the logs in {self._house.folder}/logs.")
        return {entity: done[entity] for entity in waiting}

    def _versions(self, jobs: Mapping[str, Body]) -> None:
        self._console.rule("3  Versions, beside the naive baselines")
        whole = [Column(name, justify="right", no_wrap=True) for name in ("blend", "network", "last\nvalue", "seasonal", "skill", "inside")]
        who = (Column(name, no_wrap=True) for name in ("entity", "version", "serves"))
        table = Table(*who, *whole, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for entity, job in jobs.items():
            result = job["result"]
            tested = {name: parts.get("test") or {} for name, parts in result["metrics"].items()}
            served = tested.get(result["served_by"], {})
            errors = [_figure(tested.get(name, {}).get("mae")) for name in KINDS]
            table.add_row(
                _short(entity), result["version"], _kind(result), *errors, _figure(served.get("skill"), 2), _share(served.get("coverage"))
            )
        self._console.print(_spaced(table, self._console.width))
        level = next(iter(jobs.values()))["result"].get("level", 0.9)
        told = "Mean absolute errors on rows never trained on; skill of what serves, 0 being the best naive one;"
        self._console.print(f"{told} and how many of those rows lay inside its {level:.0%} interval.", style="dim")

    def _forecast(self, entities: Sequence[str]) -> None:
        """The first in full, the others in a line."""
        self._console.rule("4  Forecasts with intervals")
        full = True
        for entity in entities:
            job = self._ask("POST", "/predict", json=self._plan.prediction(entity), headers={"Prefer": "wait=30"})
            if job["state"] != "succeeded":
                self._sorry(entity, str((job["error"] or {}).get("detail", job["state"])))
                continue
            made = job["result"]["forecast"]
            past = self._history(entity).set_index("at")[self._plan.target]
            self._console.print(_in_full(made) if full else _in_short(made), soft_wrap=not full)
            self._console.print(f"drawn: {draw(past, entity, made, self._output)}\n", soft_wrap=True)
            full = False

    def _hand_over(self, entity: str) -> None:
        house = self._house
        self._console.rule("5  By hand")
        click.echo(f"Dashboard {house.url}/   (log in with the KEY below)")
        click.echo(f"API page  {house.docs}")
        click.echo(f"Flower    {house.flower}   (user {house.flower_user}, password {house.flower_password})\n")
        click.echo(curl_lines(house, self._plan, entity))  # not by the console, which would break lines that are to be copied

    def _history(self, entity: str) -> pd.DataFrame:
        """The newest rows of the target and of the channels its recipe reads."""
        wanted = [self._plan.target, *RECIPES[self._plan.recipe].covariates]
        there = [c for c in dict.fromkeys(wanted) if c in self._plan.frame.columns][: CHANNELS + 1]
        rows = self._plan.frame[self._plan.frame["entity"] == entity].sort_values("at").tail(ROWS)
        return rows[["at", *there]].dropna(how="all", subset=there)

    def _ask(self, method: str, path: str, **given: Any) -> Body:
        answer = self._http.request(method, path, **given)
        if answer.is_error:
            raise click.ClickException(f"{method} {path}: {_reason(answer)}")
        found: Body = answer.json()
        return found

    def _sorry(self, entity: str, why: str) -> None:
        self._console.print(f"{entity}: {why}", style="yellow")


def _csv(rows: pd.DataFrame) -> str:
    return rows.assign(at=rows["at"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")).to_csv(index=False)


def _reason(answer: httpx.Response) -> str:
    """The sentence of the problem, and what is wrong with which field."""
    if not answer.headers.get("Content-Type", "").endswith("json"):
        return f"status {answer.status_code}"
    problem = answer.json()
    faults = [f"{fault.get('pointer', '')} {fault.get('detail', '')}".strip() for fault in problem.get("errors", [])[:3]]
    return " ".join([problem.get("detail") or problem.get("title", f"status {answer.status_code}"), *faults])


def _draw_line(bar: Progress, line: TaskID, job: Body) -> None:
    progress = job["progress"]
    note = progress.get("phase", "queued") if job["state"] == "running" else job["state"]
    if "epoch" in progress and not job["terminal"]:
        note += f" {progress['epoch']}/{progress['epochs']}, loss {progress['train_loss']:.3f}, held out {progress['val_loss']:.3f}"
        note += f", by {job['estimated_finish_at'][11:19]}" if job["estimated_finish_at"] else ""
    bar.update(line, completed=1.0 if job["terminal"] else progress.get("fraction", 0.0), note=note)


def _spaced(table: Table, width: int) -> Table:
    """With as much between its columns as the width leaves: in a pipe it is 80, and a head that is cut says nothing."""
    for gap in (2, 1, 0):
        table.padding = (0, gap, 0, 0)
        if Console(width=UNBOUNDED).measure(table).maximum <= width:
            break
    return table


def _in_full(made: Body) -> Group:
    columns = (Column(name, justify="right", no_wrap=True) for name in ("forecast", f"{made['level']:.0%} from", "to"))
    table = Table("at (UTC)", *columns, box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for point in made["points"]:
        table.add_row(_moment(point), *(_figure(point[name]) for name in ("value", "lower", "upper")))
    return Group(f"{made['entity']}: {made['target']} by {_kind(made['served_by'])} {made['served_by']['version']}", table)


def _in_short(made: Body) -> str:
    last = made["points"][-1]
    band = f"{_figure(last['value'])} ({_figure(last['lower'])} to {_figure(last['upper'])})"
    return f"{made['entity']}: by {_kind(made['served_by'])} {made['served_by']['version']}: {band} at {_moment(last)}"


def _short(entity: str) -> str:
    """A long name keeps its two ends, so that a row of the table stays one line."""
    name = entity.rsplit("/", 1)[-1] or entity
    return name if len(name) <= WIDEST else f"{name[: WIDEST // 2]}…{name[-WIDEST // 2 + 1 :]}"


def _moment(point: Body) -> str:
    return str(point["at"])[:16].replace("T", " ")


def _kind(told: Body) -> str:
    """Of a result or of a forecast's `served_by`."""
    kind = told.get("kind") or told.get("served_by")
    return KINDS.get(str(kind), str(kind))


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _figure(value: float | None, digits: int = 4) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if 10**digits <= abs(value) < 10**7 else f"{value:.{digits}g}"
