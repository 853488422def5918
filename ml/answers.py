"""The mind's answers: what each forecaster says after the origins of a case, exactly as it is served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ml.baselines import NAIVE, naive_forecast
from ml.features import Inputs, View, look, look_ahead
from ml.fitted import Case, Fitted
from ml.networks import Network, forecast_windows
from ml.series import Floats, Rows
from ml.windows import Origins, Pairs, futures, gather, origins

#: Origins that forecasts are judged by where there are thousands: several steps ahead, neighbours tell nearly the same. With half as many,
#: series with spikes lose 1 % of their MASE; with all of them nothing is won.
JUDGED = 1_000
#: Added to a whole number of rows it makes a distance that meets every phase of a season.
GOLDEN = (np.sqrt(5) - 1) / 2
#: Rows read in one pass (origins × window): bounds memory and the time between two signs of life, not results. With 50,000 the states of a
#: pass leave the processor's cache, and a row takes a fifth longer.
READ_AT_ONCE = 20_000


def silent() -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """Some rows of one target, answered by every forecaster at the same N origins."""

    rows: Pairs
    #: (N, H), NaN where no row is
    truth: Floats
    #: forecaster -> (N, H)
    guesses: dict[str, Floats]

    def at(self, pairs: Pairs) -> Sheet:
        """The same of pairs whose origins are all among these."""
        places = np.searchsorted(self.rows.rows, pairs.rows)
        return Sheet(pairs, self.truth[places], {name: guess[places] for name, guess in self.guesses.items()})


def answer(case: Case, network: Network, part: slice, alive: Callable[[], None] = silent) -> list[Sheet]:
    """Let the network and the baselines forecast these rows: a sheet per target."""
    found = judged_of(case, part)
    truth = futures(case.targets, found.rows, case.spec.horizon)  # (N, K, H)
    guesses = {name: answers(name, case, network, found.rows, alive) for name in (case.spec.network, *NAIVE)}
    return [Sheet(found.of(k), truth[:, k], {name: guess[:, k] for name, guess in guesses.items()}) for k in range(len(case.spec.targets))]


def served(fitted: Fitted, case: Case, origin_rows: Rows, alive: Callable[[], None] = silent) -> Floats:
    """(N, H) what is served of the fitted target after each origin row."""
    name = fitted.spec.network if fitted.blend else fitted.served_by
    said = answers(name, case, fitted.network, origin_rows, alive)[:, fitted.column]
    return fitted.blend.of(said, case.targets[:, fitted.column], origin_rows, case.season.steps) if fitted.blend else said


def origins_of(case: Case, part: slice) -> Origins:
    return origins(case.known, case.observed, part, case.spec.window, case.spec.horizon)


def judged_of(case: Case, part: slice) -> Origins:
    """The origins of a part that forecasts are judged by: all, or of thousands so many that each row is still forecast from three."""
    found, held = (origins_of(case, rows) for rows in (part, slice(case.parts.stop.start, case.parts.test.stop)))
    apart = max(1.0, min(len(held) // JUDGED, case.spec.horizon / 3) - 1 + GOLDEN)
    kept = np.floor(found.rows / apart) != np.floor((found.rows - 1) / apart)
    return Origins(found.rows[kept], found.counted[kept])


def answers(name: str, case: Case, network: Network | None, origin_rows: Rows, alive: Callable[[], None] = silent) -> Floats:
    """(N, K, H) what the named forecaster says after each origin row, exactly as it is served. A baseline needs no network."""
    horizon = case.spec.horizon
    if name in NAIVE:
        return np.stack([naive_forecast(name, column, origin_rows, horizon, case.season.steps) for column in case.targets.T], axis=1)
    if network is None:
        raise KeyError(name)
    said = [np.zeros((0, len(case.spec.targets), horizon))]
    at_once = max(1, READ_AT_ONCE // case.spec.window)
    for low in range(0, len(origin_rows), at_once):
        said.append(forecast_windows(network, *seen_from(case, origin_rows[low : low + at_once])))
        alive()
    return np.concatenate(said)


def seen_from(case: Case, origin_rows: Rows) -> tuple[View, Inputs]:
    """What the network sees at each origin: its window, and what is known of the (N, H, A) steps ahead."""
    spec, starts = case.spec, origin_rows - case.spec.window + 1
    view = look(gather(case.values, starts, spec.window), gather(case.phases, starts, spec.window), case.scaler, spec)
    ahead = np.moveaxis(futures(case.futures, origin_rows, spec.horizon), 1, 2)  # (N, H, G)
    return view, look_ahead(ahead, gather(case.phases, origin_rows + 1, spec.horizon), case.scaler, spec)
