"""What a night brought, as people read it."""

from __future__ import annotations

from typing import Any

import pytest

from ops import summary

TOLD: dict[str, Any] = {
    "recipe": "price-week",
    "base": "prices",
    "sink": "star",
    "entities": 24,
    "trained": 24,
    "forecasts": 24,
    "rows": 168,
    "skipped": [],
    "failed": [],
    "served_by": {"blend": 24},
    "seconds": 2.3,
    **dict.fromkeys(("median_skill", "median_mase", "median_coverage"), 0.5),
}


@pytest.mark.parametrize(("active", "goes_on"), [(24, False), (3, True), (0, True)])
def test_where_a_new_version_does_not_serve_the_one_before_does(active: int, goes_on: bool) -> None:
    first = summary.text(TOLD | {"active": active}).splitlines()[0]
    assert f"24 of 24 entities trained from the base prices, {active} of the versions active" in first
    assert first.endswith("the version before goes on forecasting") == goes_on
