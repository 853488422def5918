"""The problem object (RFC 9457)."""

from __future__ import annotations

from marshmallow import fields

from webapp.schemas.fields import Out


class Fault(Out):
    """One field that is wrong."""

    pointer = fields.String(
        metadata={"description": "JSON pointer into the body; /query/…, /headers/… or /path/… outside it; /line/n in lines and CSV."}
    )
    code = fields.String()
    detail = fields.String()


class Requirement(Out):
    """One thing that the data must have."""

    name = fields.String()
    have = fields.Float()
    need = fields.Float()
    unit = fields.String()
    met = fields.Boolean()
    eta = fields.String(allow_none=True, metadata={"description": "Date when it will be met at the present pace."})


class Problem(Out):
    """What went wrong, for a program and for a person."""

    type = fields.String(metadata={"description": "Page of this code: cause and fix."})
    title = fields.String()
    status = fields.Integer()
    code = fields.String()
    detail = fields.String()
    instance = fields.String(metadata={"description": "Id of the request."})
    retryable = fields.Boolean(metadata={"description": "The same request may succeed later."})
    hint = fields.String()
    requirements = fields.List(fields.Nested(Requirement))
    errors = fields.List(fields.Nested(Fault))
