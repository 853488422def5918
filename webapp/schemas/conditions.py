"""Conditions of a scheduled training on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from tasks.retrain import AS_BAD
from webapp.schemas.fields import In, Out, Real, Whole, Word
from webapp.schemas.shapes import shaped


class AccuracyIn(In):
    """How much errors may grow."""

    worse_than = Real(
        1,
        1000,
        required=True,
        metadata={"description": "Recent errors over those usual when the version was made: 1.2 is a fifth more."},
    )


class WhenIn(In):
    """Conditions of a training, of which one must hold of an entity; an entity without an active version is due in any case."""

    age_hours = Real(0.01, 1_000_000, metadata={"description": "The newest version is so many hours old."})
    new_rows = Whole(1, 1_000_000, metadata={"description": "So many rows of the target are later than all that the newest version knows."})
    drift = Word(*AS_BAD, metadata={"description": "The last verdict about the version that serves is this one, or worse."})
    accuracy = fields.Nested(AccuracyIn, metadata={"description": "The errors of the version that serves have grown."})

    @validates_schema
    def at_least_one(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            raise ValidationError("Name one condition at least, or leave `when` out.")


class Accuracy(Out):
    """How much errors may grow."""

    worse_than = fields.Float()


class When(Out):
    """Conditions of a training; null is none."""

    age_hours = fields.Float(allow_none=True)
    new_rows = fields.Integer(allow_none=True)
    drift = fields.String(allow_none=True, validate=validate.OneOf(tuple(AS_BAD)))
    accuracy = fields.Dict(allow_none=True, metadata=shaped("Accuracy"))
