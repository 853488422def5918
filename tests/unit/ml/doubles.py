"""A reporter that writes down what it is told, and small specs that train in a blink."""

from __future__ import annotations

from dataclasses import dataclass, field

from ml.errors import ModelError
from ml.fitted import Epoch, Fitted
from ml.spec import ModelSpec
from ml.trainer import fit, prepare
from tests.support.series import Raw

HOURLY = ModelSpec(targets=("value",), window=24, horizon=4, hidden_size=16, num_layers=1, epochs=12)


@dataclass
class Diary:
    """Reporter double. `stop_after`: the epoch after which a member is told to stop."""

    stop_after: dict[int, int] = field(default_factory=dict)
    epochs: list[tuple[int, Epoch]] = field(default_factory=list)
    done: dict[int, Fitted] = field(default_factory=dict)
    broken: dict[int, ModelError] = field(default_factory=dict)
    beats: int = 0
    events: list[str] = field(default_factory=list)

    def epoch(self, member: int, epoch: Epoch) -> bool:
        self.epochs.append((member, epoch))
        self.events.append(f"epoch {member}")
        return epoch.number < self.stop_after.get(member, 10_000)

    def alive(self) -> None:
        self.beats += 1

    def fitted(self, member: int, fitted: Fitted) -> None:
        self.done[member] = fitted
        self.events.append(f"fitted {member}")

    def failed(self, member: int, error: ModelError) -> None:
        self.broken[member] = error
        self.events.append(f"failed {member}")


def train(raw: Raw, spec: ModelSpec, entity: str = "one") -> Fitted:
    case = prepare(entity, raw, spec)
    [fitted] = fit([case], spec, Diary())
    assert fitted is not None
    return fitted
