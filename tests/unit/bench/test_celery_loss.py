"""What plain Celery is found to have lost, from records made up here."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.celery_loss.plain import LEGS, work
from bench.celery_loss.record import FINISHED, STARTED, WIDTH, Losses, count, note


def line(mark: str, number: int) -> str:
    return f"{mark}{number:014d}\n"


@pytest.mark.parametrize(
    ("story", "found"),
    [
        ("s0 f0 s1 f1", Losses(lost=0, untouched=0, doubled=0, restarted=0)),
        ("s0 f0", Losses(lost=1, untouched=1, doubled=0, restarted=0)),
        ("s0 f0 s1", Losses(lost=1, untouched=0, doubled=0, restarted=0)),
        ("s0 s1 f1 s0 f0", Losses(lost=0, untouched=0, doubled=0, restarted=1)),
        ("s0 f0 s1 f1 s0 f0", Losses(lost=0, untouched=0, doubled=1, restarted=1)),
        ("s1 s1 s0 f0 s0 f0 s0 f0", Losses(lost=1, untouched=0, doubled=1, restarted=2)),
        ("", Losses(lost=2, untouched=2, doubled=0, restarted=0)),
    ],
)
def test_two_messages_and_what_became_of_them(story: str, found: Losses) -> None:
    assert count("".join(line(word[0], int(word[1:])) for word in story.split()), 2) == found


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_the_lines_does_not_matter(fates: list[tuple[int, int]], dice: random.Random) -> None:
    """Each message with so many starts and ends."""
    lines = [line(mark, number) for number, fate in enumerate(fates) for mark, times in zip("sf", fate, strict=True) for _ in range(times)]
    dice.shuffle(lines)
    assert count("".join(lines), len(fates)) == Losses(
        lost=sum(ends == 0 for _, ends in fates),
        untouched=sum(starts == ends == 0 for starts, ends in fates),
        doubled=sum(ends >= 2 for _, ends in fates),
        restarted=sum(starts >= 2 for starts, _ in fates),
    )


@pytest.mark.parametrize(
    "torn", [line("s", 2), line("x", 0), "s0000\n", line("s", 0)[:-2], "s0000000000000a\n", line("s", 0)[:-1] + line("f", 0), "\n"]
)
def test_a_line_that_no_task_wrote_is_refused(torn: str) -> None:
    with pytest.raises(ValueError, match=r"no line of a task|invalid literal"):
        count(line("s", 1) + torn, 2)


def test_a_task_writes_lines_that_are_counted_and_never_cross_a_page(tmp_path: Path) -> None:
    record = tmp_path / "record"
    work(str(record), 0)
    note(str(record), STARTED, 11_999)
    assert record.read_text() == line("s", 0) + line("f", 0) + line("s", 11_999)
    assert 4096 % WIDTH == 0
    assert all(len(each) == WIDTH for each in record.read_text().splitlines(keepends=True))
    assert count(record.read_text(), 12_000) == Losses(lost=11_999, untouched=11_998, doubled=0, restarted=0)
    assert (STARTED, FINISHED) == ("s", "f")


def test_the_legs_are_the_textbook_s_and_differ_in_nothing_else() -> None:
    safest, defaults = ({name: leg.conf[name] for name in ("task_acks_late", "task_reject_on_worker_lost")} for leg in LEGS)
    assert set(safest.values()) == {True}
    assert not any(defaults.values())
    assert LEGS[0].conf.broker_transport_options == LEGS[1].conf.broker_transport_options
