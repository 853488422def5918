"""Series to try things with: the same words print the same rows, and the rows are what they say."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from click.testing import CliRunner

from ops.samples import MADE, sample_command

STEPS = {"person": timedelta(days=1), "device": timedelta(minutes=5), "plant": timedelta(minutes=15), "variant": timedelta(days=1)}


def printed(*words: str) -> str:
    done = CliRunner().invoke(sample_command, list(words))
    assert done.exit_code == 0, done.output
    return done.output


def rows(*words: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(printed(*words))))


@pytest.mark.parametrize("what", MADE)
def test_the_same_words_print_the_same_rows_and_another_seed_prints_others(what: str) -> None:
    assert printed(what, "--days", "3") == printed(what, "--days", "3", "--seed", "1")
    assert printed(what, "--days", "3") != printed(what, "--days", "3", "--seed", "2")


@pytest.mark.parametrize("what", MADE)
def test_rows_stand_on_a_grid_and_every_cell_is_a_number(what: str) -> None:
    found = rows(what, "--days", "40")
    times = [datetime.fromisoformat(row.pop("at")) for row in found]
    assert {b - a for a, b in pairwise(times)} == {STEPS[what]}
    assert len(found) == timedelta(days=40) // STEPS[what]
    assert all(float(cell) >= 0 for row in found for cell in row.values())


def test_a_variant_that_is_not_to_be_had_has_no_price() -> None:
    found = rows("variant", "--days", "365")
    gone = [row for row in found if row["is_available"] == "0"]
    assert 5 < len(gone) < 40
    assert all((row["is_available"] == "0") == (float(row["price"]) == 0) for row in found)


def test_a_plant_makes_what_its_voltage_and_current_say() -> None:
    for row in rows("plant", "--days", "2"):
        assert float(row["U"]) * float(row["I"]) == pytest.approx(float(row["P"]), abs=1.0)


def test_the_newest_days_of_an_airport_are_the_end_of_all_of_them() -> None:
    whole, end = printed("JFK").splitlines(), printed("JFK", "--days", "2").splitlines()
    assert end == [whole[0], *whole[-48:]]
