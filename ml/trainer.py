"""The mind's school: cases in, fitted models out. Reports outward by callback; knows no clock but its own, no storage, no queue."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ml.baselines import PERSISTENCE, naive_forecast
from ml.errors import FlatLine, InsufficientData, ModelError, SpecInvalid, TrainingDiverged
from ml.evaluation import answers, judge, origins_of
from ml.features import calendar, fit_scaler, season_of
from ml.fitted import LSTM, Case, Epoch, Fitted, moment
from ml.lessons import lesson
from ml.networks import DirectLstm
from ml.readiness import least_rows
from ml.requirement import Requirement
from ml.series import Floats, Notice, RawChannels, Series, is_flat, notice, regularise, split
from ml.spec import ModelSpec
from ml.windows import effective_window, futures

__all__ = ["Case", "Epoch", "Fitted", "Reporter", "fit", "prepare"]

#: Rows of an update per window of `batch_size`: 384 at the default. Fewer cost time, more cost accuracy (measured on four sets).
ROWS_PER_WINDOW = 12
#: Stop-part origins looked at after each epoch, evenly spaced: more cost time and choose no better.
STOP_ORIGINS = 128
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


class Reporter(Protocol):
    """Whom training reports to. Any method but `failed` may raise to stop everything."""

    def epoch(self, member: int, epoch: Epoch) -> bool:
        """After each epoch. False stops this member at once."""
        ...

    def alive(self) -> None:
        """After every batch; cheap."""
        ...

    def fitted(self, member: int, fitted: Fitted) -> None:
        """As soon as a member is done, before later ones go on."""
        ...

    def failed(self, member: int, error: ModelError) -> None:
        """This member cannot be learned; its mates go on."""
        ...


def prepare(entity: str, raw: RawChannels, spec: ModelSpec) -> Case:
    """Make one entity ready for training.

    Raises FeatureMissing, InsufficientData, FlatLine or UnusableData, each saying what is missing.
    """
    series, notices = regularise(entity, raw, spec)
    target = spec.targets[0]
    observed = series.observed[target]
    _require_rows(target, int(observed.sum()), least_rows(spec))
    if is_flat(series.channels[target]):
        raise FlatLine(f"{target} is {series.channels[target][0]:g} on all {int(observed.sum())} rows.", channel=target)
    parts = split(observed, spec.split)
    fitting = int(observed[parts.fit].sum())
    window = effective_window(spec, fitting)
    if window < spec.window:
        notices.append(notice("window_shortened", f"{fitting} rows to learn from allow {window} of {spec.window}.", window=window))
    values, season = series.matrix(spec.inputs), season_of(series.step_s)
    case = Case(
        series=series,
        spec=replace(spec, window=window),
        parts=parts,
        season=season,
        scaler=fit_scaler(values, parts.fit, window),
        values=values,
        phases=calendar(series.times, season),
        warnings=(*notices, *_vanished(series, spec, window)),
    )
    pairs = int(origins_of(case, parts.fit).counted.sum())
    if not pairs:
        raise InsufficientData([Requirement(f"{target}.window_rows_without_gaps", 0, window + spec.horizon, "row", False)])
    return case


def fit(cases: Sequence[Case], spec: ModelSpec, reporter: Reporter, device: str = "cpu") -> list[Fitted | None]:
    """Train one network per case, each from its own seed and stream of random numbers, and judge it.

    `spec` is the shape the cases share. A member that was stopped or failed is None. Raises SpecInvalid for a case of another shape.
    """
    _require_shape(cases, spec)
    return [_fit_one(member, case, reporter, device) for member, case in enumerate(cases)]


def _fit_one(member: int, case: Case, reporter: Reporter, device: str) -> Fitted | None:
    try:
        learned = _learn(member, case, reporter, device)
    except TrainingDiverged as error:
        reporter.failed(member, error)
        return None
    if learned is None:
        return None
    fitted = _fitted(case, *learned, reporter.alive)
    reporter.fitted(member, fitted)
    return fitted


def _learn(member: int, case: Case, reporter: Reporter, device: str) -> tuple[DirectLstm, tuple[Epoch, ...]] | None:
    """The network at its best epoch, on the CPU; None when the reporter said stop."""
    course = Course(case, reporter, device)
    for number in range(1, case.spec.epochs + 1):
        epoch = course.run(number)
        if not reporter.epoch(member, epoch):
            return None
        if number - epoch.best >= case.spec.patience:
            break
    return course.best_network(), tuple(course.history)


class Course:
    """One member's training: network, optimiser, rate, and the best weights so far."""

    def __init__(self, case: Case, reporter: Reporter, device: str) -> None:
        self.case, self.reporter = case, reporter
        self.lesson = lesson(case, device)
        self.check = StopPart(case)
        #: For the first weights and the order of chunks; dropout draws where the network lives.
        self.generator = torch.Generator().manual_seed(case.spec.seed)
        self.noise = torch.Generator(device).manual_seed(case.spec.seed)
        self.network = DirectLstm.of(case.spec)
        self.network.start(self.generator)
        self.network.to(device)
        self.averaged = copy.deepcopy(self.network)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), weight_decay=WEIGHT_DECAY, fused=True)
        self.history: list[Epoch] = []
        #: Epoch 0 is the untrained network, the last value itself: its loss is 1, and only a lower one is kept.
        self.best, self.best_loss, self.best_weights = 0, 1.0, self._weights()
        self.updates = 0

    def run(self, number: int) -> Epoch:
        """One epoch. Raises TrainingDiverged when the loss leaves the numbers."""
        began = time.perf_counter()
        train_loss, stop_loss = self._learn_once(), self.check.loss(self.averaged)
        if not math.isfinite(train_loss) or not math.isfinite(stop_loss):
            raise TrainingDiverged(f"The loss left the numbers in epoch {number}; a lower learning rate may help.", epoch=number)
        if stop_loss < self.best_loss:
            self.best, self.best_loss, self.best_weights = number, stop_loss, self._weights()
        epoch = Epoch(number, self.case.spec.epochs, train_loss, stop_loss, self.best, time.perf_counter() - began)
        self.history.append(epoch)
        return epoch

    def best_network(self) -> DirectLstm:
        self.averaged.load_state_dict(self.best_weights)
        return self.averaged.cpu().eval()

    def _learn_once(self) -> float:
        order = self.lesson.order(self.generator)
        updates = max(1, round(len(order) * self.lesson.length / (ROWS_PER_WINDOW * self.case.spec.batch_size)))
        total = 0.0
        for done, batch in enumerate(torch.tensor_split(order, updates)):
            share = (self.history[-1].number if self.history else 0) + done / updates
            total += self._update(batch, one_cycle(share / self.case.spec.epochs)) * len(batch)
            self.reporter.alive()
        return total / len(order)

    def _update(self, batch: Tensor, rate: float) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.case.spec.learning_rate * rate
        goals, counted = self.lesson.goals(batch)
        loss = _loss(self.case.spec.loss, self.network(self.lesson.inputs[batch], self.noise), goals, counted)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)
        self.optimiser.step()
        self._average()
        return float(loss.detach())

    @torch.no_grad()
    def _average(self) -> None:
        """The first updates count in full: a long memory of the zero head would hold a short training back."""
        self.updates += 1
        kept = min(AVERAGED, self.updates / (self.updates + 10))
        for mean, newest in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(newest, 1 - kept)

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.averaged.state_dict().items()}


class StopPart:
    """The stop part as it would be served: windows before their origins, scored against the last value."""

    def __init__(self, case: Case) -> None:
        found = origins_of(case, case.parts.stop)
        every = max(1, len(found) // STOP_ORIGINS)
        self.case, self.rows, self.counted = case, found.rows[::every], found.counted[::every]
        #: (N, H)
        self.truth = futures(case.target, self.rows, case.spec.horizon)
        self.naive = self._error(naive_forecast(PERSISTENCE, case.target, self.rows, case.spec.horizon, 1)) if len(self.rows) else 0.0

    def loss(self, network: DirectLstm) -> float:
        """Mean absolute error as a share of the last value's; 1 where there is nothing to tell by."""
        if self.naive == 0:
            return 1.0
        return self._error(answers(LSTM, self.case, network, self.rows)) / self.naive

    def _error(self, guess: Floats) -> float:
        return float(np.abs(self.truth - guess)[self.counted].mean())


def one_cycle(done: float) -> float:
    """The rate at a share `done` of all updates, as a share of its peak: up by a cosine, down by a cosine."""
    if done < WARM_UP:
        return RATE_START + (1 - RATE_START) * (1 - math.cos(math.pi * done / WARM_UP)) / 2
    return max((1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2, RATE_END)


def _loss(kind: str, forecast: Tensor, goals: Tensor, counted: Tensor) -> Tensor:
    """Mean over the counted pairs; 0 for a batch without one."""
    each = LOSSES[kind](forecast, goals, reduction="none")
    return (each * counted).sum() / counted.sum().clamp(min=1.0)


def _fitted(case: Case, network: DirectLstm, history: tuple[Epoch, ...], alive: Callable[[], None]) -> Fitted:
    judgement = judge(case, network, trained=history[-1].best > 0, alive=alive)
    times = case.series.times
    return Fitted(
        entity=case.series.entity,
        spec=case.spec,
        network=network,
        scaler=case.scaler,
        season=case.season,
        step=case.series.step,
        intervals=judgement.intervals,
        scores=judgement.scores,
        served_by=judgement.served_by,
        history=history,
        warnings=(*case.warnings, *judgement.warnings),
        data_from=moment(times[0]),
        data_until=moment(times[-1]),
        rows=int(case.observed.sum()),
        fit_until=moment(times[case.parts.fit.stop]),
    )


def _require_rows(target: str, have: int, need: int) -> None:
    if have < need:
        raise InsufficientData([Requirement(f"{target}.rows", have, need, "row", False)])


def _require_shape(cases: Sequence[Case], spec: ModelSpec) -> None:
    def shape(one: ModelSpec) -> tuple[int, ...]:
        return len(one.inputs), one.horizon, one.hidden_size, one.num_layers

    for case in cases:
        if shape(case.spec) != shape(spec):
            raise SpecInvalid("cases", shape(case.spec), f"a cohort has one shape (inputs, horizon, hidden size, layers): {shape(spec)}")


def _vanished(series: Series, spec: ModelSpec, window: int) -> list[Notice]:
    """Covariates with no value in the last window: the network will read them as missing."""
    gone = [name for name in spec.covariates if not np.isfinite(series.channels[name][-window:]).any()]
    return [notice("channel_vanished", f"{name} has no value in the last {window} rows.", channel=name) for name in gone]
