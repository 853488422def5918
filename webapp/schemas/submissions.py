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


class Submission(In):
    """What every submission may carry."""

    metadata = Plain(load_default={}, metadata={"description": "Kept with the job and given back; at most 16 keys."})
