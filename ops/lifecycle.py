"""The life of a job as people read it: every change of state that Postgres allows, who makes it and when, drawn and tabled.

`WAYS` is what docs/job-lifecycle.md shows between its marks; a test holds it to `db.models.TRANSITIONS` and to the ledger's functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import click

from db.ledger.claims import BUSY_S
from db.models import CANCELLED, FAILED, QUEUED, RUNNING, SUCCEEDED, TERMINAL

#: Before its first state a job is nowhere.
NOWHERE = ""
#: What a state diagram calls that, and what comes after the last state.
POINT = "[*]"
INDENT = "    "


class Way(NamedTuple):
    """One way in which a job goes from a state to a state."""

    #: Who takes it there.
    by: str
    #: Doing what, and why: so short that it fits an arrow.
    doing: str
    #: The whole condition.
    when: str
    #: The functions of `db.ledger` that do it; none where it is whatever ended an item of a batch.
    calls: tuple[str, ...] = ()


Step = tuple[str, str]

WAYS: Mapping[Step, Sequence[Way]] = {
    (NOWHERE, QUEUED): [
        Way(
            "web",
            "submits it, there is room",
            "the order is valid, its tenant and its queue have room; in the transaction that writes the Idempotency-Key",
            ("place", "submit", "retry"),
        ),
        Way("web", "submits an item of a batch", "with its parent, in one transaction", ("submit_batch", "retry")),
    ],
    (NOWHERE, RUNNING): [
        Way(
            "web",
            "submits a batch",
            "the parent: it runs from the start, without a lease, until its last item ends",
            ("submit_batch", "retry"),
        ),
    ],
    (QUEUED, QUEUED): [
        Way(
            "dispatcher",
            "rings, it is due",
            "it is its tenant's turn and the queue's window has room; or its bell was lost",
            ("dispatched",),
        ),
        Way("worker", f"postpones by {BUSY_S:g} s, no place", "its model is in training, or its tenant runs as many as it may", ("claim",)),
    ],
    (QUEUED, RUNNING): [
        Way(
            "worker",
            "claims it, due and free",
            "it is due, nobody wants it cancelled, its deadline is ahead, its tenant has a place, its model is not being trained",
            ("claim", "join_cohort"),
        ),
        Way("web", "begins an import", "which ends in the transaction that asks for it, so that nobody sees it wait or run", ("begin",)),
    ],
    (QUEUED, CANCELLED): [
        Way("client", "cancels it", "at once; of a batch every item that waits", ("cancel",)),
        Way("sweep", "ends it, a cancel waited", "a cancel was asked for, and it waits all the same", ("finish_cancels",)),
    ],
    (QUEUED, FAILED): [
        Way("sweep", "fails it, too late", "its deadline passed while it waited: `deadline_exceeded`", ("expire",)),
    ],
    (RUNNING, RUNNING): [
        Way(
            "worker", "renews the lease, it moves", "it holds the fence, and the work reported progress within `STALL_TIMEOUT_S`", ("beat",)
        ),
        Way("client", "asks for a cancel", "the worker hears of it at its next heartbeat", ("cancel",)),
        Way("worker parent", "asks for it back, told to stop", "at SIGTERM; the worker hears of it at its next heartbeat", ("drain",)),
        Way("item", "ends, others go on", "the parent counts one less"),
    ],
    (RUNNING, QUEUED): [
        Way("worker", "retries later, tries left", "it holds the fence, and the fault may pass; due after a back-off", ("retry_later",)),
        Way(
            "worker",
            "hands it back, it cannot go on",
            "it holds the fence, and has to stop or is too old for the job; no try is counted",
            ("release",),
        ),
        Way("worker parent", "counts a crash, lives left", "the child that held it died; it runs alone from now on", ("crashed",)),
        Way("sweep", "reaps it, lease ran out", "nobody renewed it, and tries are left", ("reap",)),
    ],
    (RUNNING, SUCCEEDED): [
        Way(
            "worker",
            "publishes, under its fence",
            "in the transaction that writes the effects; also when a cancel was asked for",
            ("succeed", "succeed_all"),
        ),
        Way("last item", "ends the batch, one succeeded", "whatever the others came to"),
    ],
    (RUNNING, FAILED): [
        Way("worker", "fails it for good", "it holds the fence, and another try would end the same, or the deadline passed", ("fail",)),
        Way("worker", "gives up, last try", "it holds the fence, and this was the last of `MAX_ATTEMPTS`", ("retry_later",)),
        Way(
            "worker parent",
            "gives up, last life",
            "the child died for the `MAX_CRASHES`th time, or at the last try: `worker_lost`",
            ("crashed",),
        ),
        Way(
            "sweep",
            "gives up, lease ran out",
            "at the last try (`worker_lost`), or past the deadline (`deadline_exceeded`)",
            ("reap", "expire"),
        ),
        Way("last item", "ends the batch, none succeeded", "and nobody wanted it cancelled: `batch_failed`"),
    ],
    (RUNNING, CANCELLED): [
        Way(
            "worker",
            "stops, as asked",
            "it holds the fence; also instead of going back to the queue",
            ("cancelled", "retry_later", "release"),
        ),
        Way("worker parent", "ends it, as asked", "the child that held it died", ("crashed",)),
        Way("sweep", "ends it, as asked", "its lease ran out", ("finish_cancels", "reap")),
        Way("last item", "ends the batch, as asked", "no item succeeded"),
    ],
}


def diagram() -> str:
    """A Mermaid state diagram: each arrow says who takes a job along it, and doing what."""
    arrows = [f"{before or POINT} --> {after}: {label(WAYS[before, after])}" for before, after in WAYS]
    ends = [f"{state} --> {POINT}" for state in TERMINAL]
    return "\n".join(["stateDiagram-v2", *(INDENT + line for line in (*arrows, *ends))])


def label(ways: Sequence[Way]) -> str:
    return "<br/>".join(f"{way.by} {way.doing}" for way in ways)


def table() -> str:
    """The same with every condition and the function that does it, in Markdown."""
    return "\n".join(["| from | to | who does what | when | in `db.ledger` |", "|---|---|---|---|---|", *_rows()])


def _rows() -> Iterator[str]:
    for (before, after), ways in WAYS.items():
        for way in ways:
            calls = ", ".join(f"`{call}`" for call in way.calls) or "whatever ends an item"
            yield f"| {before or POINT} | {after} | {way.by} {way.doing} | {way.when} | {calls} |"


def text() -> str:
    """The same as people read it: a change of state, and below it each way that leads along it."""
    return "\n".join(
        "\n".join([f"{before or 'nowhere'} → {after}", *(f"{INDENT}{way.by} {way.doing}: {way.when}" for way in ways)])
        for (before, after), ways in WAYS.items()
    )


@click.command()
@click.option("--markdown", is_flag=True, help="As docs/job-lifecycle.md has it: a Mermaid drawing, which many sites show, and a table.")
def lifecycle_command(markdown: bool) -> None:
    """Show the life of a job: every change of state, who makes it, and when."""
    click.echo(f"```mermaid\n{diagram()}\n```\n\n{table()}" if markdown else text())
