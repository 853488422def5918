"""Real series where FLEETCAST_TEST_DATA names their folder, generated ones of the same shape where it does not."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

Points = dict[str, list[tuple[str, float]]]


def folder(name: str) -> Path | None:
    root = os.environ.get("FLEETCAST_TEST_DATA")
    path = Path(root) / name / "series.parquet" if root else None
    return path if path is not None and path.is_file() else None


def people() -> dict[str, Points]:
    """`rich` has months of everything, as has `second`; `poor` has fewer than 30 days of hrv_rmssd."""
    path = folder("health_lifesnaps")
    if path is None:
        return {"rich": _person(1, 150, 150), "second": _person(2, 120, 120), "poor": _person(3, 90, 12)}
    frame = pd.read_parquet(path)
    days = frame.groupby("series")[["rhr", "hrv_rmssd"]].count().sort_values("rhr")
    rich, second = days[days["hrv_rmssd"] >= 60].index[[-1, -2]]
    poor = days[(days["hrv_rmssd"].between(1, 25)) & (days["rhr"] >= 40)].index[-1]
    return {name: _points(frame[frame["series"] == user]) for name, user in (("rich", rich), ("second", second), ("poor", poor))}


def plant(rows: int = 2_000) -> Points:
    """A PV plant at 15 minutes: power and what drives it."""
    path = folder("pv_pvplr")
    if path is not None:
        return _points(pd.read_parquet(path).tail(rows)[["timestamp", "P", "Irr", "Temp"]])
    noise = random.Random(7)
    points: Points = {"P": [], "Irr": [], "Temp": []}
    for i in range(rows):
        sun = max(0.0, math.sin(2 * math.pi * (i % 96) / 96 - math.pi / 2)) * (0.7 + 0.3 * noise.random())
        for name, value in (("P", 3000 * sun), ("Irr", 1000 * sun), ("Temp", 10 + 15 * sun)):
            points[name].append((_at(timedelta(minutes=15) * i), value))
    return points


def devices() -> dict[str, Points]:
    """Devices at 5 minutes, one dotted channel each."""
    path = folder("nab")
    if path is None:
        return {f"host-{n}": {"system.cpuUsage": _load(n, 2_000)} for n in range(3)}
    frame = pd.read_parquet(path)
    wanted = sorted(name for name in frame["series"].unique() if "ec2_cpu" in name)[:3]
    kept = frame.rename(columns={"value": "system.cpuUsage"})[["series", "timestamp", "system.cpuUsage"]]
    return {name: _points(kept[kept["series"] == name].tail(2_000)) for name in wanted}


def _points(frame: pd.DataFrame) -> Points:
    at = frame["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    channels = [c for c in frame.columns if c not in ("series", "timestamp")]
    return {str(c): [(t, float(v)) for t, v in zip(at, frame[c], strict=True) if v == v] for c in channels}


def _person(seed: int, days: int, hrv_days: int) -> Points:
    noise = random.Random(seed)
    points: Points = {"rhr": [], "hrv_rmssd": [], "steps": [], "asleep_min": []}
    rate = 60.0
    for day in range(days):
        asleep, steps = 420 + noise.gauss(0, 40), 8_000 + noise.gauss(0, 2_000)
        rate += 0.3 * (60 - rate) - 0.01 * (asleep - 420) + noise.gauss(0, 0.5)
        figures: Mapping[str, float] = {"rhr": rate, "steps": steps, "asleep_min": asleep}
        for name, value in figures.items():
            points[name].append((_at(timedelta(days=day)), round(value, 3)))
        if day < hrv_days:
            points["hrv_rmssd"].append((_at(timedelta(days=day)), round(100 - rate + noise.gauss(0, 3), 3)))
    return points


def _load(seed: int, rows: int) -> list[tuple[str, float]]:
    noise = random.Random(seed)
    return [(_at(timedelta(minutes=5) * i), 40 + 20 * math.sin(2 * math.pi * i / 288) + noise.gauss(0, 2)) for i in range(rows)]


def _at(since: timedelta) -> str:
    return (datetime(2026, 1, 1, tzinfo=UTC) + since).isoformat().replace("+00:00", "Z")


def room(rows: int = 1_500) -> Points:
    """A room's temperature and humidity, hour by hour."""
    path = folder("sensors_nycweather")
    if path is not None:
        frame = pd.read_parquet(path)
        first = frame[frame["series"] == frame["series"].iloc[0]].tail(rows)
        return _points(first[["timestamp", "temperature", "humidity"]])
    noise = random.Random(11)
    points: Points = {"temperature": [], "humidity": []}
    for hour in range(rows):
        sun = math.sin(2 * math.pi * hour / 24)
        points["temperature"].append((_at(timedelta(hours=hour)), 20 + 4 * sun + noise.gauss(0, 0.3)))
        points["humidity"].append((_at(timedelta(hours=hour)), 50 - 8 * sun + noise.gauss(0, 1.0)))
    return points


def variants(number: int = 6, days: int = 90) -> dict[str, Points]:
    """Daily prices of product variants, with days on which a variant was not to be had (price 0). Promotions follow one weekly plan."""
    found: dict[str, Points] = {}
    for seed in range(number):
        noise, base = random.Random(seed), 20.0 + 7 * seed
        points: Points = {"price": [], "is_available": [], "promotion": []}
        for day in range(days + 14):
            promoted = day % 7 in (4, 5)
            gone = noise.random() < 0.05
            price = 0.0 if gone else round(base * (0.8 if promoted else 1.0) * (1 + noise.gauss(0, 0.01)), 2)
            points["promotion"].append((_at(timedelta(days=day)), float(promoted)))
            if day < days:
                points["price"].append((_at(timedelta(days=day)), price))
                points["is_available"].append((_at(timedelta(days=day)), 0.0 if gone else 1.0))
        found[f"variant-{seed}"] = points
    return found


def meals(days: int, seed: int = 5) -> Points:
    """What a person ate, day by day: no public set has it."""
    noise = random.Random(seed)
    points: Points = {"calories_in": [], "protein_g": [], "carbs_g": [], "fat_g": []}
    for day in range(days):
        calories = max(1_200.0, noise.gauss(2_200, 300))
        shares = {"calories_in": 1.0, "protein_g": 0.2 / 4, "carbs_g": 0.5 / 4, "fat_g": 0.3 / 9}
        for name, share in shares.items():
            points[name].append((_at(timedelta(days=day)), round(calories * share * (1 + noise.gauss(0, 0.05)), 1)))
    return points
