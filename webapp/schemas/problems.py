"""The problem object (RFC 9457), and the page of a code."""

from __future__ import annotations

from marshmallow import INCLUDE, fields, validate

from tasks.problems import CATALOGUE
from webapp.schemas.fields import Out
from webapp.schemas.shapes import DATE_TIME, SOMETIMES, shaped

#: Codes of what can be wrong with one field.
FAULTS = (
    "invalid",
    "malformed",
    "not_allowed",
    "not_supported",
    "null",
    "out_of_bounds",
    "required",
    "reserved",
    "too_long",
    "too_short",
    "unknown_cursor",
    "unknown_field",
    "wrong_length",
    "wrong_type",
)


class Fault(Out):
    """One field that is wrong."""

    pointer = fields.String(
        metadata={"description": "JSON pointer into the body; /query/…, /headers/… or /path/… outside it; /line/n in lines and CSV."}
    )
    code = fields.String(validate=validate.OneOf(FAULTS))
    detail = fields.String()


class Requirement(Out):
    """One thing that the data must have."""

    name = fields.String()
    have = fields.Float()
    need = fields.Float()
    unit = fields.String(validate=validate.OneOf(("row", "day", "share", "entity")))
    met = fields.Boolean()
    eta = fields.String(allow_none=True, metadata={"format": "date", "description": "Date when it will be met at the present pace."})


class Problem(Out):
    """What went wrong, for a program and for a person. Some codes bring members of their own, such as the numbers of their sentence."""

    class Meta:
        unknown = INCLUDE

    type = fields.String(metadata={"format": "uri-reference", "description": "Page of this code: cause and fix."})
    title = fields.String()
    status = fields.Integer(validate=validate.Range(400, 599))
    code = fields.String(validate=validate.OneOf(tuple(CATALOGUE)))
    detail = fields.String()
    instance = fields.String(metadata=SOMETIMES | {"description": "Id of the request; a job's error has none."})
    retryable = fields.Boolean(
        metadata={
            "description": "The same request may succeed later: after Retry-After where that is sent, else with a back-off of the client's "
            "own. In a job's `error`: POST /jobs/{job_id}/retry may succeed."
        }
    )
    hint = fields.String(metadata=SOMETIMES | {"description": "What to do."})
    errors = fields.List(
        fields.Nested(Fault), metadata=SOMETIMES | {"description": "With `validation_failed`: each field that is wrong, a hundred at most."}
    )
    requirements = fields.List(
        fields.Nested(Requirement),
        metadata=SOMETIMES | {"description": "With `insufficient_data`: what the data must have, met or not."},
    )
    channels = fields.List(fields.String(), metadata=SOMETIMES | {"description": "With `feature_missing`: those that are missing."})
    available = fields.List(fields.String(), metadata=SOMETIMES | {"description": "With `feature_missing`: those that are there."})
    missing = fields.Dict(
        values=fields.List(fields.String(metadata=DATE_TIME)),
        metadata=SOMETIMES | {"description": "With `feature_missing`, of channels read over the horizon: the moments without a value."},
    )
    scenario = fields.String(metadata=SOMETIMES | {"description": "With `scenario_out_of_bounds`: its name."})
    out_of_support = fields.List(
        fields.Dict(metadata=shaped("OutOfSupport")),
        metadata=SOMETIMES | {"description": "With `scenario_out_of_bounds`: how far it goes outside."},
    )


class Cause(Out):
    """What a problem code means."""

    code = fields.String()
    status = fields.Integer(metadata={"description": "Status that it answers with."})
    title = fields.String()
    cause = fields.String()
    fix = fields.String()
    retryable = fields.Boolean(metadata={"description": "The same request may succeed later."})
    in_jobs_only = fields.Boolean(
        metadata={
            "description": "It is met in a job's `error` and in the answer to `GET /jobs/{id}/result`, and is no other request's answer."
        }
    )


class CauseList(Out):
    """Every code."""

    data = fields.List(fields.Nested(Cause))
