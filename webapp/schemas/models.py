"""Models, versions and trainings on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import EXCLUDE, ValidationError, fields, post_load, pre_load, validate, validates_schema

from ml.anomaly.spec import FOREST
from ml.spec import BOUNDS, CHOICES, MOST_INPUTS, MOST_ROLLING, MOST_TARGETS, ROLLING_ROWS
from tasks.orders import BASE, FEWEST, BaseOrder, PretrainOrder, TrainOrder
from webapp.schemas.accuracy import DriftBrief
from webapp.schemas.fields import Flag, In, Moment, Name, Out, Plain, Real, Several, Text, Whole, Word
from webapp.schemas.pages import PageQuery, page_of
from webapp.schemas.shapes import FORECASTERS, MODEL_ID, SEMVER, SOMETIMES, shaped
from webapp.schemas.submissions import SOURCE, Asked, Submission

#: Entities that one request can name; the setting MAX_BATCH may allow fewer.
MOST_ENTITIES = 100_000
KINDS = ("forecast", "anomaly", BASE)
#: Moves of the active flag.
MOVES = ("publish", "activate", "rollback")


def _bounded(field: str, about: str) -> dict[str, Any]:
    """Metadata of a numeric field of a spec: its bounds are the spec's own."""
    low, high = BOUNDS[field]
    return {"minimum": low, "maximum": high, "description": about}


_SHARE = {"minimum": 0.01, "maximum": 0.97}
_ABOUT: Mapping[str, Mapping[str, Any]] = {
    "covariates": {
        "description": "Channels read beside the target, known up to the last observation only. With the targets and the "
        f"known-future ones, {MOST_INPUTS} at most."
    },
    "future_covariates": {
        "description": "Channels whose values over the horizon are known when a forecast is made, as a promotion or a "
        "holiday is: stored ahead as observations, or brought by the request as `future`."
    },
    "rolling": {"description": f"Rows of the rolling means that are read of each covariate besides; {MOST_ROLLING} at most."},
    "available": {
        "description": "Channel that is 0 where the targets' rows do not count, as the price of what is not on sale; null: all do."
    },
    "positive": {"description": "Rows of the targets that are not above 0 do not count."},
    "network": {
        "enum": list(CHOICES["network"]),
        "description": "`lstm` forecasts all steps at once, `seq2seq` one after the other, with attention.",
    },
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


class _SpecIn(In):
    """What a spec holds besides what is forecast. The bounds are ModelSpec's, which checks them."""

    covariates = Several(Name(), 0, MOST_INPUTS - 1, metadata=_ABOUT["covariates"])
    future_covariates = Several(Name(), 0, MOST_INPUTS - 1, metadata=_ABOUT["future_covariates"])
    rolling = Several(Whole(*ROLLING_ROWS), 0, MOST_ROLLING, metadata=_ABOUT["rolling"])
    available = Name(allow_none=True, metadata=_ABOUT["available"])
    positive = Flag(metadata=_ABOUT["positive"])
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


class SpecIn(_SpecIn):
    """Fields of the recipe's spec to change. Their bounds are ModelSpec's, which checks them.

    What is forecast stands beside it: the request's `target`, or what the recipe says.
    """

    def __init__(self, **about: Any) -> None:
        """Partial: a field that was not sent is passed over at once, instead of being asked for its default; none has one."""
        super().__init__(**about | {"partial": True})

    @pre_load
    def without_targets(self, data: Any, **_: Any) -> Any:
        if isinstance(data, Mapping) and "targets" in data:
            raise ValidationError("Not supported: the request's `target` and the recipe say what is forecast.", "targets")
        return data


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


class Split(Out):
    """Chronological shares of the rows."""

    fit = fields.Float()
    stop = fields.Float()
    calibrate = fields.Float()
    test = fields.Float()


class RecipeSpec(Out):
    """Every field of a spec that a recipe decides."""

    rolling = fields.List(fields.Integer(), metadata=_ABOUT["rolling"])
    positive = fields.Boolean(metadata=_ABOUT["positive"])
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

    targets = fields.List(
        fields.String(), validate=validate.Length(1, MOST_TARGETS), metadata={"description": "Channels forecast, by one network."}
    )
    covariates = fields.List(fields.String(), metadata=_ABOUT["covariates"])
    future_covariates = fields.List(fields.String(), metadata=_ABOUT["future_covariates"])
    available = fields.String(allow_none=True, metadata=_ABOUT["available"])


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


class StopScores(Out):
    """Of a base: the rows that said when to stop, of all its entities. `n` counts these, and the `skill` is over the last value."""

    stop = fields.Dict(metadata=shaped("Scores"))


class BaseMetrics(Out):
    """A network that serves nobody: it stands beside the last value alone."""

    lstm = fields.Dict(metadata=SOMETIMES | shaped("StopScores"))
    seq2seq = fields.Dict(metadata=SOMETIMES | shaped("StopScores"))


class Metrics(Out):
    """What serves, the network under its family's name, and the naive baselines."""

    blend = fields.Dict(metadata=SOMETIMES | shaped("PartScores"))
    lstm = fields.Dict(metadata=SOMETIMES | shaped("PartScores"))
    seq2seq = fields.Dict(metadata=SOMETIMES | shaped("PartScores"))
    persistence = fields.Dict(metadata=shaped("PartScores"))
    seasonal_naive = fields.Dict(metadata=shaped("PartScores"))


class Check(Out):
    """One thing that the gate looked at."""

    name = fields.String(
        validate=validate.OneOf(("skill", "incumbent_ratio", "imported", "held_back_rows")),
        metadata={"description": "`imported`: nobody measured the network here, so it is not met."},
    )
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
    job = fields.String(attribute="job_id", metadata={"description": "The training that made it, or the import that brought it."})
    recipe = fields.String(allow_none=True)
    target = fields.String()
    spec = fields.Dict(metadata=shaped("Spec", "DetectorSpec"))
    served_by = fields.String(
        validate=validate.OneOf((*FORECASTERS, FOREST)),
        metadata={"description": "`blend`: the network and plainer parts, in shares; a baseline where too few rows were held back."},
    )
    metrics = fields.Dict(
        metadata=shaped(
            "Metrics",
            "BaseMetrics",
            "DetectorMetrics",
            description="Those of a base and of a detector are other ones, and of an imported base there are none.",
        )
    )
    gate = fields.Dict(metadata=shaped("Verdict"))
    warnings = fields.List(fields.Dict(metadata=shaped("Notice")))
    data_from = Moment(allow_none=True, metadata={"description": "First observation it learned from; null of an imported base."})
    data_until = Moment(allow_none=True, metadata={"description": "Last observation it learned from; null of an imported base."})
    source = fields.String(
        allow_none=True, metadata={"description": "Where its training read, and its forecasts read too; null: our own observations."}
    )
    artefact = fields.Method("_artefact", metadata=shaped("Artefact"))
    created_at = Moment()
    pruned_at = Moment(allow_none=True, metadata={"description": "Since when its artefact is gone."})

    def _artefact(self, row: Any) -> dict[str, Any]:
        return {"sha256": row.artefact_sha256, "bytes": row.artefact_bytes}


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


class ImportQuery(In):
    name = Name(required=True, metadata={"description": "Name of the base, and of the entity that holds it."})
    activation = Word(
        "auto",
        "always",
        "never",
        load_default="auto",
        metadata={"description": "Whether trainings that name the base start from it at once. `auto`: if the base has no active version."},
    )


class ImportedSpec(_SpecIn):
    """The spec of an imported network; what is left out is as `Spec` describes it and as ModelSpec has it by default."""

    targets = Several(Name(), 1, MOST_TARGETS, required=True)


class Manifest(In):
    """What is read of a manifest; an exported one has more."""

    class Meta:
        unknown = EXCLUDE

    spec = fields.Nested(ImportedSpec, required=True)
    recipe = Text(low=1, load_default=None, allow_none=True)


class ImportResult(Out):
    """What an import brought."""

    base = fields.String(metadata={"description": "Its name, for `base.name` of a training."})
    target = fields.String()
    model = fields.String(metadata=MODEL_ID)
    version = fields.String(metadata={"pattern": SEMVER})
    active = fields.Boolean(metadata={"description": "Trainings that name the base start from it from now on."})
    gate = fields.Dict(metadata=shaped("Verdict"))


class Model(Out):
    """The lineage: which version serves, and which came last."""

    id = fields.String(metadata=MODEL_ID)
    entity = fields.String()
    kind = fields.String(
        validate=validate.OneOf(KINDS), metadata={"description": "`base`: a network for others to start from, which forecasts for nobody."}
    )
    name = fields.String(metadata={"description": "The target, unless the training named another."})
    active_version = fields.Nested(Version, allow_none=True)
    latest_version = fields.Nested(Version, allow_none=True)
    drift = fields.Nested(
        DriftBrief, allow_none=True, metadata={"description": "Null where no version serves, or the one that does was not judged yet."}
    )
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
    joint = fields.Boolean(metadata={"description": "One network forecasts all its targets that an entity has, unless one is named."})
    available = fields.String(
        allow_none=True, metadata={"description": "Channel that is taken for `spec.available` where an entity has it; null: none."}
    )
    spec = fields.Dict(metadata=shaped("RecipeSpec", description="Every field's default in this recipe."))
    needs = fields.List(fields.Dict(metadata=shaped("RecipeNeed")))
    gate = fields.Dict(metadata=shaped("RecipeGate"))
    look_back_hours = fields.Float(allow_none=True)


class RecipeList(Out):
    """Every preset."""

    data = fields.List(fields.Nested(Recipe))
    detectors = fields.List(fields.Nested("Watching"), metadata={"description": "Those of `POST /anomalies/train`."})
