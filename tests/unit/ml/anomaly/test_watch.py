"""The watch: it calls where something begins, names the channel, looks at nothing later, and says what is wrong with rows."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ml.anomaly import usual, watch
from ml.anomaly.detector import Detector, score_of
from ml.anomaly.spec import DetectorSpec
from ml.anomaly.watch import alarms, detect, onsets, score_rows, train_detector
from ml.errors import FeatureMissing, FlatLine, InsufficientData, UnusableData
from ml.series import moment
from tests.support import series

SPEC = DetectorSpec(channels=("cpu", "memory"), trees=20, short=3, medium=12, long=48, seasons=3)
ALONE = SPEC.override({"channels": ["cpu"]})
ROWS, LEARNED = 900, 700


def server(rows: int = ROWS, seed: int = 0) -> series.Raw:
    """Hourly: two metrics with a day's habit and noise of their own."""
    random = np.random.default_rng(seed)
    day = np.sin(2 * np.pi * np.arange(rows) / 24)
    cpu, memory = 40 + 8 * day + random.standard_normal(rows), 70 + 3 * day + 0.5 * random.standard_normal(rows)
    return {"cpu": (series.times(rows, 3_600), cpu), "memory": (series.times(rows, 3_600), memory)}


def cut(raw: series.Raw, first: int, last: int) -> series.Raw:
    return {name: (times[first:last], values[first:last]) for name, (times, values) in raw.items()}


def with_change(raw: series.Raw, name: str, rows: slice, by: float) -> series.Raw:
    times, values = raw[name]
    changed = values.copy()
    changed[rows] += by
    return raw | {name: (times, changed)}


def without(raw: series.Raw, rows: list[int]) -> series.Raw:
    return {name: (np.delete(times, rows), np.delete(values, rows)) for name, (times, values) in raw.items()}


@pytest.fixture(scope="module")
def detector() -> Detector:
    return train_detector("server", cut(server(), 0, LEARNED), SPEC)


def at(row: int) -> np.datetime64:
    return np.datetime64(series.START, "ms") + np.timedelta64(row, "h")


def test_a_spike_calls_at_its_row_and_names_its_channel(detector: Detector) -> None:
    raw = with_change(server(), "memory", slice(800, 801), 20.0)
    called = {alarm.at: alarm for alarm in detect(detector, raw, start=moment(at(LEARNED))).anomalies}
    alarm = called[moment(at(800))]
    first, second = alarm.contributions
    assert alarm.severity == "critical"
    assert (first.channel, second.channel) == ("memory", "cpu")
    assert first.share > 0.6
    assert first.share + second.share == pytest.approx(1.0)
    assert first.value == raw["memory"][1][800] > first.high > 70 > first.low
    assert detector.critical <= alarm.score <= 1


def test_a_level_that_shifts_for_good_calls_at_its_beginning_and_is_no_storm(detector: Detector) -> None:
    raw = with_change(server(), "cpu", slice(750, None), 60.0)
    called = [alarm.at for alarm in detect(detector, raw, start=moment(at(740))).anomalies]
    assert called[0] == moment(at(750))
    assert len(called) <= 2


def test_usual_rows_call_about_as_rarely_as_was_wished() -> None:
    raw = server(6_000, seed=3)
    learned = train_detector("server", cut(raw, 0, 3_000), SPEC.override({"alarm_rate": 0.01}))
    share = len(detect(learned, raw, start=moment(series.times(6_000, 3_600)[3_000])).anomalies) / 3_000
    assert 0.001 <= share <= 0.02


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(until=st.integers(LEARNED, ROWS - 1), jitter=st.integers(0, 600), seed=st.integers(0, 99))
def test_scores_and_alarms_of_a_prefix_are_the_prefix_of_them(detector: Detector, until: int, jitter: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    raw = without(with_change(server(seed=seed), "cpu", slice(780, 783), 25.0), [int(row) for row in random.integers(1, ROWS - 1, 20)])
    raw = {name: (times + random.integers(-jitter, jitter + 1, len(times)), values) for name, (times, values) in raw.items()}
    end = at(until) + np.timedelta64(1_799, "s")  # a row is whole once every channel's value of its hour is there
    early = {name: (times[times <= end], values[times <= end]) for name, (times, values) in raw.items()}
    part, whole = score_rows(detector, early), score_rows(detector, raw)
    np.testing.assert_array_equal(whole.times[: len(part.times)], part.times)
    np.testing.assert_array_equal(whole.scores[: len(part.times)], part.scores)
    last = moment(part.times[-1]) + timedelta(seconds=1)
    assert detect(detector, early).anomalies == detect(detector, raw, end=last).anomalies


def test_rows_farther_back_than_the_reach_do_not_matter(detector: Detector) -> None:
    raw = with_change(server(), "cpu", slice(850, 852), 30.0)
    start = moment(at(840))
    short = cut(raw, 840 - detector.reach, ROWS)
    assert detect(detector, short, start=start).anomalies == detect(detector, raw, start=start).anomalies != ()
    np.testing.assert_array_equal(score_rows(detector, short, start=start).scores, score_rows(detector, raw, start=start).scores)


def test_missing_rows_have_no_score_and_call_nothing(detector: Detector) -> None:
    rows = score_rows(detector, without(server(), [800, 801, 820]))
    assert [int(row) for row in np.flatnonzero(np.isnan(rows.scores))] == [800, 801, 820]
    assert len(rows.times) == ROWS


def test_a_row_that_misses_one_channel_is_judged_by_the_other(detector: Detector) -> None:
    raw = with_change(server(), "cpu", slice(800, 801), 40.0)
    times, memory = raw["memory"]
    raw["memory"] = (times, np.where(np.arange(ROWS) == 800, np.nan, memory))
    [alarm] = detect(detector, raw, start=moment(at(800)), end=moment(at(801))).anomalies
    assert [(each.channel, each.share) for each in alarm.contributions] == [("cpu", 1.0), ("memory", 0.0)]
    assert alarm.contributions[1].value is None


def test_a_channel_missing_at_detection_is_named(detector: Detector) -> None:
    with pytest.raises(FeatureMissing, match="memory") as refused:
        detect(detector, {"cpu": server()["cpu"]})
    assert refused.value.extra["channels"] == ["memory"]


def test_channels_without_rows_are_left_out_and_told() -> None:
    learned = train_detector("server", {"cpu": server()["cpu"], "memory": (series.times(3, 60), np.full(3, np.nan))}, SPEC)
    assert learned.channels == ("cpu",)
    assert {found["code"] for found in learned.warnings} >= {"channel_absent"}


def test_training_says_what_it_looked_at_and_how_often_it_will_call(detector: Detector) -> None:
    said = detector.summary()
    assert said["channels"] == ["cpu", "memory"]
    assert "memory: against the season" in said["features"]
    assert len(said["features"]) == 20
    assert said["contamination"]["asked"] == 1e-3
    assert 0 <= said["contamination"]["measured"] < 0.02
    assert said["thresholds"]["warning"] == pytest.approx(0.5) == score_of(1e-3)
    assert said["rows"] == {"observed": LEARNED, "held_back": 210}


def test_the_threshold_never_comes_from_the_rows_being_judged(detector: Detector) -> None:
    """A whole batch of odd rows stays odd: no share of it is usual because the rest is odd as well."""
    raw = with_change(server(), "cpu", slice(LEARNED, None), 500.0)
    rows = score_rows(detector, raw, start=moment(at(LEARNED)))
    assert (rows.scores >= detector.critical).mean() > 0.95


@pytest.mark.parametrize(
    ("raw", "error", "says"),
    [
        ({}, FeatureMissing, "no channels"),
        ({"disk": series.one(np.arange(200.0))["value"]}, FeatureMissing, "cpu"),
        (series.one(np.full(500, 7.0), name="cpu"), FlatLine, "never moved"),
        (series.one(np.random.default_rng(0).random(99), name="cpu"), InsufficientData, "99 of 100"),
        (series.one([1.0], name="cpu"), InsufficientData, "1 of 100"),
        (series.one(np.full(300, np.nan), name="cpu"), FeatureMissing, "cpu"),
        (series.one(np.full(300, 1e38), name="cpu"), FeatureMissing, "cpu"),
        (series.one(np.random.default_rng(0).random(200), step_s=86_400 * 60, name="cpu"), UnusableData, "month"),
    ],
    ids=["nothing", "other channel", "flat", "too few", "one row", "NaN", "1e38", "too slow"],
)
def test_rows_that_cannot_be_learned_from_are_refused_with_a_reason(raw: series.Raw, error: type[UnusableData], says: str) -> None:
    with pytest.raises(error, match=says):
        train_detector("server", raw, SPEC)


def test_dirty_rows_are_cleaned_and_told() -> None:
    times, values = server()["cpu"]
    order = np.random.default_rng(0).permutation(ROWS)
    spoilt = values.copy()
    spoilt[[5, 60, 130]] = [np.inf, 1e38, np.nan]
    twice = (np.concatenate([times[order], times[:4]]), np.concatenate([spoilt[order], spoilt[:4]]))
    learned = train_detector("server", {"cpu": twice}, ALONE)
    assert {found["code"] for found in learned.warnings} >= {"unusable_values", "duplicates", "out_of_order"}
    assert learned.rows == ROWS - 3


def test_a_flat_channel_beside_a_moving_one_is_watched_for_its_first_move() -> None:
    raw = server() | {"memory": (series.times(ROWS, 3_600), np.full(ROWS, 64.0))}
    learned = train_detector("server", cut(raw, 0, LEARNED), SPEC)
    assert {found["code"] for found in learned.warnings} >= {"flat_channel"}
    moved = with_change(raw, "memory", slice(800, 801), 1.0)
    [alarm] = detect(learned, moved, start=moment(at(800)), end=moment(at(801))).anomalies
    assert alarm.contributions[0].channel == "memory"


def test_a_memory_learns_from_the_newest_rows_alone() -> None:
    raw = with_change(server(), "cpu", slice(0, 400), 1_000.0)
    learned = train_detector("server", raw, ALONE.override({"memory": 400}))
    assert learned.rows == 400
    assert float(learned.usual.high[0]) < 100


def test_many_rows_are_judged_some_at_a_time_which_changes_no_score(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[int] = []
    whole = detect(detector, server())
    monkeypatch.setattr(usual, "ROWS_AT_ONCE", 100)
    found = detect(detector, server(), alive=lambda: beats.append(1))
    assert np.array_equal(found.rows.scores, whole.rows.scores, equal_nan=True)
    assert found.anomalies == whole.anomalies
    assert len(beats) == 1 + ROWS / 100


def test_training_says_that_it_is_alive() -> None:
    beats: list[int] = []
    train_detector("server", server(), ALONE, alive=lambda: beats.append(1))
    assert len(beats) >= 3


@given(st.lists(st.floats(0, 1), max_size=40), st.integers(0, 6))
def test_an_onset_is_a_row_over_the_threshold_after_quiet_ones(scores: list[float], quiet: int) -> None:
    found = onsets(np.array(scores), 0.5, quiet)
    expected = [score >= 0.5 and not any(s >= 0.5 for s in scores[max(0, row - quiet) : row]) for row, score in enumerate(scores)]
    assert found.tolist() == expected


def test_a_warning_that_becomes_critical_calls_again(detector: Detector) -> None:
    scores = np.array([0.0, detector.warning, detector.warning, detector.critical, detector.critical])
    assert alarms(scores, detector).tolist() == [False, True, False, True, False]


def test_of_very_many_alarms_the_newest_are_told_and_the_others_counted(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = with_change(with_change(server(), "cpu", slice(750, 752), 30.0), "cpu", slice(850, 852), 30.0)
    every = detect(detector, raw)
    assert len(every.anomalies) > 1
    monkeypatch.setattr(watch, "MOST_ALARMS", 1)
    last = detect(detector, raw)
    assert last.anomalies == every.anomalies[-1:]
    [said] = [found for found in last.warnings if found["code"] == "alarms_left_out"]
    assert said["alarms"] == len(every.anomalies) - 1


def test_seconds_now_and_then_over_months_are_a_grid_too_wide(detector: Detector) -> None:
    bursts = np.concatenate([at(0) + np.timedelta64(6 * day, "h") + np.arange(60) * np.timedelta64(1, "s") for day in range(300)])
    raw = {"cpu": (bursts, np.random.default_rng(0).random(len(bursts)))}
    with pytest.raises(UnusableData, match="take a shorter time, fewer channels, or a longer cadence_s"):
        train_detector("burst", raw, DetectorSpec(channels=("cpu",)))
