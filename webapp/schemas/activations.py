"""Activations on the wire: moves of the flag that says which version serves."""

from __future__ import annotations

from typing import get_args

from marshmallow import fields, validate

from db.registry import Mode
from webapp.schemas.fields import In, Moment, Out, Text, Word
from webapp.schemas.pages import page_of

#: Moves of the active flag.
MOVES = ("publish", "activate", "rollback")
#: Whether a new version is to serve.
MODES: tuple[str, ...] = get_args(Mode)
_BY_ITS_GATE = "`auto`: the new version becomes active when it passes its gate, or when there is no other."


def activation_asked(told: str = _BY_ITS_GATE) -> Word:
    """Of a request that makes a version."""
    return Word(*MODES, load_default="auto", metadata={"description": told})


def activation_told() -> fields.String:
    """The same, of the job that it became."""
    return fields.String(validate=validate.OneOf(MODES))


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
