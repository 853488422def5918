"""Series for tests: generated ones whose truth is known, and real ones where FLEETCAST_TEST_DATA says they lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Points = tuple[npt.NDArray[Any], npt.NDArray[Any]]
Raw = dict[str, Points]

START = "2026-01-01T00:00:00"
DAY_S = 86_400


def times(rows: int, step_s: float, start: str = START) -> npt.NDArray[np.datetime64]:
    """(rows,) datetime64[ms] UTC."""
    return np.datetime64(start, "ms") + np.arange(rows) * np.timedelta64(round(step_s * 1000), "ms")


def one(values: npt.ArrayLike, step_s: float = 3_600, name: str = "value") -> Raw:
    """One channel on a regular grid."""
    numbers = np.asarray(values, dtype=np.float64)
    return {name: (times(len(numbers), step_s), numbers)}


def seasonal(rows: int = 600, *, noise: float = 0.1, seed: int = 0, level: float = 20.0, size: float = 5.0) -> Raw:
    """Hourly, a sine of one day and noise: what beats the last value and the last day alike."""
    random = np.random.default_rng(seed)
    hours = np.arange(rows)
    return one(level + size * np.sin(2 * np.pi * hours / 24) + size * noise * random.standard_normal(rows))


def random_walk(rows: int = 600, *, seed: int = 0) -> Raw:
    """Hourly; nothing beats the last value."""
    return one(100 + np.random.default_rng(seed).standard_normal(rows).cumsum())


def level_shift(rows: int = 600, *, at: float = 0.7, by: float = 100.0, seed: int = 0) -> Raw:
    """The seasonal series, lifted by `by` from the share `at` of its rows on."""
    (stamps, values) = seasonal(rows, seed=seed)["value"]
    return {"value": (stamps, values + np.where(np.arange(rows) >= at * rows, by, 0.0))}


def health(days: int = 120, *, holes: float = 0.05, seed: int = 0, effect: float = 3.0) -> Raw:
    """Daily resting heart rate that a short night raises the day after, with nights, steps, and holes in all of them."""
    random = np.random.default_rng(seed)
    asleep = 420 + 60 * random.standard_normal(days)
    steps = np.maximum(8_000 + 2_500 * random.standard_normal(days), 0)
    tired = np.concatenate([[0.0], (420 - asleep[:-1]) / 60])
    rhr = 60 + effect * tired + np.sin(2 * np.pi * np.arange(days) / 7) + 0.3 * random.standard_normal(days)
    stamps = times(days, DAY_S)
    whole = {"rhr": rhr, "asleep_min": asleep, "steps": steps}
    return {name: (stamps, np.where(random.random(days) < holes, np.nan, values)) for name, values in whole.items()}


def plant(days: int = 30, *, seed: int = 0) -> Raw:
    """A PV plant every 15 minutes: irradiance by day, clouds, power that follows it, nothing at night."""
    random = np.random.default_rng(seed)
    rows = days * 96
    hour = (np.arange(rows) % 96) / 4
    clear = np.maximum(np.sin(np.pi * (hour - 6) / 12), 0) * ((hour >= 6) & (hour <= 18))
    clouds = np.clip(1 - 0.5 * np.abs(pd.Series(random.standard_normal(rows)).rolling(8, min_periods=1).mean().to_numpy()), 0.1, 1)
    irradiance = 900 * clear * clouds
    air = 15 + 8 * np.sin(np.pi * (hour - 9) / 12) + 0.2 * random.standard_normal(rows)
    stamps = times(rows, 900)
    power = 3.0 * irradiance * (1 - 0.004 * (air - 25)) + np.where(irradiance > 0, 5 * random.standard_normal(rows), 0.0)
    return {"P": (stamps, power), "Irr": (stamps, irradiance), "Temp": (stamps, air)}


def device(rows: int = 1_500) -> Raw:
    """One server's CPU from the Numenta benchmark where FLEETCAST_TEST_DATA holds it, else something like it."""
    folder = test_data()
    if folder is None:
        return cpu(rows)
    found = pd.read_parquet(folder / "nab" / "series.parquet", filters=[("series", "==", "realAWSCloudwatch/ec2_cpu_utilization_825cc2")])
    return _channels(found.tail(rows), ["value"])


def person(least_days: int = 60) -> Raw:
    """One user's days from LifeSnaps where FLEETCAST_TEST_DATA holds them, else a generated one."""
    folder = test_data()
    if folder is None:
        return health(max(least_days, 120))
    found = pd.read_parquet(folder / "health_lifesnaps" / "series.parquet", filters=[("series", "==", "user54")])
    return _channels(found, ["rhr", "asleep_min", "steps"])


def cpu(rows: int, *, seed: int = 0) -> Raw:
    """Every five minutes: a daily wave, bursts that last, a shifted level halfway."""
    random = np.random.default_rng(seed)
    bursts = pd.Series(random.random(rows) < 0.01).rolling(12, min_periods=1).max().to_numpy() * 8
    wave = 4 * np.sin(2 * np.pi * np.arange(rows) / 288)
    level = np.where(np.arange(rows) > rows / 2, 35.0, 30.0)
    return one(level + wave + bursts + 0.5 * random.standard_normal(rows), 300)


def test_data() -> Path | None:
    """The folder with the real sets, if there is one."""
    named = os.environ.get("FLEETCAST_TEST_DATA")
    return Path(named) if named else None


def _channels(found: pd.DataFrame, names: list[str]) -> Raw:
    stamps = found["timestamp"].dt.tz_localize(None).to_numpy().astype("datetime64[ms]")
    return {name: (stamps, found[name].to_numpy(dtype=np.float64)) for name in names}
