"""Examples: one story of a person's watch, from the first delivery to the last word. The document shows them and a test runs them."""

from __future__ import annotations

from webapp.examples import (
    ahead,
    anomalies,
    backtests,
    bases,
    batches,
    deliveries,
    erasures,
    fleet,
    health,
    predictions,
    problems,
    recipes,
    schedules,
    trainings,
    versions,
    webhooks,
    what_ifs,
)
from webapp.examples.example import Example

#: In the order in which they happen: a later one speaks of what an earlier one made.
EXAMPLES: tuple[Example, ...] = (
    *recipes.CHAPTER,
    *deliveries.CHAPTER,
    *trainings.CHAPTER,
    *predictions.CHAPTER,
    *what_ifs.CHAPTER,
    *backtests.CHAPTER,
    *batches.CHAPTER,
    *versions.CHAPTER,
    *fleet.CHAPTER,
    *bases.CHAPTER,
    *ahead.CHAPTER,
    *anomalies.CHAPTER,
    *webhooks.CHAPTER,
    *schedules.CHAPTER,
    *health.CHAPTER,
    *problems.CHAPTER,
    *erasures.CHAPTER,
)
