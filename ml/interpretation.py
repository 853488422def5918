"""The mind's plain words: one or two sentences that say what the numbers of a forecast say, and nothing more. Never advice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

#: Fewest known rows that a forecast is compared with: fewer make no "usual".
FEWEST_ROWS = 7
#: Deviations from the average up to which a word is used (a quarter, one, two); beyond the last: "well".
WORDS = ((0.25, "close to"), (1.0, "slightly {side}"), (2.0, "{side}"), (float("inf"), "well {side}"))
#: Percentiles between which a value counts as usual: four days of five lie there.
USUAL = (10.0, 90.0)


@dataclass(frozen=True, slots=True)
class History:
    """What the newest rows of a target were like. Numbers are in its unit."""

    average: float
    deviation: float
    #: Share of the rows at or below the mean forecast, 0 to 100.
    percentile: float
    #: Days and known rows looked back on.
    days: float
    rows: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def interpret(mean: float, history: History, *, unit: str | None = None, direction: Literal["higher", "lower"] | None = None) -> str:
    """The mean forecast beside its history: how far from the average, whether that is usual, which side is better if that was declared."""
    if history.rows < FEWEST_ROWS:
        return f"About {_number(mean, unit)} on average; {history.rows} rows are too few to say what is usual."
    sentence = f"{_place(mean, history)} {_span(history.days)} average of {_number(history.average, unit)}; {_usual(history)}."
    return f"{sentence[0].upper()}{sentence[1:]}{_better(mean, history, direction)}"


def _place(mean: float, history: History) -> str:
    away = mean - history.average
    word = next(word for most, word in WORDS if abs(away) <= most * history.deviation or most == float("inf"))
    return word.format(side="above" if away > 0 else "below") + " the"


def _span(days: float) -> str:
    if days < 2:
        return f"{max(days * 24, 1):.0f}-hour"
    return f"{days:.0f}-day"


def _usual(history: History) -> str:
    low, high = USUAL
    if history.percentile > high:
        return f"higher than {history.percentile:.0f} % of that time"
    if history.percentile < low:
        return f"lower than {100 - history.percentile:.0f} % of that time"
    return "within the usual range"


def _better(mean: float, history: History, direction: Literal["higher", "lower"] | None) -> str:
    """Said only where the forecast is away from the average, and the channel declares which way is better."""
    if direction is None or abs(mean - history.average) <= WORDS[0][0] * history.deviation:
        return ""
    rising = mean > history.average
    good = rising == (direction == "higher")
    return f" {direction.capitalize()} is better for this channel; the forecast lies on {'that' if good else 'the other'} side."


def _number(value: float, unit: str | None) -> str:
    shown = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return shown if unit is None else f"{shown} {unit}"
