"""When a schedule is due and when it fires: clocks that are changed, windows that cross midnight, jitter that stays the same."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.errors import SpecInvalid
from tasks.timetable import Timetable, Window, clock, require_cron, zone

VIENNA, ANCHOR = ZoneInfo("Europe/Vienna"), datetime(2026, 1, 1, tzinfo=UTC)


def timetable(there: ZoneInfo = VIENNA, anchor: datetime = ANCHOR, **about: Any) -> Timetable:
    return Timetable("sch_1", anchor, there, **about)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def due(table: Timetable, after: str, number: int) -> list[str]:
    return [f"{found.due_at:%m-%dT%H:%M}" for found in islice(table.upcoming(at(after)), number)]


#: What is asked for, by which clocks, from when on, and when it is due in UTC.
CLOCKS: dict[str, tuple[str, str, str, list[str]]] = {
    "a time that is skipped is due when clocks have": (
        "30 2 * * *",
        "Europe/Vienna",
        "2026-03-28T12:00Z",
        ["03-29T01:00", "03-30T00:30", "03-31T00:30"],
    ),
    "a time that comes twice is due once": (
        "30 2 * * *",
        "Europe/Vienna",
        "2026-10-24T12:00Z",
        ["10-25T00:30", "10-26T01:30", "10-27T01:30"],
    ),
    "looked at in the second of the two": ("30 2 * * *", "Europe/Vienna", "2026-10-25T01:10Z", ["10-26T01:30"]),
    "every half hour goes on through both": (
        "*/30 * * * *",
        "Europe/Vienna",
        "2026-10-25T00:15Z",
        ["10-25T00:30", "10-25T01:00", "10-25T01:30", "10-25T02:00"],
    ),
    "six in the morning is six in the morning": ("0 6 * * *", "Europe/Vienna", "2026-03-28T00:00Z", ["03-28T05:00", "03-29T04:00"]),
    "midnight itself is skipped": ("0 0 * * *", "Africa/Cairo", "2026-04-23T00:00Z", ["04-23T22:00", "04-24T21:00"]),
    "half an hour of summer": ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00Z", ["10-03T15:30", "10-04T15:15"]),
    "where there is no summer time": ("30 2 * * *", "UTC", "2026-03-28T12:00Z", ["03-29T02:30", "03-30T02:30"]),
    "the last day of each month": ("0 0 L * *", "UTC", "2026-01-31T00:00Z", ["02-28T00:00", "03-31T00:00"]),
    "a 29th of February": ("0 0 29 2 *", "UTC", "2026-01-01T00:00Z", ["02-29T00:00"]),
}


@pytest.mark.parametrize(("cron", "there", "after", "told"), CLOCKS.values(), ids=CLOCKS.keys())
def test_cron_by_the_clock_on_the_wall(cron: str, there: str, after: str, told: list[str]) -> None:
    assert due(timetable(ZoneInfo(there), cron=cron), after, len(told)) == told


def test_an_interval_is_counted_from_its_anchor_whenever_one_looks() -> None:
    hourly = timetable(anchor=at("2026-01-01T00:07Z"), every_s=3600)
    assert due(hourly, "2026-01-01T00:07Z", 2) == ["01-01T01:07", "01-01T02:07"]
    assert due(hourly, "2026-03-29T00:30Z", 3) == ["03-29T01:07", "03-29T02:07", "03-29T03:07"], "clocks do not matter to it"
    assert due(hourly, "2025-12-01T00:00Z", 1) == ["01-01T01:07"], "it never comes before its first"


def night(begin: str = "23:00", end: str = "02:00") -> Window:
    return Window(clock("from", begin), clock("to", end), VIENNA)


def test_what_is_due_outside_waits_for_the_opening_and_what_waits_together_is_one() -> None:
    hourly = timetable(cron="0 * * * *", window=night())
    assert due(hourly, "2026-01-05T12:00Z", 4) == ["01-05T22:00", "01-05T23:00", "01-06T00:00", "01-06T22:00"]
    noon = timetable(cron="0 12 * * *", window=night())
    assert due(noon, "2026-01-05T12:00Z", 2) == ["01-05T22:00", "01-06T22:00"], "asked after it was due, it still waits"
    assert due(timetable(anchor=at("2026-01-05T12:30Z"), cron="0 12 * * *", window=night()), "2026-01-05T12:30Z", 1) == ["01-06T22:00"], (
        "what was due before there was a schedule is not made up for"
    )


def test_a_night_whose_window_clocks_skip() -> None:
    assert due(timetable(cron="0 * * * *", window=night("02:00", "03:00")), "2026-03-27T12:00Z", 2) == ["03-28T01:00", "03-30T00:00"]


def test_jitter_is_the_same_each_time_and_another_for_each_schedule_and_run() -> None:
    [one, again] = [[d.fires_at - d.due_at for d in islice(timetable(cron="0 2 * * *", jitter_s=3600).upcoming(ANCHOR), 20)] for _ in "ab"]
    assert one == again
    assert len(set(one)) > 15
    assert all(timedelta() <= jitter < timedelta(hours=1) for jitter in one)
    others = {Timetable(f"sch_{n}", ANCHOR, VIENNA, "0 2 * * *", jitter_s=3600).after(ANCHOR) for n in range(20)}
    assert len(others) > 15


ZONES = st.sampled_from(["UTC", "Europe/Vienna", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "Asia/Kathmandu"])
CRONS = st.sampled_from(["30 2 * * *", "*/15 * * * *", "0 0 * * *", "59 23 * * 0", "0 1-3 * * *", "*/20 2 25-31 3,10 *", "5 4 1 * *"])
HOURS = st.times().map(lambda found: found.replace(second=0, microsecond=0))
MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis wants them so


@st.composite
def timetables(draw: st.DrawFn) -> Timetable:
    there = ZoneInfo(draw(ZONES))
    begin, end = draw(st.lists(HOURS, min_size=2, max_size=2, unique=True))
    when = draw(st.one_of(CRONS.map(lambda found: {"cron": found}), st.integers(60, 400_000).map(lambda found: {"every_s": found})))
    window = draw(st.sampled_from([None, Window(begin, end, there)]))
    return timetable(there, window=window, jitter_s=draw(st.sampled_from([0, 600, 86_400])), **when)  # type: ignore[arg-type]


@given(timetables(), MOMENTS)
def test_what_holds_of_every_timetable(table: Timetable, moment: datetime) -> None:
    """Runs come one after the other, later than asked, in the window with their jitter; and whoever asks later gets the same ones."""
    found = list(islice(table.upcoming(moment), 4))
    assert all(one.due_at < other.due_at for one, other in pairwise(found))
    for each in found:
        assert moment < each.due_at <= each.fires_at <= each.due_at + timedelta(seconds=table.jitter_s)
        assert table.opening(each.due_at) == each.due_at
        assert table.opening(each.fires_at) == each.fires_at
        assert each.due_at.utcoffset() == timedelta()
    if len(found) == 4:
        assert table.after(found[0].due_at + (found[1].due_at - found[0].due_at) / 2) == found[1]
        assert table.passed_over(moment, found[2].due_at, 100) == 3


@given(MOMENTS, st.lists(HOURS, min_size=2, max_size=2, unique=True), ZONES)
def test_a_window_is_open_by_the_clock_on_the_wall(moment: datetime, hours: list[time], there: str) -> None:
    begin, end = hours
    opening, shut = Window(begin, end, ZoneInfo(there)).open_at(moment)
    assert moment <= opening < shut <= opening + timedelta(hours=25)
    local = moment.astimezone(ZoneInfo(there))
    inside = begin <= local.time() < end if begin < end else not end <= local.time() < begin
    changed = {(local + timedelta(hours=hour)).utcoffset() for hour in (-26, 26)} != {local.utcoffset()}
    assert changed or (opening == moment) == inside


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("0 6 * *", "4 fields"),
        ("0 0 6 * * *", "6 fields"),
        ("60 6 * * *", "Bad minute"),
        ("0 6 * * MOO", "Bad day-of-week"),
        ("0 6 30 2 *", "Bad day-of-month"),
        ("@daily", "1 fields"),
        ("0 6 * * 1#6", "Bad day-of-week"),
    ],
)
def test_what_is_no_cron_expression(expression: str, fault: str) -> None:
    with pytest.raises(SpecInvalid, match=fault):
        require_cron(expression)


@pytest.mark.parametrize("name", ["", "Vienna", "Europe", "../etc/passwd", "/etc/passwd", "Europe/Vienna\n", "x" * 64, "UTC+2", "\u00e9"])
def test_what_is_no_time_zone(name: str) -> None:
    with pytest.raises(SpecInvalid, match="IANA"):
        zone(name)


@pytest.mark.parametrize("text", ["", "24:00", "7", "07:60", "07:00:00", "7h30", "-1:00"])
def test_what_is_no_time_of_day(text: str) -> None:
    with pytest.raises(SpecInvalid, match="03:30"):
        clock("from", text)
