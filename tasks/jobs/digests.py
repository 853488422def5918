"""When two jobs ask for the same thing; and what thousands of a batch have in common, written once."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tasks.jobs.questions import PredictJob
from tasks.jobs.trainings import TrainJob


def digest(*parts: object) -> str:
    """Hash under which two requests ask for the same thing."""
    return _hashed(_SORTED.encode(parts))


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


_ENTITY = "entity"
#: What jobs that differ in their entity alone have in common, while they are held.
Mark = tuple[int, ...]


def mark(job: TrainJob | PredictJob) -> Mark:
    """All but whom it is about, known by identity: to compare a thousand specs takes longer than to write them."""
    return tuple([id(getattr(job, name)) for name in job.__match_args__ if name != _ENTITY])


class Stencil:
    """Jobs of one mark as they are stored: what they have in common is written once, for all the thousands of a batch."""

    def __init__(self, job: TrainJob | PredictJob) -> None:
        said = [(name, _SORTED.encode({name: value})[1:-1]) for name, value in sorted(job.as_dict().items())]
        before, after = ([member for name, member in said if here(name)] for here in (_ENTITY.__gt__, _ENTITY.__lt__))
        self._around = [",".join([*before, f'"{_ENTITY}":']), ",".join(["", *after])]

    def of(self, entity: str) -> tuple[dict[str, Any], str]:
        """What the job about this entity has of its own as it is stored, and its digest."""
        return {_ENTITY: entity}, _hashed("[{" + _SORTED.encode(entity).join(self._around) + "}]")


#: Made once: json.dumps makes one for every call that asks for anything of its own.
_SORTED = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
