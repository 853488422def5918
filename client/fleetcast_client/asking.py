"""What requests are made of where a name and a number are not enough: dicts, which an editor completes and mypy checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Required, TypedDict


class Row(TypedDict, total=False):
    """One value of one channel."""

    channel: Required[str]
    at: Required[Moment]
    value: Required[float]


class ChannelFacts(TypedDict, total=False):
    """What is known of a channel."""

    name: Required[str]
    #: As people write it: bpm, ms, kWh.
    unit: str | None
    #: Which way is better.
    direction: Literal["higher", "lower"] | None
    #: Least value that makes sense.
    lower_bound: float | None
    #: Greatest value that makes sense.
    upper_bound: float | None


class Selector(TypedDict, total=False):
    """All entities that have these things."""

    #: Entities of this kind; those that hold bases (`base`) are meant only by it.
    kind: str
    #: Entities that have this channel.
    has_channel: str
    #: Attributes an entity must have; it may have more.
    attributes: Mapping[str, Any]


class SplitShares(TypedDict, total=False):
    """Chronological shares; they add up to 1."""

    #: Weights and scaler are learned from these.
    fit: float
    #: Say when to stop.
    stop: float
    #: Give the intervals, and decide who serves.
    calibrate: float
    #: Decide nothing: the reported figures are theirs.
    test: float


class SpecChanges(TypedDict, total=False):
    """Fields of the recipe's spec to change. What is forecast stands beside it: the request's `target`, or what the recipe says."""

    #: Channels read beside the target, known up to the last observation only. With the targets and the known-future ones, 64 at most.
    covariates: Sequence[str]
    #: Channels whose values over the horizon are known when a forecast is made, as a promotion or a holiday is: stored ahead as
    #: observations, or brought by the request as `future`.
    future_covariates: Sequence[str]
    #: Rows of the rolling means that are read of each covariate besides; 4 at most.
    rolling: Sequence[int]
    #: Channel that is 0 where the targets' rows do not count, as the price of what is not on sale; null: all do.
    available: str | None
    #: Rows of the targets that are not above 0 do not count.
    positive: bool
    #: `lstm` forecasts all steps at once, `seq2seq` one after the other, with attention.
    network: Literal["lstm", "seq2seq"]
    #: Steps of history that the network reads.
    window: int
    #: Steps that it forecasts.
    horizon: int
    #: Width of a layer.
    hidden_size: int
    #: Layers.
    num_layers: int
    #: Share of a layer left out at random while learning.
    dropout: float
    #: Most passes over the rows learned from.
    epochs: int
    #: Epochs without a better loss on held-back rows before training ends.
    patience: int
    #: Windows' worth of rows per update.
    batch_size: int
    #: Peak of the one-cycle rate.
    learning_rate: float
    #: What training makes small.
    loss: Literal["mae", "mse", "huber"]
    #: Chronological shares of the rows; they add up to 1.
    split: SplitShares
    #: Level of the intervals, for requests that name none.
    level: float
    #: Longest run of missing steps that is filled forward.
    fill_limit: int
    #: Seconds between rows; null finds them from the data.
    cadence_s: float | None
    #: The same seed on the same data gives the same model.
    seed: int


class BaseName(TypedDict, total=False):
    """The network to start from: exactly one of `model` and `name`. The shape of the training is then the base's."""

    #: Id of a model of any entity, of kind `forecast` or `base`.
    model: str
    #: Name of a shared base, as it was given to `POST /models/pretrain`; that of the same target is taken.
    name: str
    #: Its number; the active one by default.
    version: str | None


class Last(TypedDict):
    """So many steps of the history that the model reads."""

    last: int


class Future(TypedDict):
    """So many steps ahead, of a channel that the version knows ahead."""

    future: int


class Change(TypedDict, total=False):
    """One channel, changed over some steps."""

    #: An input of the model: a target or one of its covariates.
    channel: Required[str]
    op: Required[Literal["set", "add", "multiply"]]
    value: Required[float]
    #: "all" of the history that the model reads, {"last": n} steps of it, or {"future": n}: the next n steps of a channel that the
    #: version knows ahead.
    steps: Literal["all"] | Last | Future


class Scenario(TypedDict, total=False):
    """Changes that are made together."""

    name: Required[str]
    changes: Required[Sequence[Change]]


class DetectorChanges(TypedDict, total=False):
    """Fields of a detector's spec to change."""

    #: Trees of the Isolation Forest.
    trees: int
    #: Rows that each tree is grown from.
    sample_size: int
    #: Warnings wished, as a share of all rows: 0.001 is one row in a thousand.
    alarm_rate: float
    #: Of these, so rare that they are critical; at most `alarm_rate`.
    critical_rate: float
    #: Share of the rows, the newest, that say how rare a score is; the forest is grown from the others.
    held_back: float
    #: Most rows learned from, the newest; null: all there are.
    memory: int | None
    #: Rows of the shortest window looked through.
    short: int
    #: Rows of the middle one; more than `short`.
    medium: int
    #: Rows of the longest one; more than `medium`.
    long: int
    #: Seasons (days, mostly) whose same time is compared with.
    seasons: int
    #: Rows without anything unusual after which the next unusual row is an anomaly of its own.
    quiet: int
    #: Longest run of missing rows that is filled forward.
    fill_limit: int
    #: Seconds between rows; null finds them from the data.
    cadence_s: float | None
    #: The same seed on the same data gives the same detector.
    seed: int


#: Hours of the day by the clock of `time_zone`, as {"from": "01:00", "to": "05:00"}; they may cross midnight.
Hours = TypedDict("Hours", {"from": str, "to": str})


class WorseThan(TypedDict, total=False):
    """How much errors may grow."""

    #: Recent errors over those usual when the version was made: 1.2 is a fifth more.
    worse_than: Required[float]


class When(TypedDict, total=False):
    """Whens of a training, of which one must hold of an entity; an entity without an active version is due in any case."""

    #: The newest version is so many hours old.
    age_hours: float
    #: So many rows of the target are later than all that the newest version knows.
    new_rows: int
    #: The last verdict about the version that serves is this one, or worse.
    drift: Literal["warning", "drifting"]
    #: The errors of the version that serves have grown.
    accuracy: WorseThan


Activation = Literal["auto", "always", "never"]
#: A moment; a string is sent as it is (ISO 8601).
Moment = datetime | str
#: The job that a schedule asks for: its kind, and the body of the request that it stands for, as {"train": {"entities": […], "recipe": …}}.
#: `predict` is a batch, as `predict_batch` takes it.
Template = Mapping[Literal["train", "pretrain", "predict", "backtest", "anomaly_train", "anomaly_detect"], Mapping[str, Any]]
#: channel -> its values over the steps ahead, for channels that the version knows ahead.
Ahead = Mapping[str, Sequence[float]]
