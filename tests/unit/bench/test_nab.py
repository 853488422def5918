"""The benchmark's scorer: cases worked out by hand, and the scale's two ends."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from bench.nab import PROFILES, File, Profile, corpus_score, normalised, raw_score, read, sigma, weights
from tests.support.series import test_data as data_folder

STANDARD = PROFILES["standard"]


def file(rows: int = 100, *windows: tuple[int, int]) -> File:
    times = np.datetime64("2026-01-01", "ms") + np.arange(rows) * np.timedelta64(60_000, "ms")
    return File("group/name", times, np.zeros(rows), windows)


def at(made: File, *rows: int) -> np.ndarray:
    detected = np.zeros(len(made.times), dtype=np.bool_)
    detected[list(rows)] = True
    return detected


FILE = file(100, (40, 49), (70, 79))


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES.keys())
def test_no_detection_is_nought_and_the_first_row_of_every_window_a_hundred(profile: Profile) -> None:
    assert corpus_score([FILE], {FILE.name: at(FILE)}, profile) == 0.0
    assert corpus_score([FILE], {FILE.name: at(FILE, 40, 70)}, profile) == pytest.approx(100.0)


def test_the_curve_is_the_published_one() -> None:
    np.testing.assert_allclose(sigma(np.array([-1.0, 0.0, 1.0, 3.0, 3.01, 9.0])), [0.98661430, 0.0, -0.98661430, -0.99999939, -1, -1])


@pytest.mark.parametrize(
    ("rows", "raw"),
    [
        ((), -2.0),
        ((40,), 1.0 - 1.0),
        ((40, 41, 49), 1.0 - 1.0),  # later ones in the same window add nothing
        ((49,), (2 / (1 + np.exp(-0.5)) - 1) / 0.98661430 - 1.0),  # one row before the right end: y = -0.1
        ((14,), -2.0),  # probation: not scored
        ((15,), -2.0 - 0.11),  # no window came before
        ((50,), -2.0 - 0.11 * (1 - 2 / (1 + np.exp(5 / 9)))),  # just after a window: y = 1/9
        ((69,), -2.0 - 0.11 * (1 - 2 / (1 + np.exp(5 * 20 / 9)))),
        ((99,), -2.0 - 0.11 * (1 - 2 / (1 + np.exp(5 * 20 / 9)))),
        ((20, 30), -2.0 - 0.22),
    ],
)
def test_cases_by_hand(rows: tuple[int, ...], raw: float) -> None:
    assert raw_score(FILE, at(FILE, *rows), STANDARD) == pytest.approx(raw, abs=1e-6)


def test_far_behind_its_window_a_false_alarm_costs_all_of_its_price() -> None:
    far = file(200, (40, 49))
    assert weights(far, STANDARD)[49 + 28] == -0.11  # 28 rows on: more than three widths less one
    assert weights(far, STANDARD)[49 + 27] > -0.11


def test_profiles_weigh_false_alarms_and_missed_windows() -> None:
    low_false, low_missed = PROFILES["reward_low_FP_rate"], PROFILES["reward_low_FN_rate"]
    assert raw_score(FILE, at(FILE, 20), low_false) == pytest.approx(-2.22)
    assert raw_score(FILE, at(FILE, 20), low_missed) == pytest.approx(-4.11)


def test_no_more_than_750_rows_are_on_probation() -> None:
    assert (file(1_127).probation, file(5_000).probation, file(22_695).probation) == (169, 750, 750)


def test_a_window_that_begins_on_probation_counts_from_where_it_is_scored() -> None:
    early = file(100, (10, 19))
    assert raw_score(early, at(early, 12), STANDARD) == -1.0
    assert raw_score(early, at(early, 15), STANDARD) > -1.0 + 0.5


@cache
def corpus() -> dict[str, File]:
    folder = data_folder()
    if folder is None:
        pytest.skip("FLEETCAST_TEST_DATA does not say where the benchmark lies")
    return {f"{file.name}.csv": file for file in read(folder / "nab")}


def published() -> pd.DataFrame:
    """Raw score and counts of each published detector, profile and file. `random` is a mean of runs, whose counts are another run's."""
    files, folder = corpus(), data_folder()
    assert folder is not None
    table = pd.read_csv(folder / "nab" / "published_scores_per_file.csv", keep_default_na=False)
    assert set(table["file"]) == set(files)
    return table[table["Detector"] != "random"]


@pytest.mark.parametrize(
    ("detector", "standard", "low_false", "low_missed"),
    [
        ("numenta", 70.10, 63.12, 74.32),
        ("randomCutForest", 51.72, 38.36, 59.75),
        ("windowedGaussian", 39.65, 20.87, 47.41),
        ("null", 0, 0, 0),
    ],
)
def test_published_raw_scores_add_up_to_the_leaderboard(detector: str, standard: float, low_false: float, low_missed: float) -> None:
    table = published()
    windows = sum(len(file.windows) for file in corpus().values())
    for (name, profile), score in zip(PROFILES.items(), (standard, low_false, low_missed), strict=True):
        raw = table[(table["Detector"] == detector) & (table["Profile"] == name)]["Score"].sum()
        assert normalised(raw, windows, profile) == pytest.approx(score, abs=0.01)


def test_windows_and_probation_are_the_published_ones() -> None:
    """Every published count of rows inside and outside of windows is that of our scored rows."""
    for row in published().to_dict("records"):
        file = corpus()[row["file"]]
        inside = int((file.scored & (file.window_of >= 0)).sum())
        assert (inside, int(file.scored.sum()) - inside) == (row["TP"] + row["FN"], row["TN"] + row["FP"])


def test_published_raw_scores_are_what_so_many_detections_can_be_worth() -> None:
    """Exact where there were none, or no window; within the cheapest and the dearest false alarms elsewhere."""
    costs = {(name, file): _outside(corpus()[file], profile) for name, profile in PROFILES.items() for file in corpus()}
    for row in published().to_dict("records"):
        outside, profile, windows = costs[row["Profile"], row["file"]], PROFILES[row["Profile"]], len(corpus()[row["file"]].windows)
        found = min(row["TP"], windows)
        least = outside[: row["FP"]].sum() - profile.missed * windows
        most = outside[len(outside) - row["FP"] :].sum() + found * profile.found - (windows - found) * profile.missed
        assert least - 1e-9 <= row["Score"] <= most + 1e-9
        if not windows:
            assert row["Score"] == pytest.approx(-profile.false * row["FP"])


def _outside(file: File, profile: Profile) -> np.ndarray:
    return np.sort(weights(file, profile)[file.scored & (file.window_of < 0)])
