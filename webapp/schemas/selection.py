"""Whom a submission is about, on the wire: one entity, several, or all that a selector finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from webapp.schemas.fields import In, Name, Plain, Several, Text
from webapp.schemas.submissions import Submission

#: Entities that one request can name; the setting MAX_BATCH may allow fewer.
MOST_ENTITIES = 100_000


class Selector(In):
    """All entities that have these things."""

    kind = Text(low=1, high=50, metadata={"description": "Entities of this kind; those that hold bases (`base`) are meant only by it."})
    has_channel = Name(metadata={"description": "Entities that have this channel."})
    attributes = Plain(metadata={"description": "Attributes an entity must have; it may have more."})


@dataclass(frozen=True, slots=True)
class Selection:
    """Whom a submission is about: named entities, or those that a selector finds."""

    names: tuple[str, ...]
    selector: Mapping[str, Any] | None
    batch: bool


class Whom(Submission):
    """Exactly one of `entity`, `entities` and `selector`."""

    entity = Name(metadata={"description": "One entity."})
    entities = Several(
        Name(), 1, MOST_ENTITIES, metadata={"description": "A batch. The setting MAX_BATCH allows fewer (10,000 unless set): else 422."}
    )
    selector = fields.Nested(
        Selector,
        metadata={"description": "A batch of all that it finds; {} finds all but bases. More than MAX_BATCH are refused with 422."},
    )

    @validates_schema
    def one_of_three(self, data: dict[str, Any], **_: Any) -> None:
        if len(data.keys() & {"entity", "entities", "selector"}) != 1:
            raise ValidationError("Name exactly one of entity, entities and selector.")

    def selection(self, data: dict[str, Any]) -> Selection:
        """Take whom it is about out of the loaded fields."""
        entity, entities, selector = (data.pop(name, None) for name in ("entity", "entities", "selector"))
        return Selection((entity,) if entity is not None else tuple(entities or ()), selector, batch=entity is None)
