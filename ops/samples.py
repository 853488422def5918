"""The command `sample`: series to try things with, the airports' as they were measured, the others made up from a seed."""

from __future__ import annotations

import csv
import math
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from ops.weather import AIRPORTS, airport

Cells = Mapping[str, Any]
#: A made-up series ends here, so that the same seed is the same file on every day.
UNTIL = datetime(2026, 6, 1, tzinfo=UTC)
DAY, QUARTER, FIVE_MINUTES = timedelta(days=1), timedelta(minutes=15), timedelta(minutes=5)


def person(seed: int, days: int) -> Iterator[Cells]:
    """Resting heart rate (bpm) and HRV (ms) by day, with the sleep and the steps that move them, and what was eaten."""
    noise, rate = random.Random(seed), 58.0
    for at in _moments(days, DAY):
        asleep, steps = noise.gauss(430, 45), max(500.0, noise.gauss(8_000, 2_500))
        rate += 0.3 * (58 - rate) - 0.012 * (asleep - 430) + noise.gauss(0, 0.6)
        eaten = max(1_200.0, noise.gauss(2_200, 300))
        yield {
            "at": at,
            "rhr": round(rate, 1),
            "hrv_rmssd": round(max(10.0, 45 - 1.5 * (rate - 58) + noise.gauss(0, 3)), 1),
            "asleep_min": round(asleep),
            "steps": round(steps),
            "calories_in": round(eaten),
            "protein_g": round(eaten * 0.05 * noise.uniform(0.9, 1.1), 1),
        }


def device(seed: int, days: int) -> Iterator[Cells]:
    """Four metrics of a host, every five minutes: busy by day, a disk that fills up and is tidied, traffic that follows the load."""
    noise, disk = random.Random(seed), 40.0 + seed % 7
    for at in _moments(days, FIVE_MINUTES):
        busy = 0.5 - 0.5 * math.cos(2 * math.pi * (at.hour + at.minute / 60 - 4) / 24)
        load = 15 + 45 * busy * (0.6 if at.weekday() >= 5 else 1.0) + noise.gauss(0, 3)
        disk = 40.0 if disk > 85 else disk + noise.uniform(0, 0.02)
        yield {
            "at": at,
            "cpu_usage": round(min(100.0, max(0.0, load)), 2),
            "memory_usage_percent": round(min(100.0, 35 + 0.4 * load + noise.gauss(0, 1)), 2),
            "disk_usage_percent": round(disk, 2),
            "network_total": round(max(0.0, 2_000 * load + noise.gauss(0, 5_000))),
        }


def plant(seed: int, days: int) -> Iterator[Cells]:
    """A photovoltaic plant, every quarter of an hour: power (W), voltage, current, module temperature (°C), irradiance (W/m²)."""
    noise, clouds = random.Random(seed), 0.2
    for at in _moments(days, QUARTER):
        clouds = min(0.9, max(0.0, clouds + noise.gauss(0, 0.05)))
        sun = max(0.0, -math.cos(2 * math.pi * (at.hour + at.minute / 60) / 24)) * (1 - clouds)
        power, volts = 5_000 * sun * noise.uniform(0.98, 1.02), 380.0 + noise.gauss(0, 2)
        yield {
            "at": at,
            "P": round(power, 1),
            "U": round(volts, 1),
            "I": round(power / volts, 3),
            "Temp": round(12 + 25 * sun + noise.gauss(0, 0.5), 1),
            "Irr": round(1_000 * sun, 1),
        }


def variant(seed: int, days: int) -> Iterator[Cells]:
    """The daily price of a product: a level of its own, deals on some weekends, and days on which it is not to be had (price 0)."""
    noise, level = random.Random(seed), 5.0 + 3 * (seed % 40)
    for at in _moments(days, DAY):
        level *= 1 + noise.gauss(0, 0.004)
        deal, gone = at.weekday() >= 4 and (at.toordinal() // 7 + seed) % 2 == 0, noise.random() < 0.05
        yield {"at": at, "price": 0.0 if gone else round(level * (0.85 if deal else 1.0), 2), "is_available": int(not gone)}


#: What is made up, and how many days of it unless told.
MADE: Mapping[str, tuple[Callable[[int, int], Iterator[Cells]], int]] = {
    "person": (person, 180),
    "device": (device, 14),
    "plant": (plant, 60),
    "variant": (variant, 120),
}


@click.command()
@click.argument("what", type=click.Choice([*AIRPORTS, *MADE]))
@click.option("--seed", default=1, show_default=True, help="Another seed is another person, device, plant or variant.")
@click.option("--days", default=None, type=click.IntRange(1, 3_650), help="The newest so many of them; a fair number unless told.")
def sample_command(what: str, seed: int, days: int | None) -> None:
    """Print series as CSV, to try things with: an airport's hourly weather, or a made-up person, device, plant or variant.

    The weather was measured in 2013. What is made up comes from the seed alone: the same words print the same rows on every day.
    """
    _print(airport(what, days) if what in AIRPORTS else _made(what, seed, days))


def _made(what: str, seed: int, days: int | None) -> Iterator[Cells]:
    make, enough = MADE[what]
    return make(seed, days or enough)


def _print(rows: Iterable[Cells]) -> None:
    """Under a header of the first row's columns; what was not measured is an empty cell."""
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(sys.stdout, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    return "" if value != value else value


def _moments(days: int, step: timedelta) -> Iterator[datetime]:
    """Every step of the days before `UNTIL`, oldest first."""
    steps = days * DAY // step
    return (UNTIL - (steps - n) * step for n in range(steps))
