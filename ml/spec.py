"""The terms of one model: what goes in, what comes out, how it is learned. Plain values; imports no numeric library."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Self

from ml.errors import SpecInvalid
from ml.formats import known

#: Lowest and highest value of each numeric field. They keep one model small (it is trained by the thousand) and one request bounded.
BOUNDS: Mapping[str, tuple[float, float]] = {
    "window": (2, 512),
    "horizon": (1, 168),
    "hidden_size": (8, 512),
    "num_layers": (1, 4),
    "dropout": (0.0, 0.7),
    "epochs": (1, 1000),
    "patience": (1, 200),
    "batch_size": (1, 4096),
    "learning_rate": (1e-6, 1.0),
    "level": (0.5, 0.99),
    "fill_limit": (0, 48),
    "seed": (0, 2**31 - 1),
}
#: The allowed words of each enumerated field.
CHOICES: Mapping[str, tuple[str, ...]] = {"network": ("lstm", "seq2seq"), "loss": ("mae", "mse", "huber")}
#: Channels one model reads and forecasts at most: the width of its first layer, and of the rows a forecast fetches.
MOST_TARGETS, MOST_INPUTS = 16, 64
#: Rolling means of a covariate: how many, and of how many rows.
MOST_ROLLING, ROLLING_ROWS = 4, (2, 512)


#: The fields that a training takes over from the base it starts from.
SHAPE = ("covariates", "future_covariates", "rolling", "network", "horizon", "hidden_size", "num_layers")
_TUPLES = ("targets", "covariates", "future_covariates", "rolling")


@dataclass(frozen=True, slots=True)
class Split:
    """Chronological shares of the rows. Nothing is ever chosen by the last one.

    fit: weights and scaler · stop: early stopping · calibrate: intervals, who serves, the gate · test: reports only.
    """

    fit: float = 0.64
    stop: float = 0.08
    calibrate: float = 0.08
    test: float = 0.20

    def __post_init__(self) -> None:
        shares = asdict(self)
        for name, share in shares.items():
            if not 0.01 <= share <= 0.97:
                raise SpecInvalid(f"split.{name}", share, "must be between 0.01 and 0.97")
        if abs(sum(shares.values()) - 1.0) > 1e-6:
            raise SpecInvalid("split", shares, "the four shares must add up to 1")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything that decides what a training does, apart from the data.

    Source of the defaults: the `device-metric` recipe; each recipe states its own.
    """

    #: Channels forecast. One network forecasts them all; each is published as a version of its own model.
    targets: tuple[str, ...]
    #: Past covariates: channels read beside the targets, known up to the last observation only.
    covariates: tuple[str, ...] = ()
    #: Known-future covariates: channels whose values over the horizon are known when a forecast is made, as a promotion is.
    future_covariates: tuple[str, ...] = ()
    #: Rows of the rolling means that are read of each covariate beside its value and change.
    rolling: tuple[int, ...] = ()
    #: Channel that is 0 where the targets' rows are to be dropped: a price of what was not on sale. It is no input.
    available: str | None = None
    #: Rows of a target that are not above 0 are dropped: a price of nothing is no price.
    positive: bool = False
    #: `lstm` forecasts all steps at once; `seq2seq` step by step, with attention to the window.
    network: str = "lstm"
    #: Steps of history the network reads.
    window: int = 50
    #: Steps it forecasts.
    horizon: int = 12
    hidden_size: int = 64
    num_layers: int = 2
    dropout: float = 0.0
    epochs: int = 14
    #: Epochs without a better stop-part loss before training ends.
    patience: int = 8
    #: Windows' worth of rows per update.
    batch_size: int = 32
    #: Peak of the one-cycle rate.
    learning_rate: float = 4e-2
    loss: str = "mae"
    split: Split = Split()
    #: Interval level stored with the model and used when a request names none.
    level: float = 0.9
    #: Longest run of missing steps that is filled forward; longer ones break the series.
    fill_limit: int = 3
    #: Seconds between rows; None finds the cadence from the data.
    cadence_s: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self._require_channels()
        self._require_rolling()
        if not isinstance(self.positive, bool):
            raise SpecInvalid("positive", self.positive, "must be true or false")
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not low <= value <= high:
                raise SpecInvalid(name, value, f"must be between {low:g} and {high:g}")
        for name, words in CHOICES.items():
            if getattr(self, name) not in words:
                raise SpecInvalid(name, getattr(self, name), f"must be one of {', '.join(words)}")
        if self.cadence_s is not None and not 1 <= self.cadence_s <= 31 * 86_400:
            raise SpecInvalid("cadence_s", self.cadence_s, "must be between 1 second and 31 days (2678400)")

    def _require_channels(self) -> None:
        if not 1 <= len(self.targets) <= MOST_TARGETS:
            raise SpecInvalid("targets", self.targets, f"name between 1 and {MOST_TARGETS} channels")
        if len(self.inputs) > MOST_INPUTS:
            raise SpecInvalid("covariates", self.covariates, f"a model reads at most {MOST_INPUTS} channels, targets among them")
        repeated = {name for name, times in Counter(self.inputs).items() if times > 1}
        for field in ("future_covariates", "covariates", "targets"):
            if repeated & set(getattr(self, field)):
                raise SpecInvalid(field, sorted(repeated), "name each channel once: a target is always an input, do not repeat it")

    def _require_rolling(self) -> None:
        low, high = ROLLING_ROWS
        if len(self.rolling) > MOST_ROLLING or any(isinstance(rows, bool) or not low <= rows <= high for rows in self.rolling):
            raise SpecInvalid("rolling", self.rolling, f"at most {MOST_ROLLING} numbers of rows between {low} and {high}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every channel read: targets first, then past covariates, then known-future ones."""
        return self.targets + self.covariates + self.future_covariates

    @property
    def channels(self) -> tuple[str, ...]:
        """Every channel fetched: the inputs, and the one that says which rows count."""
        return self.inputs if self.available is None else (*self.inputs, self.available)

    def require_alike(self, base: ModelSpec) -> None:
        """Raises SpecInvalid for the first field in which a base to start from has another shape, or reads other channels."""
        asked, there = self.shape(), base.shape()
        for name in asked:
            if asked[name] != there[name]:
                raise SpecInvalid(name, asked[name], f"the base has {there[name]!r}: leave the field out, or take another base")

    def override(self, changes: Mapping[str, Any]) -> Self:
        """The same spec with some fields changed. Raises SpecInvalid for an unknown field or a value out of bounds."""
        _require_known(changes)
        return replace(self, **_typed(changes))

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> Self:
        """A spec of these fields. Raises SpecInvalid for an unknown field or a value out of bounds."""
        _require_known(members)
        return cls(**_typed(members))

    def as_dict(self) -> dict[str, Any]:
        """JSON form; `from_dict` reads it back."""
        # By name: dataclasses.asdict copies every member deeply, which is most of the time a batch of ten thousand takes to be accepted.
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        lists = {name: list(plain[name]) for name in _TUPLES}
        return plain | lists | {"split": {part: getattr(self.split, part) for part in Split.__dataclass_fields__}}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Of this release or another: fields that are missing take their defaults, unknown ones are passed over. Raises SpecInvalid."""
        return cls(**_typed(known(cls, stored)))

    def fingerprint(self) -> str:
        """Hash of all fields: two trainings with the same fingerprint ask for the same thing."""
        return _digest(self.as_dict())

    def signature(self, target: str) -> str:
        """Hash of what a consumer of a target's forecasts can see: target, horizon, network family. A change is a major version."""
        return _digest({"targets": [target], "horizon": self.horizon, "network": self.network})

    def shape(self) -> dict[str, Any]:
        """All that decides the shapes of the network's tensors and the meaning of its inputs: what a base must have in common."""
        return {"targets": len(self.targets)} | {name: getattr(self, name) for name in SHAPE}

    def shape_key(self) -> str:
        """Hash of all that decides tensor shapes and the training loop: jobs with the same key can train as one cohort."""
        return _shape_key(self)


@lru_cache(maxsize=256)
def _shape_key(spec: ModelSpec) -> str:
    """Found once for all the thousands of a batch."""
    counts = {name: len(getattr(spec, name)) for name in ("targets", "covariates", "future_covariates")}
    return _digest(spec.as_dict() | counts | {"cadence_s": None, "seed": None, "level": None})


def _require_known(members: Mapping[str, Any]) -> None:
    for name in members:
        if name not in ModelSpec.__dataclass_fields__:
            raise SpecInvalid(name, members[name], f"unknown field; known: {', '.join(sorted(ModelSpec.__dataclass_fields__))}")


def _typed(stored: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(stored)
    for name in _TUPLES:
        if name in values:
            values[name] = tuple(values[name])
    if isinstance(values.get("split"), Mapping):
        values["split"] = Split(**known(Split, values["split"]))
    return values


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]
