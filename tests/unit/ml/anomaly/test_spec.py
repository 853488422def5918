"""A detector's terms: bounded, told by field, and the same after a round trip."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from ml.anomaly.spec import BOUNDS, DetectorSpec
from ml.errors import SpecInvalid

SPEC = DetectorSpec(channels=("cpu", "memory"))


def test_it_comes_back_from_json() -> None:
    odd = SPEC.override({"trees": 50, "memory": 5_000, "cadence_s": 60.0, "alarm_rate": 0.01})
    again = DetectorSpec.from_dict(json.loads(json.dumps(odd.as_dict())))
    assert again == odd
    assert again.fingerprint() == odd.fingerprint() != SPEC.fingerprint()


def test_only_the_channels_are_seen_from_outside() -> None:
    assert SPEC.override({"trees": 50}).signature() == SPEC.signature()
    assert SPEC.override({"channels": ["cpu"]}).signature() != SPEC.signature()


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_every_field_is_bounded(name: str) -> None:
    low, high = BOUNDS[name]
    for value in (low - 1, high + 1, float("nan"), True, "7", None):
        with pytest.raises(SpecInvalid) as refused:
            SPEC.override({name: value})
        assert refused.value.field == name


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"channels": []}, "channels"),
        ({"channels": ["cpu", "cpu"]}, "channels"),
        ({"channels": [""]}, "channels"),
        ({"channels": [f"c{i}" for i in range(33)]}, "channels"),
        ({"memory": 99}, "memory"),
        ({"memory": 1000.5}, "memory"),
        ({"cadence_s": 0.5}, "cadence_s"),
        ({"trees": 50.5}, "trees"),
        ({"short": 40}, "medium"),
        ({"long": 30}, "medium"),
        ({"critical_rate": 0.01}, "critical_rate"),
        ({"contamination": 0.1}, "contamination"),
    ],
)
def test_the_field_at_fault_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecInvalid) as refused:
        SPEC.override(changes)
    assert refused.value.field == field
    assert refused.value.extra["errors"][0]["pointer"] == f"/spec/{field}"


def test_it_imports_no_numeric_library() -> None:
    asked = "import sys, ml.anomaly.spec; print([m for m in ('numpy', 'sklearn', 'torch', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.strip() == "[]"
