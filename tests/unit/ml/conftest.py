"""One thread for all numbers, and a model trained once for all who only read it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from ml.fitted import Fitted
from ml.spec import ModelSpec
from tests.support import series
from tests.unit.ml.doubles import HOURLY, network_share, promoted, train


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shifted() -> tuple[Fitted, series.Raw]:
    """A blend that its network leads (the level shift is what it is good at), and the rows it learned from."""
    raw = series.level_shift(600)
    fitted = train(raw, HOURLY)
    assert network_share(fitted) > 0.3
    return fitted, raw


@pytest.fixture(scope="session")
def health() -> tuple[Fitted, series.Raw]:
    """A blend led by a network that reads covariates: sleep explains the next day."""
    raw = series.health(300, holes=0.03)
    spec = ModelSpec(
        targets=("rhr",),
        covariates=("asleep_min", "steps"),
        window=10,
        horizon=2,
        hidden_size=16,
        num_layers=1,
        epochs=60,
        cadence_s=86_400,
    )
    fitted = train(raw, spec)
    assert network_share(fitted) > 0.3
    return fitted, raw


@pytest.fixture(scope="session")
def walk() -> tuple[Fitted, series.Raw]:
    """A version that persistence serves: too few rows are held back to find a blend."""
    raw = series.random_walk(40, seed=1)
    fitted = train(raw, HOURLY)
    assert fitted.served_by == "persistence"
    return fitted, raw


@pytest.fixture(scope="session", params=["lstm", "seq2seq"])
def sales(request: pytest.FixtureRequest) -> tuple[Fitted, series.Raw]:
    """A blend led by a network of either kind that knows promotions ahead, as nothing but them explains the sales."""
    raw = promoted(300)
    spec = HOURLY.override({"targets": ["sales"], "future_covariates": ["promo"], "window": 8, "epochs": 40, "network": request.param})
    fitted = train(raw, spec)
    assert network_share(fitted) > 0.3
    return fitted, raw
