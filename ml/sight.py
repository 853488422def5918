"""The mind's eye: what a fitted model sees of the newest rows when it is asked, and whether that is enough."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ml.errors import FeatureMissing, InsufficientData, InsufficientRecentData
from ml.fitted import Fitted
from ml.grid import regularise
from ml.series import Floats, RawChannels, Series, moment
from ml.spec import ModelSpec
from ml.stamps import stamp
from ml.windows import readable


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What a model sees when it is asked."""

    fitted: Fitted
    series: Series
    #: (W, C) the rows it reads
    window: Floats
    #: (H, G) the known-future covariates over the horizon
    ahead: Floats


def see(fitted: Fitted, raw: RawChannels, horizon: int | None, *, all_inputs: bool = False) -> Sight:
    """The rows on the model's own grid, up to the last observation of the target.

    A serving baseline reads the target alone, unless `all_inputs`. Raises InsufficientRecentData or FeatureMissing when what serves
    cannot read them.
    """
    spec = fitted.spec
    lone = replace(spec, targets=(fitted.target,), covariates=(), future_covariates=(), rolling=())
    reads = spec if fitted.by_network or all_inputs else lone
    # A network needs all its targets at its last row; a baseline starts from the last row of its own, wherever the others end.
    first = reads.targets if fitted.by_network else sorted(reads.targets, key=lambda name: name != fitted.target)
    try:
        series, _ = regularise(fitted.entity, raw, replace(reads, targets=tuple(first), cadence_s=fitted.step_s))
    except InsufficientData as error:
        raise InsufficientRecentData(f"No recent row of {fitted.target}.", requirements=error.extra["requirements"]) from error
    series = replace(series, channels={name: series.channels[name] for name in reads.inputs})
    ahead = np.stack([series.ahead[name] for name in reads.future_covariates] or [np.empty(spec.horizon)], axis=1)[
        :, : len(reads.future_covariates)
    ]
    if fitted.by_network:
        _require_window(fitted, series)
        _require_future(spec, series, horizon or spec.horizon)
    return Sight(fitted, series, series.matrix(reads.inputs)[-spec.window :], ahead)


def _require_window(fitted: Fitted, series: Series) -> None:
    window, targets = fitted.spec.window, fitted.spec.targets
    known = np.isfinite(series.matrix(targets))
    observed = np.stack([series.observed[name] for name in targets], axis=1)
    if len(series) < window or not readable(known, observed, window)[-1]:
        have, named = int(known[-window:].sum(axis=0).min()), ", ".join(targets)
        raise InsufficientRecentData(
            f"{have} of the last {window} rows of {named} are known; the model reads {window} and needs half of them, and the last.",
            have=have,
            need=window,
            data_until=stamp(moment(series.times[-1])),
        )


def _require_future(spec: ModelSpec, series: Series, horizon: int) -> None:
    """Raises FeatureMissing naming each known-future covariate and the first moment for which it has no value."""
    times = series.until(horizon)[len(series) :]
    gaps = {name: np.flatnonzero(np.isnan(series.ahead[name][:horizon])) for name in spec.future_covariates}
    missing = {name: [stamp(moment(times[row])) for row in rows] for name, rows in gaps.items() if len(rows)}
    if missing:
        first = "; ".join(f"{name} from {stamps[0]} ({len(stamps)} of {horizon} steps)" for name, stamps in missing.items())
        detail = f"The model knows these ahead, and they have no value: {first}. Store rows of them at these moments."
        there = [name for name in spec.future_covariates if name not in missing]
        raise FeatureMissing(detail, channels=list(missing), available=there, missing=missing)


def target_of(sight: Sight, window: Floats) -> Floats:
    """(T,) the target's rows, the last of them as in `window`."""
    name = sight.fitted.target
    return np.concatenate([sight.series.channels[name][: -len(window)], window[:, list(sight.series.channels).index(name)]])
