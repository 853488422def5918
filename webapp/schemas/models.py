"""Models, versions and trainings on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from ml.spec import BOUNDS, CHOICES
from tasks.submit import TrainOrder
from webapp.schemas.fields import In, Moment, Name, Out, Plain, Real, Several, Text, Whole, Word
from webapp.schemas.pages import PageQuery, page_of
from webapp.schemas.shapes import FORECASTERS, SEMVER, numbered, shaped
from webapp.schemas.submissions import Asked, Submission

#: Entities that one request can name; the setting MAX_BATCH may allow fewer.
MOST_ENTITIES = 100_000
MODEL_ID = {"pattern": numbered("mdl")}
KINDS = ("forecast", "anomaly")
#: Moves of the active flag.
MOVES = ("publish", "activate", "rollback")


def _bounded(field: str, about: str) -> dict[str, Any]:
    """Metadata of a numeric field of a spec: its bounds are the spec's own."""
    low, high = BOUNDS[field]
    return {"minimum": low, "maximum": high, "description": about}


_SHARE = {"minimum": 0.01, "maximum": 0.97}
_ABOUT: Mapping[str, Mapping[str, Any]] = {
    "covariates": {"description": "Channels read beside the target, known up to the last observation only."},
    "network": {"enum": list(CHOICES["network"]), "description": "Family of the network."},
    "window": _bounded("window", "Steps of history that the network reads."),
    "horizon": _bounded("horizon", "Steps that it forecasts."),
    "hidden_size": _bounded("hidden_size", "Width of a layer."),
    "num_layers": _bounded("num_layers", "Layers."),
    "dropout": _bounded("dropout", "Share of a layer left out at random while learning."),
    "epochs": _bounded("epochs", "Most passes over the rows learned from."),
    "patience": _bounded("patience", "Epochs without a better loss on held-back rows before training ends."),
    "batch_size": _bounded("batch_size", "Windows' worth of rows per update."),
    "learning_rate": _bounded("learning_rate", "Peak of the one-cycle rate."),
    "loss": {"enum": list(CHOICES["loss"]), "description": "What training makes small."},
    "split": {"description": "Chronological shares of the rows; they add up to 1."},
    "level": _bounded("level", "Level of the intervals, for requests that name none."),
    "fill_limit": _bounded("fill_limit", "Longest run of missing steps that is filled forward."),
    "cadence_s": {"minimum": 1, "maximum": 31 * 86_400, "description": "Seconds between rows; null finds them from the data."},
    "seed": _bounded("seed", "The same seed on the same data gives the same model."),
}


class SplitIn(In):
    """Chronological shares; they add up to 1."""

    fit = Real(metadata=_SHARE | {"default": 0.64, "description": "Weights and scaler are learned from these."})
    stop = Real(metadata=_SHARE | {"default": 0.08, "description": "Say when to stop."})
    calibrate = Real(metadata=_SHARE | {"default": 0.08, "description": "Give the intervals, and decide who serves."})
    test = Real(metadata=_SHARE | {"default": 0.2, "description": "Decide nothing: the reported figures are theirs."})


class SpecIn(In):
    """Fields of the recipe's spec to change. Their bounds are ModelSpec's, which checks them."""

    covariates = Several(Name(), 0, 200, metadata=_ABOUT["covariates"])
    network = Text(high=50, metadata=_ABOUT["network"])
    window = Whole(metadata=_ABOUT["window"])
    horizon = Whole(metadata=_ABOUT["horizon"])
    hidden_size = Whole(metadata=_ABOUT["hidden_size"])
    num_layers = Whole(metadata=_ABOUT["num_layers"])
    dropout = Real(metadata=_ABOUT["dropout"])
    epochs = Whole(metadata=_ABOUT["epochs"])
    patience = Whole(metadata=_ABOUT["patience"])
    batch_size = Whole(metadata=_ABOUT["batch_size"])
    learning_rate = Real(metadata=_ABOUT["learning_rate"])
    loss = Text(high=50, metadata=_ABOUT["loss"])
    split = fields.Nested(SplitIn, metadata=_ABOUT["split"])
    level = Real(metadata=_ABOUT["level"])
    fill_limit = Whole(metadata=_ABOUT["fill_limit"])
    cadence_s = Real(allow_none=True, metadata=_ABOUT["cadence_s"])
    seed = Whole(metadata=_ABOUT["seed"])


class Selector(In):
    """All entities that have these things."""

    kind = Text(low=1, high=50, metadata={"description": "Entities of this kind."})
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
        Selector, metadata={"description": "A batch of all that it finds; {} finds all. More than MAX_BATCH are refused with 422."}
    )

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
    """A training: whom, by which recipe, and what to do otherwise than the recipe says."""

    recipe = Name(required=True, metadata={"description": "Name of a preset; `GET /recipes` lists them."})
    target = Name(load_default=None, allow_none=True, metadata={"description": "Channel to forecast; the recipe's first by default."})
    model = Name(load_default=None, allow_none=True, metadata={"description": "Name of the lineage; the target by default."})
    overrides = fields.Nested(SpecIn, data_key="spec", load_default={}, metadata={"description": "Fields of the recipe's spec to change."})
    activation = Word(
        "auto",
        "always",
        "never",
        load_default="auto",
        metadata={"description": "`auto`: the new version becomes active when it passes its gate, or when there is no other."},
    )
    look_back_hours = Real(
        1,
        1_000_000,
        load_default=None,
        allow_none=True,
        metadata={"description": "Only rows of so many hours before the newest one; the recipe's by default."},
    )

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> TrainAsked:
        metadata, whom = data.pop("metadata"), self.selection(data)
        return TrainAsked(TrainOrder(entities=whom.names, batch=whom.batch, **data), metadata, whom)


class Split(Out):
    """Chronological shares of the rows."""

    fit = fields.Float()
    stop = fields.Float()
    calibrate = fields.Float()
    test = fields.Float()


class RecipeSpec(Out):
    """Every field of a spec that a recipe decides."""

    network = fields.String(validate=validate.OneOf(CHOICES["network"]))
    window = fields.Integer(metadata=_ABOUT["window"])
    horizon = fields.Integer(metadata=_ABOUT["horizon"])
    hidden_size = fields.Integer(metadata=_ABOUT["hidden_size"])
    num_layers = fields.Integer(metadata=_ABOUT["num_layers"])
    dropout = fields.Float(metadata=_ABOUT["dropout"])
    epochs = fields.Integer(metadata=_ABOUT["epochs"])
    patience = fields.Integer(metadata=_ABOUT["patience"])
    batch_size = fields.Integer(metadata=_ABOUT["batch_size"])
    learning_rate = fields.Float(metadata=_ABOUT["learning_rate"])
    loss = fields.String(validate=validate.OneOf(CHOICES["loss"]))
    split = fields.Dict(metadata=shaped("Split"))
    level = fields.Float(metadata=_ABOUT["level"])
    fill_limit = fields.Integer(metadata=_ABOUT["fill_limit"])
    cadence_s = fields.Float(allow_none=True, metadata=_ABOUT["cadence_s"])
    seed = fields.Integer(metadata=_ABOUT["seed"])


class Spec(RecipeSpec):
    """Everything that decides what a training does, apart from the data."""

    targets = fields.List(fields.String(), validate=validate.Length(1, 1))
    covariates = fields.List(fields.String(), metadata=_ABOUT["covariates"])


class Scores(Out):
    """Errors of one forecaster on one part; null where there is no such number."""

    n = fields.Integer(metadata={"description": "Pairs of origin and step."})
    mae = fields.Float(allow_none=True)
    rmse = fields.Float(allow_none=True)
    r2 = fields.Float(allow_none=True)
    mape = fields.Float(allow_none=True, metadata={"description": "Percent, over the `mape_n` pairs whose truth is not next to nothing."})
    mape_n = fields.Integer()
    smape = fields.Float(allow_none=True, metadata={"description": "Percent."})
    mase = fields.Float(allow_none=True)
    skill = fields.Float(allow_none=True, metadata={"description": "1 minus the error over that of the best naive baseline."})
    coverage = fields.Float(allow_none=True, metadata={"description": "Share of truths inside the interval."})
    winkler = fields.Float(allow_none=True)


class PartScores(Out):
    """Of the rows that decided who serves, and of those that decided nothing."""

    calibrate = fields.Dict(metadata=shaped("Scores"))
    test = fields.Dict(metadata=shaped("Scores"))


class Metrics(Out):
    """The network beside the naive baselines."""

    lstm = fields.Dict(metadata=shaped("PartScores"))
    persistence = fields.Dict(metadata=shaped("PartScores"))
    seasonal_naive = fields.Dict(metadata=shaped("PartScores"))


class Check(Out):
    """One thing that the gate looked at."""

    name = fields.String(validate=validate.OneOf(("skill", "incumbent_ratio")))
    have = fields.Float(allow_none=True)
    need = fields.Float()
    met = fields.Boolean()


class Verdict(Out):
    """What the version had to reach to become active by itself, and whether it did."""

    passed = fields.Boolean()
    checks = fields.List(fields.Dict(metadata=shaped("Check")))
    production_ready = fields.Boolean(
        allow_none=True, metadata={"description": "A label that decides nothing; null where the recipe has none."}
    )


class Artefact(Out):
    """What a version is on disk."""

    sha256 = fields.String(metadata={"pattern": "^[0-9a-f]{64}$"})
    bytes = fields.Integer()


class Version(Out):
    """One trained instance of a model."""

    version = fields.String(attribute="semver", metadata={"pattern": SEMVER})
    model = fields.String(attribute="model_id", metadata=MODEL_ID)
    active = fields.Boolean(metadata={"description": "It is the one that serves."})
    job = fields.String(attribute="job_id", metadata={"description": "The training that made it."})
    recipe = fields.String(allow_none=True)
    target = fields.String()
    spec = fields.Dict(metadata=shaped("Spec"))
    served_by = fields.String(
        validate=validate.OneOf(FORECASTERS), metadata={"description": "The network, or the naive baseline it did not beat."}
    )
    metrics = fields.Dict(metadata=shaped("Metrics"))
    gate = fields.Dict(metadata=shaped("Verdict"))
    warnings = fields.List(fields.Dict(metadata=shaped("Notice")))
    data_from = Moment(metadata={"description": "First observation it learned from."})
    data_until = Moment(metadata={"description": "Last observation it learned from."})
    artefact = fields.Method("_artefact", metadata=shaped("Artefact"))
    created_at = Moment()
    pruned_at = Moment(allow_none=True, metadata={"description": "Since when its artefact is gone."})

    def _artefact(self, row: Any) -> dict[str, Any]:
        return {"sha256": row.artefact_sha256, "bytes": row.artefact_bytes}


class TrainResult(Out):
    """What a training brought."""

    model = fields.String(metadata=MODEL_ID)
    version = fields.String(metadata={"pattern": SEMVER})
    active = fields.Boolean(metadata={"description": "It serves from now on."})
    served_by = fields.String(validate=validate.OneOf(FORECASTERS))
    metrics = fields.Dict(metadata=shaped("Metrics"))
    gate = fields.Dict(metadata=shaped("Verdict"))


class Model(Out):
    """The lineage: which version serves, and which came last."""

    id = fields.String(metadata=MODEL_ID)
    entity = fields.String()
    kind = fields.String(validate=validate.OneOf(KINDS))
    name = fields.String(metadata={"description": "The target, unless the training named another."})
    active_version = fields.Nested(Version, allow_none=True)
    latest_version = fields.Nested(Version, allow_none=True)
    created_at = Moment()
    links = fields.Dict(
        values=fields.String(metadata={"format": "uri-reference"}), metadata={"description": "Paths: self, versions, activations."}
    )


class Activation(Out):
    """One move of the active flag."""

    kind = fields.String(validate=validate.OneOf(MOVES))
    from_version = fields.String(allow_none=True, data_key="from")
    to_version = fields.String(data_key="to")
    reason = fields.String(allow_none=True)
    actor = fields.String(metadata={"description": "`key:` and the public part of an API key, or the job that published."})
    at = Moment()


ModelPage = page_of(Model)
VersionPage = page_of(Version)
ActivationPage = page_of(Activation)


class UserModelQuery(PageQuery):
    name = Name(load_default=None, metadata={"description": "Only models of this name."})
    kind = Word(*KINDS, load_default=None, metadata={"description": "Only models of this kind."})


class ModelQuery(UserModelQuery):
    entity = Name(load_default=None, metadata={"description": "Only models of this entity."})


class RollbackIn(In):
    """Why."""

    reason = Text(high=1000, load_default=None, allow_none=True, metadata={"description": "Kept in the log of activations."})


class ActivateIn(RollbackIn):
    """Which version, and why."""

    version = Text(low=1, high=40, required=True, metadata={"description": "Number of the version that is to serve."})


class RecipeNeed(Out):
    """One thing that a recipe asks of the data."""

    name = fields.String()
    of = fields.String(validate=validate.OneOf(("target", "covariates")))
    measure = fields.String(validate=validate.OneOf(("rows", "days", "coverage")))
    minimum = fields.Float()
    group = fields.List(fields.String(), metadata={"description": "The covariates it speaks of; empty: all of them."})


class RecipeGate(Out):
    """What a version must reach to become active by itself."""

    min_skill = fields.Float()
    incumbent_tolerance = fields.Float(metadata={"description": "How much worse than the active version it may be: 0.05 is five percent."})
    production_r2 = fields.Float(allow_none=True)
    production_mape = fields.Float(allow_none=True)


class Recipe(Out):
    """A preset: model spec, data requirements, gate."""

    name = fields.String()
    title = fields.String()
    targets = fields.List(fields.String(), metadata={"description": "Empty: any channel."})
    covariates = fields.List(fields.String())
    spec = fields.Dict(metadata=shaped("RecipeSpec", description="Every field's default in this recipe."))
    needs = fields.List(fields.Dict(metadata=shaped("RecipeNeed")))
    gate = fields.Dict(metadata=shaped("RecipeGate"))
    look_back_hours = fields.Float(allow_none=True)


class RecipeList(Out):
    """Every preset."""

    data = fields.List(fields.Nested(Recipe))
