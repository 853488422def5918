"""What a spec declares is what is built from it, tensor by tensor."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.networks import build
from ml.shapes import declared
from ml.spec import CHOICES, ModelSpec

PLAIN = ModelSpec(("a",), hidden_size=8, num_layers=1, horizon=3, window=6)
#: What each field that decides a shape adds, alone and together.
CHANGES: list[dict[str, Any]] = [
    {},
    {"targets": ("a", "b", "c")},
    {"covariates": ("x", "y")},
    {"future_covariates": ("p",)},
    {"future_covariates": ("p", "q"), "horizon": 7},
    {"rolling": (3, 7)},
    {"covariates": ("x",), "rolling": (3, 7)},
    {"num_layers": 3},
    {"hidden_size": 16, "num_layers": 2},
    {"horizon": 24, "targets": ("a", "b")},
    {"dropout": 0.5, "available": "on", "positive": True, "window": 60},
    {"targets": ("a", "b"), "covariates": ("x",), "future_covariates": ("p",), "rolling": (4,), "num_layers": 2, "horizon": 5},
]


def built(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in build(spec).state_dict().items()}


@pytest.mark.parametrize("network", CHOICES["network"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: " ".join(change) or "plain")
def test_declared_is_built(network: str, change: dict[str, Any]) -> None:
    spec = PLAIN.override({"network": network, **change})
    assert declared(spec) == built(spec)
    assert {tensor.dtype for tensor in build(spec).state_dict().values()} == {torch.float32}


def names(prefix: str, low: int, high: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.integers(low, high).map(lambda count: tuple(f"{prefix}{n}" for n in range(count)))


SPECS = st.builds(
    ModelSpec,
    targets=names("t", 1, 4),
    covariates=names("c", 0, 4),
    future_covariates=names("f", 0, 3),
    rolling=st.lists(st.integers(2, 512), max_size=4).map(tuple),
    network=st.sampled_from(CHOICES["network"]),
    window=st.integers(2, 64),
    horizon=st.integers(1, 30),
    hidden_size=st.integers(8, 24),
    num_layers=st.integers(1, 4),
)


@given(SPECS)
@settings(max_examples=60, deadline=None)
def test_declared_is_built_whatever_the_spec(spec: ModelSpec) -> None:
    assert declared(spec) == built(spec)


def test_nothing_numeric_is_imported() -> None:
    """The web process has no numpy."""
    code = "import sys, ml.shapes, ml.weights; sys.exit(bool({'numpy', 'torch', 'safetensors'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
