"""Drawing a forecast: the recent past, the values to come, and the band they may be expected in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

#: Past steps drawn for each step forecast, and the least drawn at all.
PAST, LEAST = 8, 48
INK, BAND, PAST_INK, QUIET = "#1f5fbf", "#1f5fbf30", "#30343b", "#8a9099"
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e6e8eb",
    "xtick.color": PAST_INK,
    "ytick.color": PAST_INK,
}


def draw(past: pd.Series[float], entity: str, made: dict[str, Any], folder: Path) -> Path:
    """Write `<entity>-<target>.png`. `made` is a forecast as the API answers it; `past` is indexed by time."""
    seen = past.dropna().tail(max(LEAST, PAST * len(made["points"])))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.4), layout="constrained")
        axes = figure.add_subplot()
        _lines(axes, seen, made)
        _frame(axes, f"{entity}: {made['target']}", f"version {made['served_by']['version']}")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{_file_name(entity)}-{_file_name(made['target'])}.png"
        figure.savefig(path, dpi=120)
    return path


def _lines(axes: Axes, seen: pd.Series[float], made: dict[str, Any]) -> None:
    """The forecast and its band begin at the last value seen, whose error is none."""
    last = pd.DataFrame([{"at": seen.index[-1], **dict.fromkeys(("value", "lower", "upper"), seen.iloc[-1])}])
    points = pd.DataFrame(made["points"])[["at", "value", "lower", "upper"]]
    points = pd.concat([last, points.assign(at=pd.to_datetime(points["at"], utc=True))], ignore_index=True)
    axes.plot(seen.index, seen.to_numpy(), color=PAST_INK, lw=1.3, label="observed")
    axes.fill_between(points["at"], points["lower"], points["upper"], color=BAND, lw=0, label=f"{made['level']:.0%} interval")
    axes.plot(
        points["at"],
        points["value"],
        color=INK,
        lw=1.8,
        marker="o",
        ms=3.5,
        markevery=range(1, len(points)),
        label=f"forecast by {made['served_by']['kind']}",
    )
    axes.axvline(seen.index[-1], color=QUIET, lw=0.9, ls=(0, (3, 3)))


def _frame(axes: Axes, title: str, version: str) -> None:
    """Title and legend above the lines, never on them."""
    axes.set_title(title, loc="left", fontweight="bold", pad=28)
    axes.annotate(version, (1, 1), (0, 32), "axes fraction", "offset points", ha="right", color=QUIET)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3, borderaxespad=0.2, handlelength=1.6)
    locator = AutoDateLocator(minticks=4, maxticks=10)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.margins(x=0.01, y=0.08)


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:80]
