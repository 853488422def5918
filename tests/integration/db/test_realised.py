"""Forecasts beside what happened: which count, which truth belongs to which step, and sums that a pencil agrees with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from db import entities, forecasts, observations, realised
from db.forecasts import Question
from db.models import Model, Version
from db.realised import Past, Sums
from db.session import Sessions
from tests.support import rows

DAY = timedelta(days=1)
#: Channel by channel: two cuts are three bins.
REFERENCE = {
    "step_s": 86_400.0,
    "season_steps": 7,
    "block_s": 7 * 86_400.0,
    "window_s": 14 * 86_400.0,
    "inputs": {"rhr": {"cuts": [57.5, 60.5], "below": [0.2, 0.8], "rows": 20, "apart": 1.0}},
    "by_step": [1.0, 2.0, 3.0],
    "errors": None,
}


@dataclass
class Told:
    """A version of a daily model whose last row was on the tenth day."""

    sessions: Sessions
    version: Version
    #: Forecasts stored, each of newer data than the one before.
    made: int = 0

    def observe(self, values: Sequence[float], *, channel: str = "rhr", start: datetime = rows.START, step: timedelta = DAY) -> None:
        with self.sessions.begin() as session:
            entity = entities.get(session, self.version.tenant_id, "user-42")
            observations.upsert(session, entity, rows.series(channel, values, start, step))

    def forecast(self, day: int, values: Sequence[float], *, width: float = 1.0, level: float = 0.9) -> None:
        """From the day's row, as a worker stores it."""
        origin, self.made = rows.START + day * DAY, self.made + 1
        points = [
            {"at": (origin + (n + 1) * DAY).isoformat(), "value": value, "lower": value - width, "upper": value + width}
            for n, value in enumerate(values)
        ]
        with self.sessions.begin() as session:
            model = session.get_one(Model, self.version.model_id)
            asked = Question(self.version.id, "rhr", self.made, len(values), level)
            how: dict[str, Any] = {"entity_id": model.entity_id, "job_id": "job_1", "data_until": origin, "body": {"points": points}}
            forecasts.store(session, self.version.tenant_id, asked, **how)

    def past(self, days: int = 90, most: int = 500) -> Past:
        with self.sessions() as session:
            found = realised.met(session, self.version.tenant_id, [self.version.id], days=days, most=most)
        return found.get(self.version.id, Past({}, {}))

    def counted(self) -> list[list[int]] | None:
        with self.sessions() as session:
            found = realised.counted(session, self.version.tenant_id, [self.version.id], {self.version.id: {"rhr": 3}})
        bars: list[list[int]] | None = found.get(self.version.id, {}).get("rhr")
        return bars


def told(sessions: Sessions, **fields: Any) -> Told:
    given = {"data_until": rows.START + 9 * DAY, "spec": {"horizon": 3}, "reference": REFERENCE} | fields
    with sessions.begin() as session:
        return Told(sessions, rows.publish(session, rows.model(session), **given))


@pytest.fixture
def house(sessions: Sessions) -> Told:
    return told(sessions)


def overall(past: Past) -> tuple[int, float]:
    """Pairs and absolute errors; the two groupings are of the same pairs."""
    steps = (sum(sums.n for sums in past.by_step.values()), sum(sums.error for sums in past.by_step.values()))
    assert steps == pytest.approx((sum(s.n for s in past.by_origin.values()), sum(s.error for s in past.by_origin.values())))
    return steps


def test_every_number_of_one_forecast(house: Told) -> None:
    house.observe([float(50 + n) for n in range(10)])
    house.forecast(9, [60.0, 60.0, 60.0], width=1.5)
    house.observe([60.5, 62.0], start=rows.START + 10 * DAY)
    past = house.past()
    # The last value is 59; the season before the two steps was the fourth and the fifth day, 53 and 54.
    assert past.by_step[1] == Sums(1, 0.5, 1.5, 7.5, 1, 0.9, 1.0, rows.START + 10 * DAY, rows.START + 10 * DAY)
    assert past.by_step[2] == Sums(1, 2.0, 3.0, 8.0, 0, 0.9, 2.0, rows.START + 11 * DAY, rows.START + 11 * DAY)
    assert past.by_step.keys() == {1, 2}, "of the third step nothing is known yet"
    assert past.by_origin == {rows.START + 9 * DAY: Sums(2, 2.5, 4.5, 15.5, 1, 1.8, 3.0, rows.START + 10 * DAY, rows.START + 11 * DAY)}


def test_many_forecasts_add_up_as_a_loop_has_it(house: Told) -> None:
    truth = [50 + 3.0 * (n % 7) + 0.37 * (n * n % 11) for n in range(60)]
    guess = {day: [truth[day] + 0.25 * step * (day % 5 - 2) for step in (1, 2, 3)] for day in range(9, 59)}
    house.observe(truth)
    for day, values in guess.items():
        house.forecast(day, values)
    past = house.past()
    pairs = [(day, step) for day in guess for step in (1, 2, 3) if day + step < 60]
    for step in (1, 2, 3):
        mine = [(day, truth[day + step]) for day, of in pairs if of == step]
        sums = past.by_step[step]
        assert sums.n == len(mine)
        assert sums.error == pytest.approx(sum(abs(value - guess[day][step - 1]) for day, value in mine))
        assert sums.last_value == pytest.approx(sum(abs(value - truth[day]) for day, value in mine))
        assert sums.season == pytest.approx(sum(abs(value - truth[day + step - 7]) for day, value in mine))
        assert sums.inside == sum(abs(value - guess[day][step - 1]) <= 1.0 + 1e-9 for day, value in mine)
    assert overall(past)[0] == len(pairs)


def test_of_several_forecasts_from_one_origin_the_first_counts(house: Told) -> None:
    house.observe([58.0] * 10)
    house.forecast(9, [59.0])
    house.forecast(9, [70.0])  # the data changed, the target's last row did not
    house.forecast(9, [70.0, 70.0], level=0.8)
    house.observe([58.0, 58.0], start=rows.START + 10 * DAY)
    assert overall(house.past()) == (1, 1.0)


def test_a_version_answers_for_its_own_forecasts_alone(house: Told) -> None:
    with house.sessions.begin() as session:
        other = Told(house.sessions, rows.publish(session, session.get_one(Model, house.version.model_id), reference=REFERENCE))
    house.observe([58.0] * 10)
    house.forecast(9, [59.0])
    other.forecast(9, [62.0])
    house.observe([58.0], start=rows.START + 10 * DAY)
    assert overall(house.past()) == (1, 1.0)
    assert overall(other.past()) == (1, 4.0)


@pytest.mark.parametrize(("late", "met"), [(-timedelta(hours=12), 1), (-timedelta(hours=12, seconds=1), 0), (timedelta(hours=11), 1)])
def test_a_truth_belongs_to_the_row_of_the_grid_that_it_is_nearest_to(house: Told, late: timedelta, met: int) -> None:
    house.observe([58.0] * 10)
    house.forecast(9, [59.0])
    house.observe([58.0], start=rows.START + 10 * DAY + late)
    house.observe([58.0], start=rows.START + 13 * DAY)
    assert overall(house.past())[0] == met


def test_of_several_rows_in_a_cell_the_last_is_the_truth(house: Told) -> None:
    house.observe([58.0] * 10)
    house.forecast(9, [59.0])
    house.observe([70.0, 58.5], start=rows.START + 10 * DAY - timedelta(hours=3), step=timedelta(hours=6))
    assert overall(house.past()) == (1, 0.5)


def test_a_truth_put_right_is_the_truth(house: Told) -> None:
    house.observe([58.0] * 10)
    house.forecast(9, [59.0])
    for value in (90.0, 58.0):
        house.observe([value], start=rows.START + 10 * DAY)
    assert overall(house.past()) == (1, 1.0)


def test_where_nothing_was_a_season_ago_the_last_value_stands_in(house: Told) -> None:
    house.observe([58.0], start=rows.START + 9 * DAY)
    house.forecast(9, [59.0])
    house.observe([61.0], start=rows.START + 10 * DAY)
    assert house.past().by_step[1].season == house.past().by_step[1].last_value == 3.0


def test_a_version_of_a_release_that_kept_no_reference_has_no_season(sessions: Sessions) -> None:
    house = told(sessions, reference=None)
    house.observe([58.0] * 10)
    house.forecast(9, [59.0])
    house.observe([58.0], start=rows.START + 10 * DAY)
    sums = house.past().by_step[1]
    assert (sums.n, sums.error, sums.last_value, sums.season, sums.usual) == (1, 1.0, 0.0, None, 0.0)
    assert house.counted() is None


def test_what_does_not_count_for_learning_is_no_truth(sessions: Sessions) -> None:
    """Not above 0, beyond what can be measured, or not on sale then."""
    house = told(sessions, spec={"horizon": 3, "positive": True, "available": "on_sale"})
    house.observe([58.0] * 10)
    house.observe([1.0] * 13 + [0.0, 1.0], channel="on_sale", start=rows.START + timedelta(minutes=5))
    house.forecast(9, [59.0] * 5)
    house.observe([0.0, 1e31, -3.0, 57.0, 60.0], start=rows.START + 10 * DAY)  # the fourth was not on sale
    assert {step: sums.error for step, sums in house.past().by_step.items()} == {5: 1.0}


def test_only_the_latest_origins_are_looked_at(house: Told) -> None:
    house.observe([58.0] * 40)
    for day in range(10, 39):
        house.forecast(day, [58.0])
    assert sorted(house.past(days=5).by_origin) == [rows.START + day * DAY for day in range(34, 39)]
    assert sorted(house.past(most=3).by_origin) == [rows.START + day * DAY for day in range(36, 39)]


def test_of_a_long_horizon_fewer_origins_are_looked_at(sessions: Sessions) -> None:
    house = told(sessions, spec={"horizon": 168})
    house.observe([58.0] * 80)
    for day in range(10, 79):
        house.forecast(day, [58.0])
    assert len(house.past().by_origin) == realised.FEWEST_ORIGINS


def test_another_tenant_sees_nothing(house: Told) -> None:
    house.observe([58.0] * 12)
    house.forecast(9, [59.0])
    with house.sessions.begin() as session:
        theirs = rows.tenant(session, "theirs").id
        assert realised.met(session, theirs, [house.version.id], days=90) == {}
        assert realised.counted(session, theirs, [house.version.id], {house.version.id: {"rhr": 3}}) == {}


@pytest.mark.parametrize(
    ("days", "bars"),
    [
        (6, None),  # no whole stretch yet
        (7, [[2, 3, 2]]),
        (13, [[2, 3, 2]]),  # the newest seven of them
        (15, [[2, 3, 2], [2, 3, 2]]),
        (40, [[2, 3, 2], [2, 3, 2]]),  # never more than the window
    ],
)
def test_the_newest_rows_are_counted_in_whole_stretches(house: Told, days: int, bars: list[list[int]] | None) -> None:
    """A week is 57, 57.5, 58, 59, 60.5, 61 and 57.4: a value on a cut lies above it."""
    week = [57.0, 57.5, 58.0, 59.0, 60.5, 61.0, 57.4]
    house.observe([99.0] * 10)  # it learned from these: never counted
    house.observe((week * 6)[:days], start=rows.START + 10 * DAY)
    assert house.counted() == bars


def test_rows_of_no_measurement_are_not_counted(house: Told) -> None:
    house.observe([58.0] * 10)
    house.observe([58.0, 1e31, 58.0, 58.0, 58.0, 58.0, 58.0], start=rows.START + 10 * DAY)
    assert house.counted() == [[0, 6, 0]]


def test_a_stretch_in_which_nothing_came_is_one_nevertheless(house: Told) -> None:
    house.observe([58.0] * 10)
    house.observe([57.0] * 2, start=rows.START + 14 * DAY)
    house.observe([61.0], start=rows.START + 30 * DAY)
    assert house.counted() == [[0, 0, 1]]
    house.observe([57.0], start=rows.START + 18 * DAY)
    assert house.counted() == [[1, 0, 0], [0, 0, 1]]
