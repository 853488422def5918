"""The campaign's book: what its tasks wrote down before they were killed, and what became of each message.

No line is lost with its writer: it is in the kernel's hands once written, and O_APPEND keeps the children's lines apart.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

#: Bytes of a record. It divides a page, so that a kill cannot fall between two halves of one: the kernel looks for it page by page.
WIDTH = 16
STARTED, FINISHED = "s", "f"


def note(record: str, mark: str, number: int) -> None:
    """Append one line."""
    handle = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{mark}{number:0{WIDTH - 2}d}\n".encode())
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Losses:
    """Numbers of messages."""

    lost: int
    untouched: int
    doubled: int
    restarted: int


def count(record: str, messages: int) -> Losses:
    """What became of messages 0 to `messages` - 1. Raises ValueError for a line that no task can have written."""
    seen: dict[str, Counter[int]] = {STARTED: Counter(), FINISHED: Counter()}
    for line in record.splitlines():
        mark, number = line[:1], line[1:]
        if mark not in seen or len(line) != WIDTH - 1 or int(number) not in range(messages):
            raise ValueError(f"the record holds {line!r}, which is no line of a task")
        seen[mark][int(number)] += 1
    started, finished = seen[STARTED], seen[FINISHED]
    lost = set(range(messages)) - finished.keys()
    return Losses(
        lost=len(lost),
        untouched=len(lost - started.keys()),
        doubled=sum(times > 1 for times in finished.values()),
        restarted=sum(times > 1 for times in started.values()),
    )
