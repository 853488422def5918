"""A source of files for tests: a folder with one CSV for each entity, which only workers can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

#: The channels that it says it has.
CHANNELS = ("rhr", "temperature", "humidity")


def lake(folder: Path, name: str = "lake", channels: Iterable[str] = CHANNELS) -> str:
    """As an operator writes it down."""
    named = ", ".join(f'"{channel}"' for channel in channels)
    head = f'[sources.{name}]\nkind = "files"\npath = "{folder}/{{entity}}.csv"\n'
    return f'\n{head}at = "at"\ntenants = ["*"]\nchannels = [{named}]\n'


def pour(folder: Path, entity: str, columns: Mapping[str, Iterable[float]], moments: Iterable[datetime]) -> None:
    """Write an entity's file anew."""
    rows = zip(moments, *columns.values(), strict=True)
    lines = [",".join(("at", *columns)), *(",".join((at.isoformat(), *map(str, values))) for at, *values in rows)]
    (folder / f"{entity}.csv").write_text("\n".join(lines) + "\n")
