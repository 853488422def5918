"""Predictions on the wire: what is asked about the future, and what that comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load

from ml.spec import MOST_INPUTS
from tasks.orders import PredictOrder
from webapp.schemas.fields import Name, Out, Real, Several, Text, Whole
from webapp.schemas.selection import Selection, Whom
from webapp.schemas.shapes import HORIZON, LEVEL, SOMETIMES
from webapp.schemas.submissions import SOURCE_OF_VERSION, SOURCE_TOLD, Asked, Submission

_ENTITY = {"description": "Whose future."}
_TARGET = {"description": "Name of the channel, which is also the name of the model that answers."}
_HORIZON = {"description": "Steps ahead; at most, and by default, those the version was trained for."}
_LEVEL = {"description": "Share of truths that the interval is to hold; the version's own by default."}
_VERSION = {"description": "Number of the version that answers; the active one by default."}
_FUTURE = {
    "description": "By channel, its values at the steps ahead, in their order and at least `horizon` of them: in the place of stored ones, "
    "for this answer alone. Only channels that the version knows ahead (`future_covariates` of its spec). Such an answer is not taken from "
    "the cache, not put there, and does not become the entity's newest forecast.",
    "maxProperties": MOST_INPUTS,
}
_SOURCE = {
    "description": f"{SOURCE_OF_VERSION['description']} An answer from another one is not taken from the cache, not put there, and does "
    "not become the entity's newest forecast."
}
_SINK = {
    "description": "Name of one of the operator's databases that the forecast is also written to. The job has not succeeded before its "
    "rows are there; rows of an earlier forecast from the same observations are replaced. Such an answer is not taken from the cache."
}


class Ahead(fields.Dict):
    """Channels and their numbers, one for each step ahead."""

    def __init__(self, **about: Any) -> None:
        self._channel, self._numbers = Name(), Several(Real(), 1, HORIZON[1])
        super().__init__(keys=self._channel, values=self._numbers, load_default=None, allow_none=True, metadata=_FUTURE, **about)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        """How many first: of a million members nobody would read what is wrong. Nothing said of any channel is no future."""
        if not isinstance(value, Mapping):
            raise self.make_error("invalid")
        if len(value) > MOST_INPUTS:
            raise ValidationError(f"Longer than maximum length {MOST_INPUTS}.")
        taken, wrong = {}, {}
        for name, numbers in value.items():
            try:
                taken[self._channel.deserialize(name)] = self._numbers.deserialize(numbers)
            except ValidationError as error:
                wrong[name] = error.messages
        if wrong:
            raise ValidationError(wrong)
        return taken or None


class QuestionIn(Submission):
    """What every question about the future of one target says."""

    entity = Name(required=True, metadata=_ENTITY)
    target = Name(required=True, metadata=_TARGET)
    horizon = Whole(*HORIZON, load_default=None, allow_none=True, metadata=_HORIZON)
    level = Real(*LEVEL, load_default=None, allow_none=True, metadata=_LEVEL)
    version = Text(low=1, high=40, load_default=None, allow_none=True, metadata=_VERSION)
    future = Ahead()
    source = Name(load_default=None, allow_none=True, metadata=_SOURCE)


class PredictIn(QuestionIn):
    """What is left out is filled in from the version that answers."""

    sink = Name(load_default=None, allow_none=True, metadata=_SINK)

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> Asked[PredictOrder]:
        metadata, entity, target = (data.pop(name) for name in ("metadata", "entity", "target"))
        return Asked(PredictOrder((entity,), (target,), **data), metadata)


@dataclass(frozen=True, slots=True)
class BatchAsked(Asked[PredictOrder]):
    """A batch whose entities are still to be found."""

    whom: Selection


class PredictBatchIn(Whom):
    """Every target of every entity is one item."""

    targets = Several(Name(), 1, 50, required=True, metadata={"description": "Channels to forecast."})
    horizon = Whole(*HORIZON, load_default=None, allow_none=True, metadata=_HORIZON)
    level = Real(*LEVEL, load_default=None, allow_none=True, metadata=_LEVEL)
    source = Name(load_default=None, allow_none=True, metadata=_SOURCE)
    sink = Name(load_default=None, allow_none=True, metadata=_SINK)

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> BatchAsked:
        metadata, targets, whom = data.pop("metadata"), data.pop("targets"), self.selection(data)
        order = PredictOrder(whom.names, tuple(dict.fromkeys(targets)), batch=True, **data)
        return BatchAsked(order, metadata, whom)


class QuestionSpec(Out):
    """A question about the future, defaults filled in."""

    entity = fields.String()
    target = fields.String()
    horizon = fields.Integer(allow_none=True)
    level = fields.Float(allow_none=True)
    version = fields.String(allow_none=True, metadata={"description": "Null: the one that is active when the job runs."})
    future = fields.Dict(
        allow_none=True,
        values=fields.List(fields.Float()),
        metadata={"description": "By channel, the values ahead that the request brought; null: what is stored counts."},
    )
    source = fields.String(metadata=SOURCE_TOLD)


class PredictSpec(QuestionSpec):
    """A forecast, defaults filled in. Those of an item of a batch are filled in when it runs."""

    sink = fields.String(metadata=SOMETIMES | {"description": "Where the forecast goes besides."})
