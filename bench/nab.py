"""The Numenta Anomaly Benchmark's score, from its rules: what one detection is worth, and what a whole corpus of them comes to.

Lavin & Ahmad 2015, "Evaluating Real-time Anomaly Detection Algorithms", doi:10.1109/ICMLA.2015.141; the corpus is v1.1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.series import Bools, Floats

Times = npt.NDArray[np.datetime64]
Rows = npt.NDArray[np.int64]

#: Rows at the beginning of a file that are never scored: this share of it, and of no more than so many rows.
PROBATION, PROBATION_OF = 0.15, 5_000


@dataclass(frozen=True, slots=True)
class Profile:
    """What a found window gains at best, and what a false alarm and a missed window cost."""

    found: float = 1.0
    false: float = 0.11
    missed: float = 1.0


PROFILES = {"standard": Profile(), "reward_low_FP_rate": Profile(false=0.22), "reward_low_FN_rate": Profile(missed=2.0)}


@dataclass(frozen=True, slots=True, eq=False)
class File:
    """One series with its labels. N rows."""

    name: str
    times: Times
    values: Floats
    #: First and last row of each window, both inside it.
    windows: tuple[tuple[int, int], ...]

    @property
    def group(self) -> str:
        return self.name.split("/")[0]

    @property
    def probation(self) -> int:
        """Rows that are never scored."""
        return int(PROBATION * min(len(self.times), PROBATION_OF))

    @property
    def scored(self) -> Bools:
        """(N,)"""
        return np.arange(len(self.times)) >= self.probation

    @property
    def window_of(self) -> Rows:
        """(N,) number of the window a row lies in, else -1."""
        found = np.full(len(self.times), -1)
        for number, (first, last) in enumerate(self.windows):
            found[first : last + 1] = number
        return found


def sigma(position: Floats) -> Floats:
    """Worth of a detection by its place, in widths of the window: near 1 at its left edge (-1), 0 at its right, -1 far beyond."""
    return np.where(position > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, 3.0))) - 1.0)


def weights(file: File, profile: Profile) -> Floats:
    """(N,) what a detection at each row adds: inside a window as if it were the only one there, outside what the false alarm costs."""
    rows = np.arange(len(file.times), dtype=np.float64)
    worth = np.full(len(rows), -profile.false)
    for first, last in file.windows:
        width = last - first + 1
        worth[last + 1 :] = profile.false * sigma((rows[last + 1 :] - last) / (width - 1.0))
        inside = slice(first, last + 1)
        worth[inside] = profile.found * sigma(-(last - rows[inside] + 1.0) / width) / sigma(np.array(-1.0))
    return worth


def raw_score(file: File, detected: Bools, profile: Profile) -> float:
    """Score of one file with (N,) detections. A window is worth its earliest detection."""
    counted = detected & file.scored
    worth, window_of = weights(file, profile), file.window_of
    total = float(worth[counted & (window_of < 0)].sum())
    for number in range(len(file.windows)):
        hits = np.flatnonzero(counted & (window_of == number))
        total += float(worth[hits[0]]) if len(hits) else -profile.missed
    return total


def normalised(raw: float, windows: int, profile: Profile) -> float:
    """A raw score on the scale where no detection at all is 0 and the first row of every window and nothing else is 100."""
    null = -profile.missed * windows
    return 100.0 * (raw - null) / (profile.found * windows - null)


def corpus_score(files: Iterable[File], detected: Mapping[str, Bools], profile: Profile) -> float:
    """Normalised score of many files together. Raises ZeroDivisionError when none of them has a window."""
    files = list(files)
    raw = sum(raw_score(file, detected[file.name], profile) for file in files)
    return normalised(raw, sum(len(file.windows) for file in files), profile)


def read(folder: Path) -> list[File]:
    """The corpus as it lies: rows as in the source, duplicates and gaps included."""
    windows = json.loads((folder / "combined_windows.json").read_text())
    table = pd.read_parquet(folder / "series.parquet", columns=["series", "timestamp", "value"])
    return [_file(str(name), rows, windows[f"{name}.csv"]) for name, rows in table.groupby("series", sort=True)]


def _file(name: str, rows: pd.DataFrame, windows: Sequence[Sequence[str]]) -> File:
    times = rows["timestamp"].dt.tz_localize(None).to_numpy().astype("datetime64[ms]")
    edges = tuple(_edges(times, *(np.datetime64(edge, "ms") for edge in window)) for window in windows)
    return File(name, times, rows["value"].to_numpy(dtype=np.float64), edges)


def _edges(times: Times, first: np.datetime64, last: np.datetime64) -> tuple[int, int]:
    inside = np.flatnonzero((times >= first) & (times <= last))
    return int(inside[0]), int(inside[-1])
