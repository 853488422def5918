"""The mind's hour at the desk: one network learns one lesson until its stop parts no longer improve."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ml.answers import answers, origins_of, seen_from
from ml.baselines import PERSISTENCE
from ml.errors import ModelError, TrainingDiverged
from ml.fitted import Base, Case, Epoch, Fitted
from ml.lessons import Lesson
from ml.networks import Network, build, forecast_windows
from ml.series import Floats
from ml.spec import ModelSpec
from ml.windows import futures

#: Stop-part origins looked at after each epoch, evenly spaced: more cost time and choose no better.
STOP_ORIGINS = 64
WEIGHT_DECAY = 1e-3
GRADIENT_NORM = 1.0
#: Share of the averaged weights kept at each update (Polyak & Juditsky 1992). Judged and served are the averaged ones: 1–4 % less MASE than
#: the last ones on four sets, and the luck of the seed matters a quarter as much.
AVERAGED = 0.98
#: Share of the updates over which the one-cycle rate rises, and where it starts as a share of its peak (Smith 2018).
WARM_UP = 0.25
RATE_START = 0.1
#: Where it ends.
RATE_END = 1e-3
LOSSES: Mapping[str, Callable[..., Tensor]] = {"mae": functional.l1_loss, "mse": functional.mse_loss, "huber": functional.smooth_l1_loss}


class Watcher(Protocol):
    """Who watches one network learn. Either method may raise to stop everything."""

    def epoch(self, member: int, epoch: Epoch, /) -> bool:
        """After each epoch. False stops this member at once."""
        ...

    def alive(self) -> None:
        """After every batch and every stop part; cheap."""
        ...


class Reporter(Watcher, Protocol):
    """Whom the training of a cohort reports to. Any method but `failed` may raise to stop everything."""

    def fitted(self, member: int, fitted: tuple[Fitted, ...], /) -> None:
        """As soon as a member is done, one per target, before later ones go on."""
        ...

    def failed(self, member: int, error: ModelError, /) -> None:
        """This member cannot be learned; its mates go on."""
        ...


Weights = dict[str, Tensor]


@dataclass
class Progress:
    """How far one network has come, and what it was at its best.

    Epoch 0 is the network before the first update: without a base that is the last value itself, whose loss is 1.
    """

    spec: ModelSpec
    best_loss: float
    best_weights: Weights
    best: int = 0
    history: list[Epoch] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Epochs."""
        return len(self.history)

    @property
    def over(self) -> bool:
        return self.done == self.spec.epochs or self.done - self.best >= self.spec.patience

    def note(self, train_loss: float, stop_loss: float, weights: Callable[[], Weights], seconds: float) -> Epoch:
        """Write down one more epoch, and keep a copy of the weights if they are the best so far. Raises TrainingDiverged."""
        number = self.done + 1
        if not math.isfinite(train_loss) or not math.isfinite(stop_loss):
            raise TrainingDiverged(f"The loss left the numbers in epoch {number}; a lower learning rate may help.", epoch=number)
        if stop_loss < self.best_loss:
            self.best, self.best_loss, self.best_weights = number, stop_loss, weights()
        self.history.append(Epoch(number, self.spec.epochs, train_loss, stop_loss, self.best, seconds))
        return self.history[-1]


class Course:
    """One network's training: its lesson, the stop parts it is checked against, optimiser and rate."""

    def __init__(
        self, spec: ModelSpec, lesson: Lesson, checks: Sequence[StopPart], reporter: Watcher, device: str, base: Base | None = None
    ) -> None:
        self.spec, self.lesson, self.checks, self.reporter = spec, lesson, checks, reporter
        self.network, self.generator, self.noise = begun(spec, device, base)
        self.averaged = copy.deepcopy(self.network)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), weight_decay=WEIGHT_DECAY, fused=True)
        self.progress = Progress(spec, first_loss(1.0 if base is None else self._stop_loss()), self._weights())
        self.updates = 0

    def finish(self, member: int) -> Network | None:
        """The network at its best epoch, on the CPU; None when the reporter said stop. Raises TrainingDiverged."""
        while not self.progress.over:
            if not self.reporter.epoch(member, self.run()):
                return None
        self.averaged.load_state_dict(self.progress.best_weights)
        return self.averaged.cpu().eval()

    def run(self) -> Epoch:
        """One epoch. Raises TrainingDiverged when the loss leaves the numbers."""
        began = time.perf_counter()
        train_loss, stop_loss = self._learn_once(), self._stop_loss()
        return self.progress.note(train_loss, stop_loss, self._weights, time.perf_counter() - began)

    def _stop_loss(self) -> float:
        total = 0.0
        for check in self.checks:  # as many as there are entities
            total += check.loss(self.averaged)
            self.reporter.alive()
        return total / len(self.checks)

    def _learn_once(self) -> float:
        batches = self.lesson.batches(self.generator, self.spec.batch_size)
        total = 0.0
        for done, batch in enumerate(batches):
            total += self._update(batch, one_cycle((self.progress.done + done / len(batches)) / self.spec.epochs)) * len(batch)
            self.reporter.alive()
        return total / sum(map(len, batches))

    def _update(self, batch: Tensor, rate: float) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.spec.learning_rate * rate
        goals, counted = self.lesson.goals(batch)
        loss = _loss(self.spec.loss, self.network(self.lesson.inputs[batch], self.lesson.aheads(batch), self.noise), goals, counted)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)
        self.optimiser.step()
        self._average()
        return float(loss.detach())

    @torch.no_grad()
    def _average(self) -> None:
        self.updates += 1
        kept = kept_share(self.updates)
        for mean, newest in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(newest, 1 - kept)

    def _weights(self) -> Weights:
        return {name: tensor.detach().clone() for name, tensor in self.averaged.state_dict().items()}


class StopPart:
    """The stop part of one entity as it would be served: windows before their origins, scored against the last value."""

    def __init__(self, case: Case) -> None:
        found = origins_of(case, case.parts.stop)
        every = max(1, len(found) // STOP_ORIGINS)
        self.case, self.rows, self.counted = case, found.rows[::every], found.counted[::every]
        #: What the network sees there, which no training changes.
        self.view, self.ahead = seen_from(case, self.rows)
        #: (N, K, H)
        self.truth = futures(case.targets, self.rows, case.spec.horizon)
        #: (K,)
        self.naive = self._errors(answers(PERSISTENCE, case, None, self.rows))

    def loss(self, network: Network) -> float:
        """Mean absolute error as a share of the last value's, over the targets; 1 where there is nothing to tell by."""
        return self.loss_of(forecast_windows(network, self.view, self.ahead))

    def loss_of(self, said: Floats) -> float:
        """The same of (N, K, H) forecasts already in hand."""
        telling = self.naive > 0
        if not telling.any():
            return 1.0
        return float((self._errors(said)[telling] / self.naive[telling]).mean())

    def _errors(self, guess: Floats) -> Floats:
        """(K,) mean absolute error; 0 where no pair counts."""
        size = np.where(self.counted, np.abs(self.truth - guess), 0.0).sum(axis=(0, 2))
        errors: Floats = size / np.maximum(self.counted.sum(axis=(0, 2)), 1)
        return errors


def begun(spec: ModelSpec, device: str, base: Base | None) -> tuple[Network, torch.Generator, torch.Generator]:
    """A network before its first update, the numbers that order its chunks, and those of its dropout, which lives where it lives."""
    generator = torch.Generator().manual_seed(spec.seed)
    network = build(spec)
    network.start(generator)
    if base is not None:
        network.load_state_dict(base.network.state_dict())
    return network.to(device), generator, torch.Generator(device).manual_seed(spec.seed)


def first_loss(found: float) -> float:
    """What the first epoch must better: anything betters a base that answers no numbers."""
    return found if math.isfinite(found) else math.inf


def kept_share(updates: int) -> float:
    """Of the averaged weights. The first updates count in full: a long memory of the zero head would hold a short training back."""
    return min(AVERAGED, updates / (updates + 10))


def one_cycle(done: float) -> float:
    """The rate at a share `done` of all updates, as a share of its peak: up by a cosine, down by a cosine."""
    if done < WARM_UP:
        return RATE_START + (1 - RATE_START) * (1 - math.cos(math.pi * done / WARM_UP)) / 2
    return max((1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2, RATE_END)


def _loss(kind: str, forecast: Tensor, goals: Tensor, counted: Tensor) -> Tensor:
    """Mean over the counted pairs; 0 for a batch without one."""
    each = LOSSES[kind](forecast, goals, reduction="none")
    return (each * counted).sum() / counted.sum().clamp(min=1.0)
