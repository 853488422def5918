"""The mind's textbook: the fit part laid out so that every row read is also a row learned from.

Overlapping windows compute each row `window` times to learn from it once. Here the rows are read in chunks of two windows with a loss at
each row (dense supervision), which learns the same from a fraction of the work: `bench/training.py` compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ml.features import look, look_ahead
from ml.fitted import Case
from ml.series import Floats
from ml.shapes import input_width
from ml.windows import chunk_starts, gather

#: Chunk length in windows. A loss is taken with half a window to two windows of history: on average what a served window has.
CHUNK_WINDOWS = 2
#: Chunks start every quarter window; an epoch takes those of one random phase, so that epochs differ in where chunks begin.
STARTS_PER_WINDOW = 4
#: Rows of a chunk, in windows, from which an epoch learns: its chunks start this far apart.
LEARNED_WINDOWS = 1.5
#: Chunks an epoch has at least, where there are as many: below it small histories would get one update an epoch.
FEWEST_CHUNKS = 16
#: Rows an epoch reads at most, where it has the fewest chunks: a longer history is passed through in more epochs than one.
MOST_LEARNED = 8_000
#: Input numbers held at once (320 MB); a long history of many channels gets fewer starts instead of more memory.
MOST_NUMBERS = 80_000_000
#: The same of all entities that one base is learned from (640 MB, and as much again while they are put together).
MOST_POOLED = 160_000_000


#: Rows of an update per window of `batch_size`: 768 at the default. oneDNN's time for a row halves from 384 to 768, and with twice the rate
#: nothing is lost (measured on six sets).
ROWS_PER_WINDOW = 24
#: Updates of an epoch: a short history has two even where its rows would make one, and a long one takes larger batches instead of more.
FEWEST_UPDATES, MOST_UPDATES = 2, 18


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Fit parts as N chunks of L rows: of one entity, or of many that share one network."""

    #: (N, L, F) float32
    inputs: Tensor
    #: (N, L) row of `futures` that belongs to the row of the chunk
    rows: Tensor
    #: (N, L, K) float64: each target's last value and running deviation, in its own unit
    last: Tensor
    deviation: Tensor
    #: (N, L) True where a loss is taken: an observed row with enough history in its chunk
    learned: Tensor
    #: (R, K, H) float64: the observed fit rows that follow each row; NaN where there is none
    futures: Tensor
    #: (R, H, A) float32: what is known of the steps ahead
    ahead: Tensor
    #: An epoch takes every `phases`-th chunk, in so many updates at most.
    phases: int
    most_updates: int = MOST_UPDATES

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def length(self) -> int:
        return self.inputs.shape[1]

    def order(self, generator: torch.Generator) -> Tensor:
        """The chunks of one epoch, shuffled."""
        phase = int(torch.randint(self.phases, (1,), generator=generator))
        chunks = torch.arange(phase, len(self), self.phases)
        return chunks[torch.randperm(len(chunks), generator=generator)].to(self.inputs.device)

    def batches(self, generator: torch.Generator, batch_size: int) -> list[Tensor]:
        """The chunks of one epoch, shuffled and cut into updates."""
        order = self.order(generator)
        wished = round(len(order) * self.length / (ROWS_PER_WINDOW * batch_size))
        updates = min(len(order), max(FEWEST_UPDATES, min(wished, self.most_updates)))
        return list(torch.tensor_split(order, updates))

    def aheads(self, batch: Tensor) -> Tensor:
        """(B, L, H, A) float32"""
        return self.ahead[self.rows[batch]]

    def goals(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, K, H) float32 change from the last value in running deviations, 0 where not counted; and 1 where counted, else 0."""
        future = self.futures[self.rows[batch]]  # (B, L, K, H)
        change = (future - self.last[batch].unsqueeze(3)) / self.deviation[batch].unsqueeze(3)
        counted = torch.isfinite(change) & self.learned[batch][:, :, None, None]
        return torch.where(counted, change, 0.0).float(), counted.float()


def lesson(case: Case, device: str = "cpu") -> Lesson:
    """Lay out the fit part of a case. No row after it is read."""
    window, rows = case.spec.window, case.parts.fit.stop
    length = min(CHUNK_WINDOWS * window, rows)
    stride = _stride(window, rows * length * input_width(case.spec))
    starts = chunk_starts(rows, length, stride)
    view = look(gather(case.values, starts, length), gather(case.phases, starts, length), case.scaler, case.spec)
    chunk_rows = starts[:, None] + np.arange(length)  # (N, L)
    warm = np.arange(length) >= min(window, length) // 2 - 1
    return Lesson(
        inputs=torch.from_numpy(view.inputs).to(device),
        rows=torch.from_numpy(chunk_rows).to(device),
        last=torch.from_numpy(view.last).to(device),
        deviation=torch.from_numpy(view.deviation).to(device),
        learned=torch.from_numpy(np.logical_or.reduce(case.observed, axis=1)[chunk_rows] & warm).to(device),
        futures=_futures(case).to(device),
        ahead=_ahead(case).to(device),
        phases=_phases(len(starts), length, LEARNED_WINDOWS * window / stride),
    )


def numbers_of(case: Case) -> int:
    """Input numbers that the case's lesson holds."""
    window, rows, width = case.spec.window, int(case.parts.fit.stop), input_width(case.spec)
    length = min(CHUNK_WINDOWS * window, rows)
    starts = chunk_starts(rows, length, _stride(window, rows * length * width))
    return len(starts) * length * width


def pooled(lessons: Sequence[Lesson]) -> Lesson:
    """One lesson of many entities. Shorter chunks are filled up at their end, where nothing is learned and nothing follows."""
    length, offsets = max(one.length for one in lessons), np.cumsum([0, *(len(one.futures) for one in lessons)])

    def joined(name: str) -> Tensor:
        return torch.cat([_lengthened(getattr(one, name), length) for one in lessons])

    return Lesson(
        inputs=joined("inputs"),
        rows=torch.cat([_lengthened(one.rows, length) + int(start) for one, start in zip(lessons, offsets, strict=False)]),
        last=joined("last"),
        deviation=torch.cat([_lengthened(one.deviation, length, 1.0) for one in lessons]),
        learned=joined("learned"),
        futures=torch.cat([one.futures for one in lessons]),
        ahead=torch.cat([one.ahead for one in lessons]),
        phases=max(1, round(sum(one.phases * len(one) for one in lessons) / sum(map(len, lessons)))),
        most_updates=MOST_UPDATES * len(lessons),
    )


def _lengthened(chunks: Tensor, length: int, value: float = 0.0) -> Tensor:
    """(N, L, …) -> (N, length, …)"""
    missing = length - chunks.shape[1]
    return torch.cat([chunks, chunks.new_full((len(chunks), missing, *chunks.shape[2:]), value)], dim=1) if missing else chunks


def _phases(chunks: int, length: int, apart: float) -> int:
    """Phases that set the chunks of one epoch `apart` strides, or further where an epoch would read too much."""
    wished = max(round(apart), -(-chunks * length // MOST_LEARNED))
    return max(1, min(wished, chunks // FEWEST_CHUNKS))


def _stride(window: int, numbers_at_stride_one: int) -> int:
    """Rows between starts: a quarter window, more where memory asks for it, never so many that rows are left out."""
    affordable = -(-numbers_at_stride_one // MOST_NUMBERS)
    return max(1, min(max(window // STARTS_PER_WINDOW, affordable), int(LEARNED_WINDOWS * window)))


def _futures(case: Case) -> Tensor:
    """(T, K, H): the observed fit rows after each fit row. A view: no row is held more than once."""
    rows, horizon = case.parts.fit.stop, case.spec.horizon
    truth = np.where(case.observed[:rows], case.targets[:rows], np.nan)
    return torch.from_numpy(_followed(truth, horizon)).unfold(0, horizon, 1)[1:]


def _ahead(case: Case) -> Tensor:
    """(T, H, A): what was known after each fit row. Rows after the fit part are missing, also where they were known then."""
    rows, horizon = case.parts.fit.stop, case.spec.horizon
    known = look_ahead(_followed(case.futures[:rows], horizon), case.phases[: rows + horizon], case.scaler, case.spec)  # (T + H, A)
    return torch.from_numpy(known).unfold(0, horizon, 1)[1:].transpose(1, 2)


def _followed(values: Floats, rows: int) -> Floats:
    """(T, C) -> (T + rows, C), the rows after the end missing."""
    return np.concatenate([values, np.full((rows, values.shape[1]), np.nan)])
