"""Activations on the wire: moves of the flag that says which version serves."""

from __future__ import annotations

from marshmallow import fields, validate

from webapp.schemas.fields import In, Moment, Out, Text
from webapp.schemas.pages import page_of

#: Moves of the active flag.
MOVES = ("publish", "activate", "rollback")


class RollbackIn(In):
    """Why."""

    reason = Text(high=1000, load_default=None, allow_none=True, metadata={"description": "Kept in the log of activations."})


class ActivateIn(RollbackIn):
    """Which version, and why."""

    version = Text(low=1, high=40, required=True, metadata={"description": "Number of the version that is to serve."})


class Activation(Out):
    """One move of the active flag."""

    kind = fields.String(validate=validate.OneOf(MOVES))
    from_version = fields.String(allow_none=True, data_key="from")
    to_version = fields.String(data_key="to")
    reason = fields.String(allow_none=True)
    actor = fields.String(metadata={"description": "`key:` and the public part of an API key, or the job that published."})
    at = Moment()


ActivationPage = page_of(Activation)
