"""What every submission may carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from webapp.schemas.fields import In, Plain

Order = TypeVar("Order")


@dataclass(frozen=True, slots=True)
class Asked(Generic[Order]):
    """A checked submission: the order, and the client's own words that travel with the job."""

    order: Order
    metadata: Mapping[str, Any]


#: Of a training.
SOURCE = {
    "description": "Where the observations are: a source that the operator named, or `stored`, our own, which is the default. An entity "
    "that only the source knows is made."
}
#: Of what a version is asked.
SOURCE_OF_VERSION = {
    "description": "Where the observations are: a source that the operator named, or `stored`, our own; by default where the version's "
    "training read them."
}
#: As a job tells it.
SOURCE_TOLD = {"sometimes": True, "description": "The source that was named; left out where none was."}


class Submission(In):
    """What every submission may carry."""

    metadata = Plain(load_default={}, metadata={"description": "Kept with the job and given back; at most 16 keys."})
