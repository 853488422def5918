"""How a job is written down and read again, also by another release: in the lowest format that says all of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Protocol

from ml.formats import known, require_readable
from ml.stamps import stamp

#: Holds the format of a stored spec; one of format 1 has none.
FORMAT = "v"
#: Members that a release before this format would pass over, and come to another result: a job that has one says so.
SINCE: Mapping[str, int] = {"source": 2, "sink": 2, "hours": 3}


class Kind(Protocol):
    """A kind of job, and the newest format of it that this release knows."""

    kind: ClassVar[str]
    format: ClassVar[int]


def written(job: Kind, members: dict[str, Any]) -> dict[str, Any]:
    """In the lowest format that says it all; a member of SINCE that holds nothing is left out, as releases before it wrote the job."""
    said = {name: value for name, value in members.items() if name not in SINCE or value is not None}
    needed = min(job.format, max((SINCE[name] for name in said if name in SINCE), default=1))
    return said if needed == 1 else {FORMAT: needed} | said


def read(kind: type[Kind], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The members as they are stored. Raises NewerRelease for a format that this release does not know."""
    require_readable(f"The {kind.kind} job", int(stored.get(FORMAT, 1)), kind.format)
    return known(kind, stored)


def span_written(begin: datetime | None, end: datetime | None) -> dict[str, str | None]:
    """The members by which a job says which stretch of time it is about."""
    return {"from": None if begin is None else stamp(begin), "to": None if end is None else stamp(end)}


def span_read(stored: Mapping[str, Any]) -> dict[str, datetime | None]:
    """The same as a job's own `begin` and `end`."""
    return {"begin": _moment(stored, "from"), "end": _moment(stored, "to")}


def _moment(stored: Mapping[str, Any], name: str) -> datetime | None:
    return datetime.fromisoformat(stored[name]) if stored.get(name) else None
