"""Models, versions and trainings on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load, validates_schema

from tasks.submit import TrainOrder
from webapp.schemas.fields import In, Moment, Name, Out, Plain, Real, Several, Text, Whole, Word
from webapp.schemas.jobs import Asked, Submission
from webapp.schemas.pages import PageQuery, page_of

#: Entities that one request can name; the setting MAX_BATCH may allow fewer.
MOST_ENTITIES = 100_000


class SplitIn(In):
    """Chronological shares; they add up to 1."""

    fit = Real()
    stop = Real()
    calibrate = Real()
    test = Real()


class SpecIn(In):
    """Fields of the recipe's spec to change. Their bounds are ModelSpec's, which checks them."""

    covariates = Several(Name(), 0, 200)
    network = Text(high=50)
    window = Whole()
    horizon = Whole()
    hidden_size = Whole()
    num_layers = Whole()
    dropout = Real()
    epochs = Whole()
    patience = Whole()
    batch_size = Whole()
    learning_rate = Real()
    loss = Text(high=50)
    split = fields.Nested(SplitIn)
    level = Real()
    fill_limit = Whole()
    cadence_s = Real(allow_none=True)
    seed = Whole()


class Selector(In):
    """All entities that have these things."""

    kind = Text(low=1, high=50)
    has_channel = Name()
    attributes = Plain(metadata={"description": "Attributes an entity must have; it may have more."})


@dataclass(frozen=True, slots=True)
class Selection:
    """Whom a submission is about: named entities, or those that a selector finds."""

    names: tuple[str, ...]
    selector: Mapping[str, Any] | None
    batch: bool


class Whom(Submission):
    """Exactly one of `entity`, `entities` and `selector`."""

    entity = Name()
    entities = Several(Name(), 1, MOST_ENTITIES, metadata={"description": "A batch."})
    selector = fields.Nested(Selector, metadata={"description": "A batch of all that it finds; {} finds all."})

    @validates_schema
    def one_of_three(self, data: dict[str, Any], **_: Any) -> None:
        if len(data.keys() & {"entity", "entities", "selector"}) != 1:
            raise ValidationError("Name exactly one of entity, entities and selector.")

    def selection(self, data: dict[str, Any]) -> Selection:
        """Take whom it is about out of the loaded fields."""
        entity, entities, selector = (data.pop(name, None) for name in ("entity", "entities", "selector"))
        return Selection((entity,) if entity is not None else tuple(entities or ()), selector, batch=entity is None)


@dataclass(frozen=True, slots=True)
class TrainAsked(Asked[TrainOrder]):
    """A training whose entities are still to be found."""

    whom: Selection


class TrainIn(Whom):
    recipe = Name(required=True)
    target = Name(load_default=None, allow_none=True, metadata={"description": "Channel to forecast; the recipe's first by default."})
    model = Name(load_default=None, allow_none=True, metadata={"description": "Name of the lineage; the target by default."})
    overrides = fields.Nested(SpecIn, data_key="spec", load_default={})
    activation = Word("auto", "always", "never", load_default="auto")
    look_back_hours = Real(1, 1_000_000, load_default=None, allow_none=True)

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> TrainAsked:
        metadata, whom = data.pop("metadata"), self.selection(data)
        return TrainAsked(TrainOrder(entities=whom.names, batch=whom.batch, **data), metadata, whom)


class Version(Out):
    """One trained instance of a model."""

    version = fields.String(attribute="semver")
    model = fields.String(attribute="model_id")
    active = fields.Boolean()
    job = fields.String(attribute="job_id")
    recipe = fields.String(allow_none=True)
    target = fields.String()
    spec = fields.Dict()
    served_by = fields.String(metadata={"description": "The network, or the naive baseline it did not beat."})
    metrics = fields.Dict()
    gate = fields.Dict(metadata={"description": "What it had to reach to become active by itself, and whether it did."})
    warnings = fields.List(fields.Dict())
    data_from = Moment()
    data_until = Moment()
    artefact = fields.Method("_artefact")
    created_at = Moment()
    pruned_at = Moment(allow_none=True, metadata={"description": "Since when its artefact is gone."})

    def _artefact(self, row: Any) -> dict[str, Any]:
        return {"sha256": row.artefact_sha256, "bytes": row.artefact_bytes}


class Model(Out):
    """The lineage: which version serves, and which came last."""

    id = fields.String()
    entity = fields.String()
    kind = fields.String()
    name = fields.String()
    active_version = fields.Nested(Version, allow_none=True)
    latest_version = fields.Nested(Version, allow_none=True)
    created_at = Moment()
    links = fields.Dict(values=fields.String())


class Activation(Out):
    """One move of the active flag."""

    kind = fields.String(metadata={"description": "publish, activate or rollback."})
    from_version = fields.String(allow_none=True, data_key="from")
    to_version = fields.String(data_key="to")
    reason = fields.String(allow_none=True)
    actor = fields.String()
    at = Moment()


ModelPage = page_of(Model)
VersionPage = page_of(Version)
ActivationPage = page_of(Activation)


class UserModelQuery(PageQuery):
    name = Name(load_default=None)
    kind = Word("forecast", "anomaly", load_default=None)


class ModelQuery(UserModelQuery):
    entity = Name(load_default=None)


class RollbackIn(In):
    reason = Text(high=1000, load_default=None, allow_none=True)


class ActivateIn(RollbackIn):
    version = Text(low=1, high=40, required=True)


class Recipe(Out):
    """A preset: model spec, data requirements, gate."""

    name = fields.String()
    title = fields.String()
    targets = fields.List(fields.String(), metadata={"description": "Empty: any channel."})
    covariates = fields.List(fields.String())
    spec = fields.Dict(metadata={"description": "Every field's default in this recipe."})
    needs = fields.List(fields.Dict())
    gate = fields.Dict()
    look_back_hours = fields.Float(allow_none=True)


class RecipeList(Out):
    data = fields.List(fields.Nested(Recipe))
