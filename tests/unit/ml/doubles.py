"""A reporter that writes down what it is told, small specs that train in a blink, and series whose future is partly known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ml.blend import BLEND, NETWORK, PARTS, Blend
from ml.errors import ModelError
from ml.fitted import Base, Case, Epoch, Fitted
from ml.networks import Network, build
from ml.spec import ModelSpec
from ml.trainer import fit, prepare
from tests.support.series import Raw, one, times

HOURLY = ModelSpec(targets=("value",), window=24, horizon=4, hidden_size=16, num_layers=1, epochs=12)
NETWORKS = ("lstm", "seq2seq")


@dataclass
class Diary:
    """Reporter double. `stop_after`: the epoch after which a member is told to stop."""

    stop_after: dict[int, int] = field(default_factory=dict)
    epochs: list[tuple[int, Epoch]] = field(default_factory=list)
    done: dict[int, tuple[Fitted, ...]] = field(default_factory=dict)
    broken: dict[int, ModelError] = field(default_factory=dict)
    beats: int = 0
    events: list[str] = field(default_factory=list)

    def epoch(self, member: int, epoch: Epoch) -> bool:
        self.epochs.append((member, epoch))
        self.events.append(f"epoch {member}")
        return epoch.number < self.stop_after.get(member, 10_000)

    def alive(self) -> None:
        self.beats += 1

    def fitted(self, member: int, fitted: tuple[Fitted, ...]) -> None:
        self.done[member] = fitted
        self.events.append(f"fitted {member}")

    def failed(self, member: int, error: ModelError) -> None:
        self.broken[member] = error
        self.events.append(f"failed {member}")


def train(raw: Raw, spec: ModelSpec, base: Base | None = None) -> Fitted:
    """The version of the one target."""
    [fitted] = train_all(raw, spec, base)
    return fitted


def train_all(raw: Raw, spec: ModelSpec, base: Base | None = None) -> tuple[Fitted, ...]:
    """A version per target."""
    [found] = fit([prepare("one", raw, spec, base)], spec, Diary())
    assert found is not None
    return found


def started(spec: ModelSpec, seed: int = 0, *, speaks: bool = True) -> Network:
    """A network of random weights; its head too, unless it is to begin at the last value."""
    network, generator = build(spec), torch.Generator().manual_seed(seed)
    network.start(generator)
    if speaks:
        torch.nn.init.normal_(network.head.weight, generator=generator)
    return network.eval()


def network_share(fitted: Fitted) -> float:
    """Of the blend that serves."""
    assert fitted.served_by == BLEND
    assert fitted.blend is not None
    return fitted.blend.shares[NETWORK]


def plainly(fitted: Fitted, name: str = "persistence") -> Fitted:
    """The same version served by a baseline."""
    return replace(fitted, served_by=name, blend=None)


def purely(fitted: Fitted, part: str = NETWORK) -> Fitted:
    """The same version served by a blend that is all network, or all of another part."""
    linear = fitted.blend and fitted.blend.linear
    return replace(fitted, served_by=BLEND, blend=Blend(dict.fromkeys(PARTS, 0.0) | {part: 1.0}, level=0.0, linear=linear))


def weights(fitted: Fitted) -> dict[str, torch.Tensor]:
    return fitted.network.state_dict()


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    """To the bit."""
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def spoiled(case: Case, values: np.ndarray) -> Case:
    """The same case holding other numbers: scaler, parts and what was observed stay."""
    return replace(case, values=values)


def promoted(rows: int = 300, *, ahead: int = 4, seed: int = 0, effect: float = 10.0) -> Raw:
    """Hourly sales that a promotion lifts in the same hour, and the promotions, which are known `ahead` hours longer."""
    random = np.random.default_rng(seed)
    promo = (random.random(rows + ahead) < 0.4).astype(np.float64)
    sales = 50 + effect * promo[:rows] + 0.3 * random.standard_normal(rows)
    return one(sales, name="sales") | {"promo": (times(rows + ahead, 3_600), promo)}


def climate(rows: int = 300, *, seed: int = 0) -> Raw:
    """Hourly temperature and humidity that mirror one another, each with noise of its own."""
    random, wave = np.random.default_rng(seed), np.sin(2 * np.pi * np.arange(rows) / 24)
    warm, damp = (noise * random.standard_normal(rows) for noise in (0.2, 1.0))
    return one(20 + 4 * wave + warm, name="temperature") | one(50 - 15 * wave + damp, name="humidity")
