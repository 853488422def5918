"""The named points are still where the campaign believes them to be."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.chaos.points import OF_COHORTS, OF_SCHEDULES, POINTS, Point


@pytest.mark.parametrize("point", [*POINTS, *OF_COHORTS, *OF_SCHEDULES], ids=lambda point: point.name)
def test_the_function_is_there(point: Point) -> None:
    owner = import_module(point.module)
    for name in point.function.split("."):
        owner = getattr(owner, name)
    assert callable(owner)


def test_there_are_more_than_thirty_of_them() -> None:
    assert len({point.name for point in POINTS}) == len(POINTS) >= 30
