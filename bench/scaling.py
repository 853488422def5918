"""What would ten million entities take? The arithmetic of docs/scaling.md, from what was measured and what is assumed.

    python -m bench.scaling

Prints the tables of that page; a test holds the two together. Nothing is measured here: bytes come from `python -m bench.rows`, seconds of
trainings and forecasts from docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from bench.tables import markdown

DAY_S = 86_400
#: Bytes by the name of so many.
UNITS = {"TB": 1e12, "GB": 1e9, "MB": 1e6}


@dataclass(frozen=True)
class Measured:
    """What one thing takes: bytes with all indexes, CPU seconds of one core."""

    observation_bytes: float
    entity_bytes: float
    channel_bytes: float
    model_bytes: float
    version_bytes: float
    #: A finished job and its attempt.
    job_bytes: float
    forecast_bytes: float
    redis_bytes: float
    artefact_bytes: float
    #: One forecast through claim, pass and publication, in cohorts of 64.
    forecast_cpu_s: float


@dataclass(frozen=True)
class Fleet:
    """What is assumed of a fleet of ten million."""

    name: str
    entities: int
    channels: int
    #: Rows that each channel brings in a day, and forecasts that each entity is given.
    rows_a_day: float
    forecasts_a_day: float
    #: Days between two trainings of one entity, and CPU seconds of one (docs/benchmarks.md, by rows).
    days_between_trainings: float
    training_cpu_s: float
    #: Share of the time that a core is kept busy.
    busy: float = 0.6
    job_days: int = 30
    #: As many as what they were worth is told of.
    forecast_days: int = 90
    versions_kept: int = 5


MEASURED = Measured(
    observation_bytes=116,
    entity_bytes=276,
    channel_bytes=232,
    model_bytes=340,
    version_bytes=3_036 + 392,
    job_bytes=2_475 + 288,
    forecast_bytes=1_900,
    redis_bytes=10_731,
    artefact_bytes=254_077,
    forecast_cpu_s=0.0168,
)
PERSONS = Fleet("persons, daily", 10_000_000, channels=5, rows_a_day=1, forecasts_a_day=1, days_between_trainings=7, training_cpu_s=0.3)
DEVICES = Fleet("devices, hourly", 10_000_000, channels=2, rows_a_day=24, forecasts_a_day=4, days_between_trainings=7, training_cpu_s=1.0)
FLEETS = (PERSONS, DEVICES)
#: What a house of one Postgres is held to on this page: beyond that there are several.
CELL = 1_000_000


def needs(fleet: Fleet, one: Measured = MEASURED) -> Mapping[str, str]:
    """What the fleet takes, by what it is called on the page."""
    rows = fleet.entities * fleet.channels * fleet.rows_a_day
    trainings, forecasts = fleet.entities / fleet.days_between_trainings, fleet.entities * fleet.forecasts_a_day
    jobs = trainings + forecasts
    kept = jobs * fleet.job_days
    return {
        "rows a day": f"{rows / 1e6:,.0f} million",
        "rows a second": f"{rows / DAY_S:,.0f}",
        "observations, a year": _size(rows * 365 * one.observation_bytes),
        "entities, channels, models": _size(fleet.entities * (one.entity_bytes + fleet.channels * one.channel_bytes + one.model_bytes)),
        "versions' rows": _size(fleet.entities * fleet.versions_kept * one.version_bytes),
        "trainings a second": _few(trainings / DAY_S),
        "cores that train": _few(trainings * fleet.training_cpu_s / DAY_S / fleet.busy),
        "the same within four hours a night": _few(trainings * fleet.training_cpu_s / DAY_S / fleet.busy * 6),
        "forecasts a second": f"{forecasts / DAY_S:,.0f}",
        "cores that forecast": _few(forecasts * one.forecast_cpu_s / DAY_S / fleet.busy),
        f"forecasts kept ({fleet.forecast_days} days)": _size(forecasts * fleet.forecast_days * one.forecast_bytes),
        f"jobs kept ({fleet.job_days} days)": f"{kept / 1e6:,.0f} million, {_size(kept * one.job_bytes)}",
        "Redis, a day of status and answers": _size(jobs * one.redis_bytes),
        f"artefacts ({fleet.versions_kept} kept)": _size(fleet.entities * fleet.versions_kept * one.artefact_bytes),
        "files of them": f"{fleet.entities * fleet.versions_kept * 4 / 1e6:,.0f} million",
    }


def assumptions() -> str:
    """The fleets as a table."""
    told = [field.name for field in fields(Fleet) if field.name != "name"]
    rows = [[name.replace("_", " "), *(f"{getattr(fleet, name):,}" for fleet in FLEETS)] for name in told]
    return markdown(["assumed", *(fleet.name for fleet in FLEETS)], rows)


def table() -> str:
    """What they take."""
    return _compared("needed", FLEETS)


def cell() -> str:
    """What one of several houses takes, each of them a cell of the fleet."""
    return _compared("needed of a million", [replace(fleet, entities=CELL) for fleet in FLEETS])


def _size(number: float) -> str:
    unit, of_it = next(((name, size) for name, size in UNITS.items() if number >= size), ("MB", UNITS["MB"]))
    return f"{_few(number / of_it)} {unit}"


def _few(number: float) -> str:
    """Two digits of what is small."""
    return f"{number:,.1f}" if number < 10 else f"{number:,.0f}"


def _compared(head: str, fleets: Sequence[Fleet]) -> str:
    found = [needs(fleet) for fleet in fleets]
    return markdown([head, *(fleet.name for fleet in fleets)], [[name, *(each[name] for each in found)] for name in found[0]])


def main() -> None:
    for text in (assumptions(), table(), cell()):
        print(f"{text}\n")


if __name__ == "__main__":
    main()
