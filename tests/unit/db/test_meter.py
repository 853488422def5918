"""The meter's arithmetic, without a server: what is counted from many threads, and what may be counted at all."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.breaker import make_redis
from db.meter import Meter, Undeclared
from db.readings import OTHER, Cells, Labels, Metric

HITS = Metric("t_hits_total", "counter", "Hits.", {"kind": ("a", "b")})
TIMES = Metric("t_seconds", "histogram", "Times.", {"route": None}, (0.1, 1.0, 10.0))
LEVEL = Metric("t_level", "gauge", "Level.")
STRANGER = Metric("t_hits_total", "counter", "Of the same name, and not in the catalogue.", {"kind": ("a", "b")})


@pytest.fixture
def meter() -> Meter:
    """Its Redis is away for good."""
    return Meter(make_redis("redis://127.0.0.1:1/0"), (HITS, TIMES, LEVEL))


def waiting(meter: Meter) -> dict[tuple[str, Labels], Cells]:
    return {(metric.name, labels): cells for (metric, labels), cells in meter._counts.items()}


def test_many_threads_lose_nothing(meter: Meter) -> None:
    def work(kind: str) -> None:
        for n in range(5_000):
            meter.count(HITS, kind)
            meter.observe(TIMES, n % 3, "/here")

    threads = [threading.Thread(target=work, args=(kind,)) for kind in "ab" * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = waiting(meter)
    assert found[("t_hits_total", ("a",))] == found[("t_hits_total", ("b",))] == [20_000]
    buckets, total = found[("t_seconds", ("/here",))][:-1], found[("t_seconds", ("/here",))][-1]
    assert (sum(buckets), total) == (40_000, 8 * sum(n % 3 for n in range(5_000)))


@given(st.lists(st.floats(0, 100)))
def test_each_value_falls_into_the_first_bucket_that_holds_it(values: list[float]) -> None:
    meter = Meter(make_redis("redis://127.0.0.1:1/0"), (TIMES,))
    for value in values:
        meter.observe(TIMES, value, "/")
    cells = waiting(meter).get(("t_seconds", ("/",)), TIMES.empty())
    within = [sum(value <= bound for value in values) for bound in TIMES.buckets]
    assert [sum(cells[: n + 1]) for n in range(3)] == within
    assert sum(cells[:-1]) == len(values)
    assert cells[-1] == pytest.approx(sum(values))


@pytest.mark.parametrize(("metric", "labels"), [(STRANGER, ("a",)), (HITS, ()), (HITS, ("a", "b")), (LEVEL, ("a",))])
def test_what_is_not_declared_is_a_mistake(meter: Meter, metric: Metric, labels: Labels) -> None:
    with pytest.raises(Undeclared, match=metric.name):
        meter.hold(metric, 1.0, *labels) if metric is LEVEL else meter.count(metric, *labels)


def test_values_from_outside_make_no_new_series(meter: Meter) -> None:
    for n in range(1000):
        meter.count(HITS, f"invented {n}")
    assert waiting(meter) == {("t_hits_total", (OTHER,)): [1000]}


def test_what_waits_for_redis_does_not_grow(meter: Meter) -> None:
    for _ in range(100):
        meter.count(HITS, "a")
        meter.observe(TIMES, 0.5, "/")
        assert not meter.flush()
    assert len(waiting(meter)) <= 2
    assert len(meter._packet) <= 2 * 3, "one packet under way, however long Redis is away"
    assert meter.read() is None


def test_a_bucket_of_another_release_is_sorted_in() -> None:
    assert [TIMES.place(cell) for cell in ("0.05", "0.1", "0.5", "2.0", "99.0", "inf", "sum")] == [0, 0, 1, 2, 3, 3, -1]
    assert [TIMES.place(cell) for cell in TIMES.cells()] == [0, 1, 2, 3, -1]
    assert [HITS.place(cell) for cell in HITS.cells()] == [-1]


@pytest.mark.parametrize(
    ("labels", "series"),
    [
        ({}, [()]),
        ({"kind": ("a", "b")}, [("a",), ("b",)]),
        ({"kind": ("a", "b"), "state": ("x",)}, [("a", "x"), ("b", "x")]),
        ({"kind": ("a",), "route": None}, []),
        ({"code": tuple(map(str, range(33)))}, []),
    ],
)
def test_series_shown_before_anything_is_counted(labels: dict[str, tuple[str, ...] | None], series: list[Labels]) -> None:
    assert Metric("t_total", "counter", "T.", labels).series() == series
