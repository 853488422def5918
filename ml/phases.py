"""How wide at this hour: errors by the phase of the season, where they depend on it."""

from __future__ import annotations

import numpy as np

from ml.conformal import conformal
from ml.following import Held, summed_score
from ml.intervals import index_of
from ml.series import Floats

#: Parts of the season told apart, where it has that many rows.
PHASES = 24
#: Seasons before the calibrate part, and calibrate origins, below which nothing is known of phases.
SEASONS_SEEN, PHASE_ORIGINS = 7, 50
#: Winkler score on the calibrate part, as a share of the plain table's, below which phases are worth their trouble.
SHARPER = 0.95


def usual_by_phase(past: Held, number: int) -> Floats:
    """(P, H) mean absolute error after origins of each of `number` phases, over the mean of all; neighbours count for a half.

    Five rows' worth of the common mean keep a phase that was seldom seen near 1; no phase is below a fiftieth.
    """
    size = np.where(past.counted, np.abs(past.errors), 0.0)
    total, seen = np.zeros((number, size.shape[1])), np.zeros((number, size.shape[1]))
    np.add.at(total, past.phases, size)
    np.add.at(seen, past.phases, past.counted)
    mean = np.maximum(total.sum(axis=0) / np.maximum(seen.sum(axis=0), 1), 1e-300)
    found: Floats = (_with_neighbours(total) / mean + 5) / (_with_neighbours(seen) + 5)
    return np.maximum(found, 0.02)


def is_sharper(calibrate: Held, usual: Floats, growth: Floats) -> bool:
    """Whether widths by phase, `usual` (P, H), have a clearly lower Winkler score on the calibrate part, over 80, 90 and 95 %."""
    if len(calibrate.rows) < PHASE_ORIGINS:
        return False
    plain = _in_sample(calibrate, np.ones_like(calibrate.errors), growth)
    by_phase = _in_sample(calibrate, usual[calibrate.phases], growth)
    return float((by_phase / np.maximum(plain, 1e-300)).mean()) < SHARPER


def _in_sample(held: Held, unit: Floats, growth: Floats) -> Floats:
    """(3,) Winkler score at 80, 90 and 95 % of a table on the rows it was made from, with `unit` (N, H)."""
    half, _ = conformal(held.errors / unit, held.counted, growth)
    size = np.abs(held.errors)[held.counted]
    return np.array([summed_score(size, (half[index_of(level)] * unit)[held.counted], 1 - level) for level in (0.8, 0.9, 0.95)])


def _with_neighbours(by_phase: Floats) -> Floats:
    """The season is a ring."""
    return by_phase + 0.5 * (np.roll(by_phase, 1, axis=0) + np.roll(by_phase, -1, axis=0))
