"""docs/scaling.md says what its arithmetic says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.scaling import CELL, DEVICES, MEASURED, PERSONS, assumptions, cell, needs, table

PAGE = (Path(__file__).parents[3] / "docs" / "scaling.md").read_text()


@pytest.mark.parametrize(("mark", "made"), [("assumptions", assumptions), ("needs", table), ("cell", cell)])
def test_the_pages_tables_are_those_of_the_arithmetic(mark: str, made: object) -> None:
    found = re.search(rf"<!-- {mark} -->\n(.*?)\n<!-- /{mark} -->", PAGE, re.DOTALL)
    assert found is not None
    assert callable(made)
    assert found[1] == made(), "print them with: python -m bench.scaling"


def test_by_hand() -> None:
    """Ten million persons of five daily channels, trained weekly for 0.3 s, on cores that are busy for 60 % of the time."""
    found = needs(PERSONS, replace(MEASURED, observation_bytes=100, artefact_bytes=1e5))
    assert (found["rows a day"], found["rows a second"]) == ("50 million", "579")
    assert found["observations, a year"] == "1.8 TB"
    assert found["trainings a second"] == "17"
    assert (found["cores that train"], found["the same within four hours a night"]) == ("8.3", "50")
    assert found["artefacts (5 kept)"] == "5.0 TB"
    assert needs(DEVICES)["rows a second"] == "5,556"


def test_a_cell_is_a_tenth() -> None:
    assert PERSONS.entities == CELL * 10
    assert needs(replace(PERSONS, entities=CELL))["rows a day"] == "5 million"
