"""The terms of a model: bounds told with field, value and fix; hashes that say which number of a version rises."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.errors import SpecInvalid
from ml.spec import BOUNDS, CHOICES, ModelSpec

SPEC = ModelSpec(("rhr",), ("steps",))


def between(name: str) -> st.SearchStrategy[float]:
    low, high = BOUNDS[name]
    return st.floats(low, high) if isinstance(getattr(SPEC, name), float) else st.integers(int(low), int(high))


@given(st.fixed_dictionaries({}, optional={name: between(name) for name in BOUNDS}))
def test_within_its_bounds_everything_is_taken_and_reads_back_the_same(changes: dict[str, Any]) -> None:
    spec = SPEC.override(changes)
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.as_dict()))) == spec


def test_the_json_form_is_whole() -> None:
    plain = json.loads(json.dumps(asdict(SPEC)))
    assert json.loads(json.dumps(SPEC.as_dict())) == plain


@pytest.mark.parametrize("name", BOUNDS)
def test_beyond_its_bounds_the_field_the_value_and_the_fix_are_told(name: str) -> None:
    low, high = BOUNDS[name]
    for value in (low - 1, high + 1, True):
        with pytest.raises(SpecInvalid) as told:
            SPEC.override({name: value})
        assert str(told.value) == f"{name} = {value!r}: must be between {low:g} and {high:g}"
        [fault] = told.value.extra["errors"]
        assert fault["pointer"] == f"/spec/{name}"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"targets": []}, "targets"),
        ({"covariates": ["rhr"]}, "covariates"),
        ({"cadence_s": 0.5}, "cadence_s"),
        ({"cadence_s": 32 * 86_400}, "cadence_s"),
        ({"split": {"fit": 0.9, "stop": 0.1, "calibrate": 0.1, "test": 0.1}}, "split"),
        ({"split": {"fit": 0.97, "stop": 0.01, "calibrate": 0.02, "test": 0.0}}, "split.test"),
        ({"colour": "red"}, "colour"),
        *[({name: "nonsense"}, name) for name in CHOICES],
    ],
)
def test_what_makes_no_sense_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecInvalid) as told:
        SPEC.override(changes)
    assert told.value.field == field


@pytest.mark.parametrize(
    ("changes", "fingerprint", "signature", "shape"),
    [
        ({}, True, True, True),
        ({"seed": 7}, False, True, True),
        ({"level": 0.8}, False, True, True),
        ({"hidden_size": 32}, False, True, False),
        ({"epochs": 9}, False, True, False),
        ({"covariates": ["sleep"]}, False, True, True),
        ({"covariates": []}, False, True, False),
        ({"horizon": 3}, False, False, False),
        ({"targets": ["hrv"]}, False, False, True),
    ],
)
def test_which_hash_sees_which_change(changes: dict[str, Any], fingerprint: bool, signature: bool, shape: bool) -> None:
    """fingerprint: the same request; signature: the same for consumers (else a major version); shape: may train together."""
    other = SPEC.override(changes)
    assert (other.fingerprint() == SPEC.fingerprint()) is fingerprint
    assert (other.signature() == SPEC.signature()) is signature
    assert (other.shape_key() == SPEC.shape_key()) is shape
