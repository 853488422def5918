"""The strict fields: what each takes and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from marshmallow import ValidationError, fields

from webapp.schemas.fields import Flag, Moment, Name, Plain, Real, Several, Text, Whole, Word, iso, moment, name_fault

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
