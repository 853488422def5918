"""The pictures of the pages: of docs/models.md, from real trainings of made-up series, and the states of a job. They come out the same.

    python -m bench.pictures

learning.svg    what each part of the rows decides, and one window with the steps ahead
blend.svg       who has which share in what serves, and what each would have been worth alone on rows nobody learned from
intervals.svg   three levels of intervals from one origin, and what came true
anomalies.svg   a series, how rare each row is by the detector, and what it called
lifecycle.svg   the states of a job, and who takes it from one to another, as `fleetcast lifecycle` tells; on the site in Mermaid's place

They have no background and middle greys, so that they can be read on white and on black.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.ours import Loud
from db.models import CANCELLED, FAILED, QUEUED, RUNNING, SUCCEEDED
from ml.anomaly.spec import DetectorSpec
from ml.anomaly.watch import detect, train_detector
from ml.baselines import PERSISTENCE, SEASONAL_NAIVE
from ml.fitted import Case, Fitted
from ml.forecaster import forecast
from ml.series import Floats, RawChannels
from ml.spec import ModelSpec
from ml.trainer import fit, prepare
from ops.lifecycle import NOWHERE, WAYS

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
START = datetime(2026, 1, 1, tzinfo=UTC)
HOURS = 1_440
#: Rows of the detector's series, which are five minutes apart.
BEATS = 4_000
SPEC = ModelSpec(targets=("load",), window=48, horizon=24, hidden_size=32, num_layers=1, epochs=30)
INK, BLUE, ORANGE, GREEN, VIOLET = "#808890", "#4c8df6", "#e8833a", "#2fa36b", "#a374e0"
#: The parts of the rows, and what each decides.
PARTS = (("fit", BLUE, "weights, scaler"), ("stop", VIOLET, "end"), ("calibrate", GREEN, "shares, gate"), ("test", ORANGE, "nothing"))
#: Where each state of a job stands, and how far the arrows between some of them bow.
PLACES = {NOWHERE: (-0.6, 1.0), QUEUED: (1.0, 1.0), RUNNING: (4.2, 1.0), SUCCEEDED: (7.4, 2.2), FAILED: (7.4, 1.0), CANCELLED: (7.4, -0.2)}
BENDS = {(NOWHERE, RUNNING): -0.45, (QUEUED, FAILED): 0.42, (QUEUED, CANCELLED): 0.42, (QUEUED, RUNNING): 0.15}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "fleetcast",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK),
}


def main() -> None:
    raw = _made_up(HOURS)
    case = prepare("e", raw, SPEC)
    [learned] = fit([case], SPEC, Loud())
    assert learned is not None
    _learning(case)
    _blend(learned[0])
    _intervals(raw)
    _anomalies()
    _lifecycle()


def _made_up(hours: int) -> RawChannels:
    """A daily and a weekly rhythm, a slow drift, and noise that remembers."""
    random, at = np.random.default_rng(7), np.arange(hours)
    noise = np.zeros(hours)
    for n in range(1, hours):
        noise[n] = 0.8 * noise[n - 1] + random.standard_normal()
    values = 50 + 8 * np.sin(2 * math.pi * at / 24) + 4 * np.sin(2 * math.pi * at / 168) + 0.004 * at + 1.2 * noise
    return {"load": (_stamps(hours, 60), values)}


def _stamps(number: int, minutes: int) -> Any:
    return np.datetime64(START.replace(tzinfo=None), "ms") + np.arange(number) * np.timedelta64(minutes * 60_000, "ms")


@contextmanager
def _picture(name: str, height: float = 3.0) -> Iterator[Figure]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.5, height), layout="constrained")
        yield figure
        figure.savefig(IMAGES / name, transparent=True, metadata={"Date": None})


def _learning(case: Case) -> None:
    values, parts = case.targets[:, 0], case.parts
    with _picture("learning.svg") as figure:
        axes = figure.add_subplot()
        axes.plot(values, color=INK, lw=0.6)
        for name, colour, decides in PARTS:
            part: slice = getattr(parts, name)
            begin, end = part.start or 0, len(values) if part.stop is None else part.stop
            axes.axvspan(begin, end, color=colour, alpha=0.16, lw=0)
            _say(axes, (begin + end) / 2, 1.02, f"{name}\n{decides}", colour)
        at = 400
        axes.axvspan(at, at + SPEC.window, color=INK, alpha=0.35, lw=0)
        axes.axvspan(at + SPEC.window, at + SPEC.window + SPEC.horizon, color=BLUE, alpha=0.45, lw=0)
        _say(axes, at + SPEC.window, 0.03, "window, then the steps ahead", INK)
        axes.set_xlabel("rows")


def _say(axes: Axes, row: float, height: float, text: str, colour: str) -> None:
    axes.annotate(text, (row, height), xycoords=("data", "axes fraction"), ha="center", color=colour, fontsize=8)


def _blend(learned: Fitted) -> None:
    assert learned.blend is not None
    plain = {"persistence": "last value", "seasonal_change": "seasonal change", "usual_level": "usual level"}
    names = plain | {"network": learned.spec.network}
    shares = {names.get(part, part): share for part, share in learned.blend.shares.items()}
    test = {name: parts["test"].mae for name, parts in learned.scores.items()}
    shown = {"last value": test[PERSISTENCE], "seasonal naive": test[SEASONAL_NAIVE], learned.spec.network: test[learned.spec.network]}
    with _picture("blend.svg", 2.4) as figure:
        left, right = figure.subplots(1, 2)
        _bars(left, shares, VIOLET, "share in what serves", "{:.0%}")
        _bars(right, shown | {"blend": test["blend"]}, BLUE, "mean absolute error on the test part", "{:.2f}")


def _bars(axes: Axes, found: dict[str, float], colour: str, title: str, how: str) -> None:
    axes.barh(list(found), list(found.values()), color=colour, alpha=0.8)
    axes.invert_yaxis()
    axes.set_title(title, loc="left", fontsize=10)
    for row, value in enumerate(found.values()):
        axes.annotate(how.format(value), (value, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.margins(x=0.15)


def _intervals(raw: RawChannels) -> None:
    """Of a version that was trained without the last day."""
    stamps, values = raw["load"]
    known = len(values) - SPEC.horizon
    before: RawChannels = {"load": (stamps[:known], values[:known])}
    [learned] = fit([prepare("e", before, SPEC)], SPEC, Loud())
    assert learned is not None
    ahead = np.arange(known, len(values))
    with _picture("intervals.svg") as figure:
        axes = figure.add_subplot()
        axes.plot(np.arange(known - 96, known), values[known - 96 : known], color=INK, lw=1.2, label="observed")
        for level, strength in ((0.95, 0.15), (0.8, 0.25), (0.5, 0.35)):
            [made] = forecast([(learned[0], before)], level=level)
            assert not isinstance(made, Exception)
            low, high = ([getattr(point, side) for point in made.points] for side in ("lower", "upper"))
            axes.fill_between(ahead, low, high, color=BLUE, alpha=strength, lw=0, label=f"{level:.0%}")
        axes.plot(ahead, [point.value for point in made.points], color=BLUE, lw=1.6, label="forecast")
        axes.plot(ahead, values[known:], color=ORANGE, lw=1.2, label="what came true")
        axes.legend(frameon=False, ncols=6, loc="lower left", bbox_to_anchor=(0, 1), fontsize=8)
        axes.set_xlabel("rows")


def _anomalies() -> None:
    values, odd = _watched()
    raw: RawChannels = {"cpu": (_stamps(BEATS, 5), values)}
    detector = train_detector("e", {"cpu": (raw["cpu"][0][:3_000], values[:3_000])}, DetectorSpec(channels=("cpu",)))
    found = detect(detector, raw, START + timedelta(minutes=5 * 3_000))
    begin = (found.rows.times - raw["cpu"][0][0]) // np.timedelta64(300_000, "ms")
    called = [round((each.at - START).total_seconds() / 300) for each in found.anomalies]
    with _picture("anomalies.svg", 3.6) as figure:
        above, below = figure.subplots(2, 1, sharex=True)
        above.plot(begin, values[begin], color=INK, lw=0.8)
        for row in called:
            above.axvline(row, color=ORANGE, lw=1.4)
        above.set_title("a channel, and where the detector called", loc="left", fontsize=10)
        below.plot(begin, found.rows.scores, color=BLUE, lw=0.8)
        for threshold, name in ((detector.warning, "warning"), (detector.critical, "critical")):
            below.axhline(threshold, color=ORANGE, lw=0.8, ls="--")
            below.annotate(name, (begin[0], threshold), (0, 2), textcoords="offset points", fontsize=8, color=ORANGE)
        below.set_title("its score: how rare such a row is", loc="left", fontsize=10)
        below.set_xlabel("rows")
    assert any(abs(row - at) < 12 for row in called for at in odd), "the picture shows what was found"


def _watched() -> tuple[Floats, tuple[int, ...]]:
    """A server's load with a stretch that hangs and a burst, and the rows where they begin."""
    random, at = np.random.default_rng(3), np.arange(BEATS)
    values = 30 + 6 * np.sin(2 * math.pi * at / 288) + random.standard_normal(BEATS)
    values[3_300:3_340] = values[3_300]
    values[3_700:3_712] += 25
    return values, (3_300, 3_700)


def _lifecycle() -> None:
    with _picture("lifecycle.svg", 3.8) as figure:
        axes = figure.add_subplot(xlim=(-0.7, 8.2), ylim=(-1.4, 2.6))
        axes.set_axis_off()
        for (before, after), ways in WAYS.items():
            _way(axes, before, after, ", ".join(dict.fromkeys(way.by for way in ways)))
        for state, place in PLACES.items():
            box = {"boxstyle": "round,pad=0.5", "facecolor": BLUE, "edgecolor": "none", "alpha": 0.85}
            if state != NOWHERE:
                axes.annotate(state, place, ha="center", va="center", color="white", bbox=box, zorder=3)


def _way(axes: Axes, before: str, after: str, who: str) -> None:
    """An arrow with the names of those who take a job along it; what leads back into the same state is told above it."""
    (x, y), (to_x, to_y) = PLACES[before], PLACES[after]
    if before == after:
        axes.annotate(f"↻ {who}", (x + 0.1, y - 0.5), ha="right", fontsize=7)
        return
    back = to_x < x
    bend = 0.28 if back else BENDS.get((before, after), 0.0)
    arrow = {"arrowstyle": "-|>", "color": INK, "shrinkA": 24, "shrinkB": 26, "connectionstyle": f"arc3,rad={bend}"}
    axes.annotate("", (to_x, to_y), (x, y), arrowprops=arrow)
    aside = bend * (to_x - x) * -0.5 + 0.13
    turned = math.degrees(math.atan2((to_y - y) * 1.05, to_x - x)) if not bend else 0.0
    axes.annotate(who, ((x + to_x) / 2, (y + to_y) / 2 + aside), ha="center", va="center", fontsize=7, color=ORANGE, rotation=turned)


if __name__ == "__main__":
    main()
