"""The test bench's pen: figures as markdown, and the means that stand in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with its first column to the left and the others to the right."""
    lines = [heads, [":--", *("--:" for _ in heads[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figure(number: float | None, digits: int = 3, unit: str = "") -> str:
    """A dash where there is none."""
    return "–" if number is None else f"{number:,.{digits}f}{unit}"


def mean(numbers: Iterable[float]) -> float | None:
    """None of no numbers."""
    found = list(numbers)
    return math.fsum(found) / len(found) if found else None


def geometric_mean(ratios: Iterable[float]) -> float | None:
    """None of no ratios. Raises ValueError for one that is not above 0."""
    logs = mean(math.log(ratio) for ratio in ratios)
    return None if logs is None else math.exp(logs)


def skill(mase: float, *naive: float) -> float | None:
    """1 − error / error of the best naive forecast; None where that one makes none."""
    best = min(naive)
    return 1 - mase / best if best else None
