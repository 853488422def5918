"""Which sets are at hand, and how their series are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.sets import SETS, VARIABLE, series_sets


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def write(folder: Path, **series: list[float]) -> None:
    """A file of hourly series; NaN where a value is missing."""
    folder.mkdir()
    frames = [
        pd.DataFrame({"series": name, "timestamp": pd.date_range("2026-01-01", periods=len(rows), freq="h", tz="UTC"), "rhr": rows})
        for name, rows in series.items()
    ]
    pd.concat(frames).to_parquet(folder / "series.parquet")


@pytest.mark.parametrize("where", [None, "", "/nowhere/at/all"])
def test_without_the_data_there_is_the_generated_set_alone(where: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if where is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, where)
    [only] = series_sets()
    assert only.name == "generated"
    for _, raw in only.series():
        stamps, values = raw[only.target]
        assert len(stamps) == len(values) > 2_000
        assert np.isfinite(values).all()


def test_only_the_sets_whose_file_is_there_are_taken(data: Path) -> None:
    write(data / "health_lifesnaps", user01=[60.0, 61.0])
    assert [one.name for one in series_sets()] == ["health"]


def test_a_wanted_set_without_its_file_is_refused_by_name(data: Path) -> None:
    write(data / "health_lifesnaps", user01=[60.0, 61.0])
    with pytest.raises(FileNotFoundError, match=f"nab need {VARIABLE}"):
        series_sets(("health", "nab"))


def test_an_unknown_set_is_refused_with_those_there_are(data: Path) -> None:
    with pytest.raises(ValueError, match=r"tides unknown; known: nab, .*generated"):
        series_sets(("tides",))


def test_health_takes_the_eight_with_most_values_not_most_rows(data: Path) -> None:
    nan = float("nan")
    write(data / "health_lifesnaps", empty=[nan] * 50, **{f"user{n}": [60.0] * (10 + n) for n in range(9)})
    [health] = series_sets(("health",))
    names = [name for name, _ in health.series()]
    assert names == [f"user{n}" for n in range(8, 0, -1)]


def test_rows_are_in_the_order_of_time_and_stamps_are_utc(data: Path) -> None:
    write(data / "health_lifesnaps", user=[1.0, 2.0, 3.0])
    file = data / "health_lifesnaps" / "series.parquet"
    pd.read_parquet(file).iloc[::-1].to_parquet(file)
    [health] = series_sets(("health",))
    [(_, raw)] = health.series()
    stamps, values = raw["rhr"]
    assert values.tolist() == [1.0, 2.0, 3.0]
    assert stamps[0] == np.datetime64("2026-01-01T00:00:00", "ms")


@pytest.mark.parametrize("one", SETS, ids=lambda one: one.name)
def test_each_set_asks_for_a_spec_of_its_target_with_the_seed_given(one) -> None:  # type: ignore[no-untyped-def]
    assert one.spec(seed=3).inputs == (one.target,)
    assert one.spec(seed=3).seed == 3
    channels = (one.target, *one.covariates, *one.known_ahead)
    whole = {name: (np.arange(4), np.ones(4)) for name in channels}
    assert one.spec(whole).inputs == channels
    assert one.spec(whole).future_covariates == one.known_ahead
    torn = whole | {name: (np.arange(4), np.array([1.0, np.nan, np.nan, 1.0])) for name in channels[1:]}
    assert one.spec(torn).inputs == (one.target,)
