"""The mind's classroom: many entities' networks of one shape learn at once, each as if alone; for devices one small LSTM leaves idle.

Every member has its own random numbers, batches, rate, optimiser state, early stop and best weights; only the arithmetic is shared.
E members, B chunks each, L rows, F inputs, K targets, H steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ml.course import GRADIENT_NORM, LOSSES, WEIGHT_DECAY, Progress, StopPart, Watcher, begun, first_loss, kept_share, one_cycle
from ml.errors import TrainingDiverged
from ml.fitted import Case, Epoch
from ml.lessons import Lesson, lesson, pooled
from ml.networks import DirectLstm, Network
from ml.stack import changes, stacked, unstacked

#: AdamW's own (Kingma & Ba 2015), as torch has them.
BETAS, EPSILON = (0.9, 0.999), 1e-8


def stackable(case: Case) -> bool:
    """Whether the case's network can be computed in a stack: the decoder of a seq2seq cannot."""
    return case.spec.network == "lstm"


@dataclass(eq=False)
class Seat:
    """One member: what is its own."""

    case: Case
    lesson: Lesson
    check: StopPart
    network: Network
    generator: torch.Generator
    noise: torch.Generator
    progress: Progress
    updates: int = 0
    batches: list[Tensor] = field(default_factory=list)
    lost: TrainingDiverged | None = None
    stopped: bool = False

    @property
    def learning(self) -> bool:
        return not (self.progress.over or self.lost or self.stopped)

    @property
    def learned(self) -> Network:
        """The network at its best epoch, on the CPU."""
        self.network.load_state_dict(self.progress.best_weights)
        return self.network.cpu().eval()


def learn_together(cases: Sequence[Case], watcher: Watcher, device: str) -> Iterator[tuple[int, Seat]]:
    """Each member and its number as soon as it is done, was stopped (`stopped`) or diverged (`lost`). Raises what the watcher raises."""
    seats = [_seat(case, device) for case in cases]
    room = Room(seats, device)
    while room.seats:
        began = time.perf_counter()
        train = room.learn_once(watcher)
        stop = room.stop_losses()
        seconds = time.perf_counter() - began
        for place, seat in enumerate(room.seats):
            if not _go_on(room, place, (train[place], stop[place]), seconds, watcher, seats.index(seat)):
                yield seats.index(seat), seat
        room = room.without_those_done()


def _go_on(room: Room, place: int, losses: tuple[float, float], seconds: float, watcher: Watcher, member: int) -> bool:
    seat = room.seats[place]
    if not seat.learning:
        return True  # it left in an earlier epoch, and only its place is still computed
    try:
        epoch: Epoch = seat.progress.note(*losses, lambda: unstacked(room.averaged, place), seconds)
    except TrainingDiverged as error:
        seat.lost = error
        return False
    seat.stopped = not watcher.epoch(member, epoch)
    return seat.learning


def _seat(case: Case, device: str) -> Seat:
    network, generator, noise = begun(case.spec, device, case.base)
    check = StopPart(case)
    first = first_loss(check.loss(network) if case.base is not None else 1.0)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return Seat(case, lesson(case, device), check, network, generator, noise, Progress(case.spec, first, weights))


class Room:
    """Seats, and their weights and optimiser states in stacks of one tensor per name."""

    def __init__(self, seats: list[Seat], device: str) -> None:
        self.seats, self.device = seats, device
        like = seats[0].network
        if not isinstance(like, DirectLstm):
            raise TypeError("only direct LSTMs can be stacked")
        self.like = like
        self.weights = stacked([seat.network for seat in seats])
        self.averaged = {name: tensor.detach().clone() for name, tensor in self.weights.items()}
        self.first, self.second = ({name: torch.zeros_like(tensor) for name, tensor in self.averaged.items()} for _ in range(2))
        self._lay_out()

    def _lay_out(self) -> None:
        """All members' chunks in one tensor, and their stop windows in another."""
        lessons = [seat.lesson for seat in self.seats]
        self.pool = pooled(lessons)
        self.starts = np.cumsum([0, *map(len, lessons)])
        self.windows = _Windows(self.seats, self.device)

    def learn_once(self, watcher: Watcher) -> list[float]:
        """One epoch of every member that still learns; their training losses."""
        for seat in self.seats:
            seat.batches = seat.lesson.batches(seat.generator, seat.case.spec.batch_size) if seat.learning else []
        total = np.zeros(len(self.seats))
        for number in range(max(len(seat.batches) for seat in self.seats)):
            sizes = np.array([len(seat.batches[number]) if number < len(seat.batches) else 0 for seat in self.seats])
            total += np.nan_to_num(self._update(number, sizes), nan=np.inf) * sizes
            watcher.alive()
        chunks = [sum(map(len, seat.batches)) for seat in self.seats]
        return [float(loss / max(count, 1)) for loss, count in zip(total, chunks, strict=True)]

    def _update(self, number: int, sizes: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        most = int(sizes.max())
        chunks = np.zeros((len(self.seats), most), dtype=np.int64)
        for place, size in enumerate(sizes):
            if size:
                chunks[place, :size] = self.seats[place].batches[number].cpu().numpy() + self.starts[place]
        present = torch.from_numpy(np.arange(most) < sizes[:, None]).to(self.device)  # (E, B)
        losses = self._losses(torch.from_numpy(chunks).to(self.device), present, sizes)
        torch.autograd.backward(losses.sum())
        self._step(torch.from_numpy(sizes > 0).to(self.device), number)
        return losses.detach().cpu().numpy().astype(np.float64)

    def _losses(self, chunks: Tensor, present: Tensor, sizes: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
        """(E,) mean over each member's counted pairs."""
        flat, shape = chunks.flatten(), chunks.shape
        goals, counted = self.pool.goals(flat)  # (E·B, L, K, H)
        inputs = self.pool.inputs[flat].view(*shape, *self.pool.inputs.shape[1:])
        ahead = self.pool.aheads(flat)
        said = changes(self.like, self.weights, inputs, ahead.view(*shape, *ahead.shape[1:]), self._keep(sizes, shape[1]))
        counted = counted.view(said.shape) * present[:, :, None, None, None]
        each = LOSSES[self.seats[0].case.spec.loss](said, goals.view(said.shape), reduction="none")
        return (each * counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp(min=1.0)

    def _keep(self, sizes: np.ndarray[tuple[int], np.dtype[np.int64]], most: int) -> list[Tensor]:
        """A dropout mask per layer, each member's from its own random numbers and of its own chunks' length: as it draws them alone."""
        share, spec = self.like.dropout, self.seats[0].case.spec
        if not share:
            return []
        masks = torch.ones(spec.num_layers, len(self.seats), most, self.pool.length, spec.hidden_size, device=self.device)
        for place, seat in enumerate(self.seats):
            for depth in range(spec.num_layers):
                if sizes[place]:
                    own = masks[depth, place, : sizes[place], : seat.lesson.length]
                    own.copy_(torch.empty(own.shape, device=self.device).bernoulli_(1 - share, generator=seat.noise) / (1 - share))
        return list(masks)

    @torch.no_grad()
    def _step(self, moving: Tensor, number: int) -> None:
        """AdamW, clipping and averaging as one member alone does them; members without a batch stay as they are. `moving` is (E,)."""
        told = [self._told(seat, number) for seat in self.seats]
        rate, one, two, kept = (torch.tensor(column, dtype=torch.float32, device=self.device) for column in zip(*told, strict=True))
        gradients = {name: tensor.grad for name, tensor in self.weights.items() if tensor.grad is not None}
        norm = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients.values()]).sum(0).sqrt()
        clip = (GRADIENT_NORM / (norm + 1e-6)).clamp(max=1.0)
        for name, gradient in gradients.items():
            weight, mean = self.weights[name].data, self.averaged[name]

            def wide(each: Tensor, like: Tensor = gradient) -> Tensor:
                return each.view(-1, *[1] * (like.dim() - 1))

            gradient.mul_(wide(clip))
            active = wide(moving)
            first = torch.where(active, torch.lerp(self.first[name], gradient, 1 - BETAS[0]), self.first[name])
            second = torch.where(active, self.second[name] * BETAS[1] + gradient.square() * (1 - BETAS[1]), self.second[name])
            stepped = weight * (1 - wide(rate) * WEIGHT_DECAY)
            stepped -= wide(rate / one) * first / (second.sqrt() / wide(two.sqrt()) + EPSILON)
            weight.copy_(torch.where(active, stepped, weight))
            mean.copy_(torch.where(active, torch.lerp(mean, weight, 1 - wide(kept)), mean))
            self.first[name], self.second[name] = first, second
            self.weights[name].grad = None

    def _told(self, seat: Seat, number: int) -> tuple[float, float, float, float]:
        """Of a member's next update: rate, the two corrections of Adam's beginning, the share of the averaged weights kept."""
        if number >= len(seat.batches):
            return 0.0, 1.0, 1.0, 1.0
        seat.updates += 1
        done = (seat.progress.done + number / len(seat.batches)) / seat.case.spec.epochs
        corrections = (1 - BETAS[0] ** seat.updates, 1 - BETAS[1] ** seat.updates)
        return (seat.case.spec.learning_rate * one_cycle(done), *corrections, kept_share(seat.updates))

    def stop_losses(self) -> list[float]:
        """Each member's averaged network on its own stop part."""
        said = self.windows.answers(self.like, self.averaged)
        return [seat.check.loss_of(answer) for seat, answer in zip(self.seats, said, strict=True)]

    def without_those_done(self) -> Room:
        """The same room; once half of its members are done, a smaller one."""
        left = [place for place, seat in enumerate(self.seats) if seat.learning]
        if len(left) * 2 > len(self.seats):
            return self
        if not left:
            self.seats = []
            return self
        chosen = torch.tensor(left, device=self.device)
        self.seats = [self.seats[place] for place in left]
        self.weights = {name: tensor.detach()[chosen].requires_grad_() for name, tensor in self.weights.items()}
        for states in (self.averaged, self.first, self.second):
            states.update({name: tensor[chosen] for name, tensor in states.items()})
        self._lay_out()
        return self


class _Windows:
    """The windows of every member's stop part, filled up at their end to one length and number."""

    def __init__(self, seats: Sequence[Seat], device: str) -> None:
        seen = [(seat.check.view, seat.check.ahead) for seat in seats]
        self.views = [view for view, _ in seen]
        rows, length = max(len(view.inputs) for view in self.views), max(seat.case.spec.window for seat in seats)
        width, ahead = self.views[0].inputs.shape[2], seen[0][1].shape[1:]
        self.inputs = torch.zeros(len(seats), rows, length, width)
        self.ahead = torch.zeros(len(seats), rows, 1, *ahead)
        for place, (view, known) in enumerate(seen):
            self.inputs[place, : len(view.inputs), : view.inputs.shape[1]] = torch.from_numpy(view.inputs)
            self.ahead[place, : len(known), 0] = torch.from_numpy(known)
        self.inputs, self.ahead = self.inputs.to(device), self.ahead.to(device)
        self.ends = torch.tensor([seat.case.spec.window - 1 for seat in seats], device=device)

    @torch.no_grad()
    def answers(self, like: DirectLstm, weights: Mapping[str, Tensor]) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
        """Per member (N, K, H) in its targets' own units."""
        said = changes(like, dict(weights), self.inputs, self.ahead.expand(-1, -1, self.inputs.shape[2], -1, -1))  # (E, N, L, K, H)
        at_end = said[torch.arange(len(self.ends), device=said.device), :, self.ends].cpu().numpy().astype(np.float64)
        return [
            view.last[:, -1, :, None] + view.deviation[:, -1, :, None] * change[: len(view.inputs)]
            for view, change in zip(self.views, at_end, strict=True)
        ]
