"""The strict fields: what each takes and what it refuses."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from marshmallow import ValidationError, fields

from webapp.schemas.fields import Decimal, Digits, Flag, Moment, Name, Plain, Real, Several, Text, Whole, Word, iso, moment, name_fault

REFUSED: list[tuple[fields.Field[Any], Any]] = [
    (Whole(), True),
    (Whole(), 1.0),
    (Whole(), "1"),
    (Whole(), None),
    (Whole(), 2**53 + 1),
    (Whole(1, 20), 0),
    (Whole(1, 20), 21),
    (Real(), True),
    (Real(), "1.5"),
    (Real(), float("nan")),
    (Real(), float("inf")),
    (Real(), 10**400),
    (Real(0.5, 0.99), 1.0),
    (Flag(), 1),
    (Flag(), "true"),
    (Flag(), None),
    (Text(high=3), "four"),
    (Text(), "a\0b"),
    (Text(), "a\nb"),
    (Text(), "\ud800"),
    (Text(), 7),
    (Name(), ""),
    (Name(), "x" * 201),
    (Word("a", "b"), "c"),
    (Word("a", "b"), ["a"]),
    (Several(Name(), 1, 2), []),
    (Several(Name(), 1, 2), ["a", "b", "c"]),
    (Several(Name(), 1, 2), {"a": 1}),
    (Several(Name(), 1, 2), "a"),
    (Several(Name(), 1, 2), [""]),
    (Moment(), 1767225600),
    (Moment(), "yesterday"),
    (Moment(), "0000-01-01T00:00:00Z"),
    (Moment(), "10000-01-01T00:00:00Z"),
    (Moment(), "0001-01-01T00:00:00+14:00"),
    (Moment(), "1899-12-31T23:59:59Z"),
    (Moment(), "2026-01-01+02:00"),
    (Moment(), "2026-01-01-05:00"),
    (Moment(), "2026-01-01\x0003:00"),
    (Moment(), "2026-01-01🦊03:00"),
    (Moment(), "2026-01-01T03:00:00+99:99"),
    (Moment(), "２０２６-01-01"),
    (Moment(), True),
    (Digits(1, 200), "0"),
    (Digits(1, 200), "201"),
    (Digits(1, 200), "1_0"),
    (Digits(1, 200), "٣"),
    (Digits(1, 200), " 5"),
    (Digits(1, 200), "5.0"),
    (Digits(1, 200), "9" * 5000),
    (Digits(1, 200), 5),
    (Decimal(0, 3600), "1e3"),
    (Decimal(0, 3600), "nan"),
    (Decimal(0, 3600), "9" * 400),
    (Decimal(0, 3600), "-0.1"),
    (Decimal(0, 3600), ""),
    (Plain(), []),
    (Plain(), {str(n): n for n in range(17)}),
    (Plain(), {"a": {"b": {"c": {"d": {"e": 1}}}}}),
    (Plain(), {"a": float("inf")}),
    (Plain(), {"a": 10**30}),
    (Plain(), {"a": "\0"}),
    (Plain(), {"\ud800": 1}),
    (Plain(), {"a": "x" * 5000}),
    (Plain(), {"a": [1] * 5000}),
]


@pytest.mark.parametrize(("field", "value"), REFUSED, ids=lambda case: repr(case)[:40])
def test_refused(field: fields.Field[Any], value: Any) -> None:
    with pytest.raises(ValidationError):
        field.deserialize(value)


TAKEN: list[tuple[fields.Field[Any], Any]] = [
    (Whole(1, 20), 20),
    (Real(), 3),
    (Real(), -1.5),
    (Flag(), False),
    (Text(high=3), "äöü"),
    (Name(), "realAWSCloudwatch/ec2_cpu: 5f.7"),
    (Word("a", "b"), "b"),
    (Several(Name(), 1, 2), ["a", "b"]),
    (Plain(), {"client": "ios", "tags": ["a", {"b": [1, 2.5, None, True]}]}),
]


@pytest.mark.parametrize(("field", "value"), TAKEN, ids=lambda case: repr(case)[:40])
def test_taken(field: fields.Field[Any], value: Any) -> None:
    assert field.deserialize(value) == value


class Counted(Name):
    """Remembers how many were looked at."""

    seen = 0

    def deserialize(self, value: Any, *_: Any, **about: Any) -> Any:
        self.seen += 1
        return super().deserialize(value, **about)


@pytest.mark.parametrize(("members", "seen"), [([""] * 50, 50), ([""] * 5_000, 100), (["a"] * 10_001, 0), (["a"] * 5_000, 5_000)])
def test_no_more_members_are_looked_at_than_can_matter(members: list[str], seen: int) -> None:
    """None of a list that is too long, and a hundred wrong ones of another."""
    inner = Counted()
    with contextlib.suppress(ValidationError):
        Several(inner, 1, 10_000).deserialize(members)
    assert inner.seen == seen


def test_of_a_large_object_only_the_beginning_is_weighed() -> None:
    """What would be refused for itself comes after the limit."""
    with pytest.raises(ValidationError, match="Longer than 4096 characters"):
        Plain().deserialize({"a": [*range(5_000), "\0"]})


def test_numbers_in_a_query() -> None:
    assert (Digits(1, 200).deserialize("200"), Decimal(0, 3600).deserialize("2.5")) == (200, 2.5)


@pytest.mark.parametrize(
    ("text", "hour"),
    [("2026-01-02T03:04:05Z", 3), ("2026-01-02T03:04:05+02:00", 1), ("2026-01-02T03:04:05", 3), ("2026-01-02 03:04", 3), ("2026-01-02", 0)],
)
def test_moments_are_in_utc(text: str, hour: int) -> None:
    read = moment(text)
    assert (read.tzinfo, read.hour) == (UTC, hour)


def test_iso_keeps_what_was_measured() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert iso(at) == "2026-01-02T03:04:05.678901Z"
    assert moment(iso(at)) == at


@pytest.mark.parametrize("name", ["user-42", "system.cpuUsage", "urn:dev:1", "Büro 3", "a/b"])
def test_names(name: str) -> None:
    assert name_fault(name) is None
