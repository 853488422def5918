"""Trainings on the wire, of entities and of bases: what is asked, what that comes to, and what it brought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from tasks.orders import FEWEST, BaseOrder, PretrainOrder, TrainOrder
from webapp.schemas.activations import activation_asked, activation_told
from webapp.schemas.fields import In, Name, Out, Real, Several, Text
from webapp.schemas.selection import MOST_ENTITIES, Selection, Selector, Whom
from webapp.schemas.shapes import FORECASTERS, MODEL_ID, SEMVER, shaped
from webapp.schemas.specs import SpecIn
from webapp.schemas.submissions import SOURCE, SOURCE_TOLD, Asked, Submission


class BaseIn(In):
    """The network to start from: exactly one of `model` and `name`. The shape of the training is then the base's."""

    model = Text(low=1, high=40, metadata={"description": "Id of a model of any entity, of kind `forecast` or `base`."})
    name = Name(
        metadata={"description": "Name of a shared base, as it was given to `POST /models/pretrain`; that of the same target is taken."}
    )
    version = Text(low=1, high=40, load_default=None, allow_none=True, metadata={"description": "Its number; the active one by default."})

    @validates_schema
    def one_of_two(self, data: dict[str, Any], **_: Any) -> None:
        if len(data.keys() & {"model", "name"}) != 1:
            raise ValidationError("Name exactly one of model and name.")

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> BaseOrder:
        return BaseOrder(**data)


@dataclass(frozen=True, slots=True)
class TrainAsked(Asked[TrainOrder]):
    """A training whose entities are still to be found."""

    whom: Selection


class Learning(In):
    """What every training says of itself."""

    recipe = Name(required=True, metadata={"description": "Name of a preset; `GET /recipes` lists them."})
    target = Name(
        load_default=None,
        allow_none=True,
        metadata={"description": "Channel to forecast; the recipe's first by default, and of a `joint` recipe all that are there."},
    )
    overrides = fields.Nested(SpecIn, data_key="spec", load_default={}, metadata={"description": "Fields of the recipe's spec to change."})
    activation = activation_asked()
    look_back_hours = Real(
        1,
        1_000_000,
        load_default=None,
        allow_none=True,
        metadata={"description": "Only rows of so many hours before the newest one; the recipe's by default."},
    )
    source = Name(load_default=None, allow_none=True, metadata=SOURCE)


class TrainIn(Whom, Learning):
    """A training: whom, by which recipe, and what to do otherwise than the recipe says."""

    model = Name(
        load_default=None,
        allow_none=True,
        metadata={"description": "Name of the lineage; the target by default. Not for several targets, whose models are named after them."},
    )
    base = fields.Nested(
        BaseIn, load_default=None, allow_none=True, metadata={"description": "The network to start from; none by default."}
    )

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> TrainAsked:
        metadata, whom = data.pop("metadata"), self.selection(data)
        return TrainAsked(TrainOrder(entities=whom.names, batch=whom.batch, **data), metadata, whom)


@dataclass(frozen=True, slots=True)
class PretrainAsked(Asked[PretrainOrder]):
    """The training of a base, whose entities are still to be found."""

    whom: Selection


class PretrainIn(Submission, Learning):
    """A base: one network learned from many entities. Exactly one of `entities` and `selector`."""

    name = Name(
        required=True,
        metadata={"description": "Name of the base, and of the entity of kind `base` that holds it, made where it is missing."},
    )
    entities = Several(
        Name(),
        FEWEST,
        MOST_ENTITIES,
        metadata={"description": "Whom to learn from. The setting MAX_BATCH allows fewer (10,000 unless set): else 422."},
    )
    selector = fields.Nested(
        Selector, metadata={"description": "All that it finds; {} finds all but bases. More than MAX_BATCH are refused with 422."}
    )

    @validates_schema
    def one_of_two(self, data: dict[str, Any], **_: Any) -> None:
        if len(data.keys() & {"entities", "selector"}) != 1:
            raise ValidationError("Name exactly one of entities and selector.")

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> PretrainAsked:
        metadata, names, selector = data.pop("metadata"), tuple(data.pop("entities", ())), data.pop("selector", None)
        return PretrainAsked(PretrainOrder(entities=names, **data), metadata, Selection(names, selector, batch=True))


class BaseRef(Out):
    """The version that a training starts from, as it was when it was asked for."""

    model = fields.String(metadata=MODEL_ID)
    version = fields.String(metadata={"pattern": SEMVER})


class TrainSpec(Out):
    """A training, defaults filled in."""

    entity = fields.String()
    recipe = fields.String()
    target = fields.String(metadata={"description": "The first of `spec.targets`."})
    model = fields.String(metadata={"description": "Name of the lineage; where there are several targets, that of the first."})
    activation = activation_told()
    look_back_hours = fields.Float(allow_none=True)
    base = fields.Dict(allow_none=True, metadata=shaped("BaseRef", description="The network to start from; null: from none."))
    source = fields.String(metadata=SOURCE_TOLD)
    spec = fields.Dict(metadata=shaped("Spec"))


class PretrainSpec(Out):
    """The training of a base, defaults filled in."""

    entity = fields.String(metadata={"description": "Name of the base, and of the entity that holds it."})
    recipe = fields.String()
    target = fields.String(metadata={"description": "The first of `spec.targets`, and the name of the model that holds the base."})
    entities = fields.List(fields.String(), metadata={"description": "Those it is to be learned from."})
    activation = activation_told()
    look_back_hours = fields.Float(allow_none=True)
    source = fields.String(metadata=SOURCE_TOLD)
    spec = fields.Dict(metadata=shaped("Spec"))


class TrainedVersion(Out):
    """One version that a training published."""

    target = fields.String()
    model = fields.String(metadata=MODEL_ID)
    version = fields.String(metadata={"pattern": SEMVER})
    active = fields.Boolean(metadata={"description": "It serves from now on."})
    served_by = fields.String(validate=validate.OneOf(FORECASTERS))
    metrics = fields.Dict(metadata=shaped("Metrics"))
    gate = fields.Dict(metadata=shaped("Verdict"))


class TrainResult(TrainedVersion):
    """What a training brought: the version of its target, or of the first of several."""

    others = fields.List(
        fields.Dict(metadata=shaped("TrainedVersion")), metadata={"description": "The same for the other targets of the network."}
    )


class PretrainResult(Out):
    """What the training of a base brought."""

    base = fields.String(metadata={"description": "Its name, for `base.name` of a training."})
    target = fields.String()
    model = fields.String(metadata=MODEL_ID)
    version = fields.String(metadata={"pattern": SEMVER})
    active = fields.Boolean(metadata={"description": "Trainings that name the base start from it from now on."})
    entities = fields.Integer(metadata={"description": "How many it was learned from; of the others `warnings` tell."})
    skill = fields.Float(metadata={"description": "1 minus the mean of `losses`."})
    losses = fields.Dict(
        values=fields.Float(),
        metadata={"description": "By entity: its error over that of the last value, on the rows that said when to stop."},
    )
    gate = fields.Dict(metadata=shaped("Verdict"))
