"""The test bench's shelf of series: which sets are measured, under which terms, and how each is read from FLEETCAST_TEST_DATA.

Nothing is copied: the files are read where they lie. Without the variable there is one set of generated series.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from ml.recipes import ACTIVITY, SLEEP, recipe
from ml.series import RawChannels
from ml.spec import ModelSpec

VARIABLE = "FLEETCAST_TEST_DATA"
#: Six CPU loads of NAB's realAWSCloudwatch.
AWS = (
    "ec2_cpu_utilization_24ae8d",
    "ec2_cpu_utilization_53ea38",
    "ec2_cpu_utilization_fe7f93",
    "ec2_cpu_utilization_c6585a",
    "rds_cpu_utilization_cc0c53",
    "rds_cpu_utilization_e47b3b",
)
BESIDE_WEATHER = ("humidity", "pressure", "wind_speed", "dewpoint")
WEEKS = {"window": 30, "horizon": 7, "hidden_size": 128}
#: Rows of `pv_pvplr` that are taken, the last ones: four months of quarter hours.
PV_ROWS = 12_000

Choice = Callable[[pd.DataFrame, str], list[str]]


@dataclass(frozen=True, slots=True)
class SeriesSet:
    """Series of one kind, asked for in the same terms."""

    name: str
    #: Folder below FLEETCAST_TEST_DATA.
    folder: str
    target: str
    #: Preset whose spec is taken, and what is asked differently.
    preset: str
    changes: Mapping[str, Any]
    #: Names of the series in the file, given all rows and the target.
    chosen: Choice
    #: What our network reads beside the target, and of that what is known ahead: of each series what most of its rows have.
    covariates: tuple[str, ...] = ()
    known_ahead: tuple[str, ...] = ()
    #: Last rows taken of each series; None takes all.
    rows: int | None = None
    #: Read where `folder` is empty.
    generated: Mapping[str, RawChannels] = field(default_factory=dict)

    @property
    def at_hand(self) -> bool:
        return not self.folder or _file(self.folder).is_file()

    def spec(self, raw: RawChannels = MappingProxyType({}), *, seed: int = 0) -> ModelSpec:
        """What is asked of our network: the target, with the channels of the set that most rows of `raw` have; without `raw` it alone."""
        there = {name for name, (_, values) in raw.items() if np.isfinite(values).mean() > 0.5}
        past, ahead = (tuple(name for name in names if name in there) for names in (self.covariates, self.known_ahead))
        asked = {**recipe(self.preset).spec, **self.changes, "seed": seed}
        return ModelSpec(targets=(self.target,), covariates=past, future_covariates=ahead).override(asked)

    def series(self) -> Iterator[tuple[str, RawChannels]]:
        """Name and channels of each series."""
        if not self.folder:
            yield from self.generated.items()
            return
        found = pd.read_parquet(_file(self.folder))
        for name in self.chosen(found, self.target):
            wanted = [channel for channel in (self.target, *self.covariates, *self.known_ahead) if channel in found]
            yield name.rpartition("/")[2], _channels(found[found["series"] == name], wanted, self.rows)


def series_sets(wanted: tuple[str, ...] = ()) -> list[SeriesSet]:
    """The `wanted` sets; with none named those whose file is at hand, and the generated one where none is.

    Raises ValueError for an unknown name, FileNotFoundError for a wanted set without its file.
    """
    known = {one.name: one for one in (*SETS, _generated())}
    if unknown := set(wanted) - set(known):
        raise ValueError(f"sets: {', '.join(sorted(unknown))} unknown; known: {', '.join(known)}")
    if not wanted:
        return [one for one in SETS if one.at_hand] or [known["generated"]]
    if absent := [name for name in wanted if not known[name].at_hand]:
        raise FileNotFoundError(f"sets: {', '.join(absent)} need {VARIABLE} to name the folder of their series")
    return [known[name] for name in wanted]


def _named(*names: str) -> Choice:
    return lambda found, _: [name for name in names if (found["series"] == name).any()]


def _longest(number: int) -> Choice:
    """The series with most values of the target; of equal ones the first by name."""

    def choose(found: pd.DataFrame, target: str) -> list[str]:
        rows = found.groupby("series")[target].count().sort_index().sort_values(ascending=False, kind="stable")
        return [str(name) for name in rows.index[:number]]

    return choose


def _all(found: pd.DataFrame, _: str) -> list[str]:
    return sorted(str(name) for name in found["series"].unique())


SETS = (
    SeriesSet("nab", "nab", "value", "device-metric", {}, _named(*(f"realAWSCloudwatch/{name}" for name in AWS))),
    SeriesSet("weather", "sensors_nycweather", "temperature", "device-metric", {"window": 24, "horizon": 12}, _all, BESIDE_WEATHER),
    SeriesSet("etth1", "etth1", "OT", "device-metric", {"window": 96, "horizon": 24}, _all),
    SeriesSet("health", "health_lifesnaps", "rhr", "health-daily", {}, _longest(8), ACTIVITY + SLEEP),
    SeriesSet("pv", "pv_pvplr", "P", "pv-power", {}, _all, ("Temp", "Irr"), rows=PV_ROWS),
    SeriesSet("prices", "prices_oj", "price", "device-metric", WEEKS, _longest(6), ("units_log",), ("deal", "feat")),
)


def _file(folder: str) -> Path:
    return Path(os.environ.get(VARIABLE) or "/nowhere") / folder / "series.parquet"


def _channels(found: pd.DataFrame, names: Iterable[str], rows: int | None) -> RawChannels:
    kept = found.sort_values("timestamp", kind="stable").tail(rows or len(found))
    stamps = kept["timestamp"].dt.tz_localize(None).to_numpy().astype("datetime64[ms]")
    return {name: (stamps, kept[name].to_numpy(dtype=np.float64)) for name in names}


def _generated() -> SeriesSet:
    series = {f"generated {seed}": {"value": wave(seed, 4_032)} for seed in range(3)}
    return SeriesSet("generated", "", "value", "device-metric", {}, _named(), generated=series)


def wave(seed: int, rows: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Every five minutes: a daily wave, noise that lasts, a level that shifts twice."""
    random = np.random.default_rng(seed)
    drift = pd.Series(random.standard_normal(rows)).ewm(halflife=20).mean().to_numpy() * 4
    level = 40 + 8 * (np.arange(rows) > rows * 0.4) - 5 * (np.arange(rows) > rows * 0.85)
    values = level + 5 * np.sin(2 * np.pi * np.arange(rows) / 288) + drift + 0.4 * random.standard_normal(rows)
    return np.datetime64("2026-01-01", "ms") + np.arange(rows) * np.timedelta64(300_000, "ms"), values
