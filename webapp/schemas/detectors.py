"""Detectors on the wire: how one is trained, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from marshmallow import fields, post_load, validate

from ml.anomaly.spec import BOUNDS, FOREST, LEAST_ROWS, MOST_CHANNELS
from tasks.alarms import ANOMALY, RECIPE, WatchOrder
from webapp.schemas.activations import activation_asked, activation_told
from webapp.schemas.fields import In, Name, Out, Real, Several, Whole
from webapp.schemas.shapes import MODEL_ID, SEMVER, bounded, shaped
from webapp.schemas.submissions import SOURCE, SOURCE_TOLD, Asked, Submission

WATCHED = {"description": "Who is watched."}
DETECTOR_NAME = {"description": "Name of the detector.", "default": ANOMALY}
_bounded = partial(bounded, BOUNDS)
_ABOUT: Mapping[str, Mapping[str, Any]] = {
    "trees": _bounded("trees", "Trees of the Isolation Forest."),
    "sample_size": _bounded("sample_size", "Rows that each tree is grown from."),
    "alarm_rate": _bounded("alarm_rate", "Warnings wished, as a share of all rows: 0.001 is one row in a thousand."),
    "critical_rate": _bounded("critical_rate", "Of these, so rare that they are critical; at most `alarm_rate`."),
    "held_back": _bounded("held_back", "Share of the rows, the newest, that say how rare a score is; the forest is grown from the others."),
    "memory": {
        "minimum": LEAST_ROWS,
        "maximum": 10_000_000,
        "description": "Most rows learned from, the newest; null: all there are.",
    },
    "short": _bounded("short", "Rows of the shortest window looked through."),
    "medium": _bounded("medium", "Rows of the middle one; more than `short`."),
    "long": _bounded("long", "Rows of the longest one; more than `medium`."),
    "seasons": _bounded("seasons", "Seasons (days, mostly) whose same time is compared with."),
    "quiet": _bounded("quiet", "Rows without anything unusual after which the next unusual row is an anomaly of its own."),
    "fill_limit": _bounded("fill_limit", "Longest run of missing rows that is filled forward."),
    "cadence_s": {"minimum": 1, "maximum": 31 * 86_400, "description": "Seconds between rows; null finds them from the data."},
    "seed": _bounded("seed", "The same seed on the same data gives the same detector."),
}


class DetectorSpecIn(In):
    """Fields of the recipe's spec to change. Their bounds are DetectorSpec's, which checks them."""

    trees = Whole(metadata=_ABOUT["trees"])
    sample_size = Whole(metadata=_ABOUT["sample_size"])
    alarm_rate = Real(metadata=_ABOUT["alarm_rate"])
    critical_rate = Real(metadata=_ABOUT["critical_rate"])
    held_back = Real(metadata=_ABOUT["held_back"])
    memory = Whole(allow_none=True, metadata=_ABOUT["memory"])
    short = Whole(metadata=_ABOUT["short"])
    medium = Whole(metadata=_ABOUT["medium"])
    long = Whole(metadata=_ABOUT["long"])
    seasons = Whole(metadata=_ABOUT["seasons"])
    quiet = Whole(metadata=_ABOUT["quiet"])
    fill_limit = Whole(metadata=_ABOUT["fill_limit"])
    cadence_s = Real(allow_none=True, metadata=_ABOUT["cadence_s"])
    seed = Whole(metadata=_ABOUT["seed"])


class WatchIn(Submission):
    """A detector to be trained: whom it watches, which channels, and what to do otherwise than the recipe says."""

    entity = Name(required=True, metadata=WATCHED)
    recipe = Name(load_default=RECIPE, metadata={"description": "Name of a preset of `detectors` in `GET /recipes`."})
    channels = Several(
        Name(),
        1,
        MOST_CHANNELS,
        load_default=None,
        allow_none=True,
        metadata={"description": "Channels watched together; by default those of the recipe that the entity has."},
    )
    model = Name(load_default=ANOMALY, metadata=DETECTOR_NAME)
    overrides = fields.Nested(
        DetectorSpecIn, data_key="spec", load_default={}, metadata={"description": "Fields of the recipe's spec to change."}
    )
    activation = activation_asked()
    look_back_hours = Real(
        1,
        1_000_000,
        load_default=None,
        allow_none=True,
        metadata={"description": "Only rows of so many hours before the newest one; the recipe's by default. More is better."},
    )

    source = Name(load_default=None, allow_none=True, metadata=SOURCE)

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> Asked[WatchOrder]:
        metadata, channels = data.pop("metadata"), data.pop("channels")
        return Asked(WatchOrder(channels=None if channels is None else tuple(channels), **data), metadata)


class DetectorDefaults(Out):
    """Every field of a detector's spec that a recipe decides."""

    trees = fields.Integer(metadata=_ABOUT["trees"])
    sample_size = fields.Integer(metadata=_ABOUT["sample_size"])
    alarm_rate = fields.Float(metadata=_ABOUT["alarm_rate"])
    critical_rate = fields.Float(metadata=_ABOUT["critical_rate"])
    held_back = fields.Float(metadata=_ABOUT["held_back"])
    memory = fields.Integer(allow_none=True, metadata=_ABOUT["memory"])
    short = fields.Integer(metadata=_ABOUT["short"])
    medium = fields.Integer(metadata=_ABOUT["medium"])
    long = fields.Integer(metadata=_ABOUT["long"])
    seasons = fields.Integer(metadata=_ABOUT["seasons"])
    quiet = fields.Integer(metadata=_ABOUT["quiet"])
    fill_limit = fields.Integer(metadata=_ABOUT["fill_limit"])
    cadence_s = fields.Float(allow_none=True, metadata=_ABOUT["cadence_s"])
    seed = fields.Integer(metadata=_ABOUT["seed"])


class DetectorSpec(DetectorDefaults):
    """Everything that decides what a detector does, apart from the data."""

    channels = fields.List(fields.String(), metadata={"description": "Channels watched together."})


class Watching(Out):
    """A preset of a detector."""

    name = fields.String()
    title = fields.String()
    channels = fields.List(fields.String(), metadata={"description": "Those that an entity has are watched, unless others are named."})
    spec = fields.Dict(metadata=shaped("DetectorDefaults", description="Every field's default in this recipe."))
    least_rows = fields.Integer(metadata={"description": "Fewest rows that a detector is trained from."})
    look_back_hours = fields.Float(allow_none=True)


class Thresholds(Out):
    """Scores from which a row is called."""

    warning = fields.Float()
    critical = fields.Float()


class Contamination(Out):
    """Share of rows that reach the score of a warning."""

    asked = fields.Float(metadata={"description": "The spec's `alarm_rate`."})
    measured = fields.Float(metadata={"description": "Of the rows held back."})


class WatchedRows(Out):
    """Rows that a detector was trained from."""

    observed = fields.Integer(metadata={"description": "All of them."})
    held_back = fields.Integer(metadata={"description": "Those among them, the newest ones, that said how rare a score is."})


class DetectorMetrics(Out):
    """What a detector says about itself. There is no error: nobody tells it what was unusual."""

    channels = fields.List(fields.String(), metadata={"description": "Channels watched: those of the spec that had rows."})
    features = fields.List(fields.String(), metadata={"description": "`<channel>: <view>` of all that the forest sees of a row."})
    trees = fields.Integer()
    sample_size = fields.Integer()
    thresholds = fields.Dict(metadata=shaped("Thresholds"))
    contamination = fields.Dict(metadata=shaped("Contamination"))
    rows = fields.Dict(metadata=shaped("WatchedRows"))
    cadence_s = fields.Float(metadata={"description": "Seconds between rows."})


class AnomalyTrainSpec(Out):
    """The training of a detector, defaults filled in."""

    entity = fields.String()
    recipe = fields.String()
    model = fields.String(metadata={"description": "Name of the detector."})
    activation = activation_told()
    look_back_hours = fields.Float(allow_none=True)
    source = fields.String(metadata=SOURCE_TOLD)
    spec = fields.Dict(metadata=shaped("DetectorSpec"))


class AnomalyTrainResult(Out):
    """What the training of a detector brought."""

    model = fields.String(metadata=MODEL_ID)
    version = fields.String(metadata={"pattern": SEMVER})
    active = fields.Boolean(metadata={"description": "It judges from now on."})
    served_by = fields.String(validate=validate.OneOf((FOREST,)))
    features = fields.List(fields.String(), metadata={"description": "`<channel>: <view>` of all that the forest sees of a row."})
    contamination = fields.Dict(metadata=shaped("Contamination"))
    training_samples = fields.Integer(metadata={"description": "Rows it learned from, those held back among them."})
    metrics = fields.Dict(metadata=shaped("DetectorMetrics"))
    gate = fields.Dict(metadata=shaped("Verdict"))
