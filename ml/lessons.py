"""The mind's textbook: the fit part laid out so that every row read is also a row learned from.

Overlapping windows compute each row `window` times to learn from it once. Here the rows are read in chunks of two windows with a loss at
each row (dense supervision), which learns the same from a fraction of the work: `bench/training.py` compares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ml.features import input_width, look
from ml.fitted import Case
from ml.windows import chunk_starts, gather

#: Chunk length in windows. A loss is taken with half a window to two windows of history: on average what a served window has.
CHUNK_WINDOWS = 2
#: Chunks start every quarter window; an epoch takes those of one random phase, so that epochs differ in where chunks begin.
STARTS_PER_WINDOW = 4
#: Rows of a chunk, in windows, from which an epoch learns: its chunks start this far apart.
LEARNED_WINDOWS = 1.5
#: Chunks an epoch has at least, where there are as many: below it small histories would get one update an epoch.
FEWEST_CHUNKS = 16
#: Input numbers held at once (320 MB); a long history of many channels gets fewer starts instead of more memory.
MOST_NUMBERS = 80_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """The fit part as N chunks of L rows."""

    #: (N, L, F) float32
    inputs: Tensor
    #: (N, L) row of the series
    rows: Tensor
    #: (N, L) float64: the target's last value and running deviation, in its own unit
    last: Tensor
    deviation: Tensor
    #: (N, L) True where a loss is taken: an observed row with enough history in its chunk
    learned: Tensor
    #: (T + 1, H) float64: the observed fit rows that follow row r, at r + 1; NaN where there is none
    futures: Tensor
    #: An epoch takes every `phases`-th chunk.
    phases: int

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

    def goals(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, H) float32 change from the last value in running deviations, 0 where not counted; and 1 where counted, else 0."""
        future = self.futures[self.rows[batch] + 1]  # (B, L, H)
        change = (future - self.last[batch].unsqueeze(2)) / self.deviation[batch].unsqueeze(2)
        counted = torch.isfinite(change) & self.learned[batch].unsqueeze(2)
        return torch.where(counted, change, 0.0).float(), counted.float()


def lesson(case: Case, device: str = "cpu") -> Lesson:
    """Lay out the fit part of a case. No row after it is read."""
    window, rows = case.spec.window, case.parts.fit.stop
    length = min(CHUNK_WINDOWS * window, rows)
    stride = _stride(window, rows * length * input_width(len(case.spec.inputs)))
    starts = chunk_starts(rows, length, stride)
    view = look(gather(case.values, starts, length), gather(case.phases, starts, length), case.scaler, window / 2)
    chunk_rows = starts[:, None] + np.arange(length)  # (N, L)
    warm = np.arange(length) >= min(window, length) // 2 - 1
    wanted = max(1, min(round(LEARNED_WINDOWS * window / stride), len(starts) // FEWEST_CHUNKS))
    return Lesson(
        inputs=torch.from_numpy(view.inputs).to(device),
        rows=torch.from_numpy(chunk_rows).to(device),
        last=torch.from_numpy(view.last).to(device),
        deviation=torch.from_numpy(view.deviation).to(device),
        learned=torch.from_numpy(case.observed[chunk_rows] & warm).to(device),
        futures=_futures(case).to(device),
        phases=wanted,
    )


def _stride(window: int, numbers_at_stride_one: int) -> int:
    """Rows between starts: a quarter window, more where memory asks for it, never so many that rows are left out."""
    affordable = -(-numbers_at_stride_one // MOST_NUMBERS)
    return max(1, min(max(window // STARTS_PER_WINDOW, affordable), int(LEARNED_WINDOWS * window)))


def _futures(case: Case) -> Tensor:
    rows, horizon = case.parts.fit.stop, case.spec.horizon
    truth = np.full(rows + horizon, np.nan)
    truth[:rows] = np.where(case.observed[:rows], case.target[:rows], np.nan)
    return torch.from_numpy(truth).unfold(0, horizon, 1)
