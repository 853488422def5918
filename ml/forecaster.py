"""The mind's voice: forecasts with intervals, from fitted models and the newest rows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from ml.baselines import naive_forecast
from ml.chorus import alike, forecast_together
from ml.errors import ModelError, SpecInvalid
from ml.features import Inputs, View, calendar, look, look_ahead, season_of
from ml.fitted import Fitted
from ml.networks import forecast_windows
from ml.seasons import rows_back
from ml.series import Floats, RawChannels
from ml.sight import Sight, see, target_of
from ml.spec import BOUNDS, ModelSpec
from ml.telling import HISTORY_DAYS, HISTORY_ROWS, Forecast, compose

#: What a network reads of S versions of a window, and of the steps ahead, (S, H, A).
Looked = tuple[View, Inputs]
#: Rows of the longest season (an hour at one row a second), assumed where the cadence is not yet known.
LONGEST_SEASON = 3_600


def recent_rows(spec: ModelSpec, step_s: float | None = None) -> int:
    """How many of the last grid rows a forecast reads: the window, the seasons before it, the horizon; and 30 days of history (capped).

    Without a cadence (neither `step_s` nor `spec.cadence_s`) the longest season is assumed.
    """
    step = step_s or spec.cadence_s
    if step is None:
        return spec.window + rows_back(LONGEST_SEASON) + spec.horizon
    history = min(int(HISTORY_DAYS * 86_400 / step), HISTORY_ROWS)
    return max(spec.window + rows_back(season_of(step).steps), history) + spec.horizon


def forecast(
    requests: Sequence[tuple[Fitted, RawChannels]], *, horizon: int | None = None, level: float | None = None
) -> list[Forecast | ModelError]:
    """One forecast per request, or the error that kept it from being made; one bad request leaves the others alone.

    Networks of one shape answer in one pass.

    Raises SpecInvalid when `horizon` is longer than a model was trained for or `level` is out of bounds.
    """
    for fitted, _ in requests:
        require_bounds(fitted, horizon, level)
    seen = [_seen(fitted, raw, horizon) for fitted, raw in requests]
    said = iter(_said([sight for sight in seen if isinstance(sight, Sight)]))
    return [compose(sight, next(said)[0, :horizon], level) if isinstance(sight, Sight) else sight for sight in seen]


def require_bounds(fitted: Fitted, horizon: int | None, level: float | None) -> None:
    if horizon is not None and not 1 <= horizon <= fitted.spec.horizon:
        raise SpecInvalid("horizon", horizon, f"must be between 1 and {fitted.spec.horizon}, the horizon the model was trained for")
    low, high = BOUNDS["level"]
    if level is not None and not low <= level <= high:
        raise SpecInvalid("level", level, f"must be between {low:g} and {high:g}")


def _seen(fitted: Fitted, raw: RawChannels, horizon: int | None) -> Sight | ModelError:
    try:
        return see(fitted, raw, horizon)
    except ModelError as error:
        return error


def _said(sights: Sequence[Sight]) -> list[Floats]:
    """(1, H) what serves says of each as it is: networks of one shape in one pass."""
    looks = {place: _looked(sight, [(sight.window, sight.ahead)]) for place, sight in enumerate(sights) if sight.fitted.by_network}
    groups: dict[Hashable, list[int]] = {}
    for place, (view, _) in looks.items():
        groups.setdefault(alike(sights[place].fitted.network, view), []).append(place)
    said = {place: _naive(sight, sight.window) for place, sight in enumerate(sights) if not sight.fitted.by_network}
    for places in groups.values():
        said |= zip(places, _spoken([sights[place] for place in places], [looks[place] for place in places]), strict=True)
    return [said[place] for place in range(len(sights))]


def _spoken(sights: Sequence[Sight], looks: Sequence[Looked]) -> list[Floats]:
    """The same of one, or of those whose networks are alike."""
    views, aheads = zip(*looks, strict=True)
    networks = [sight.fitted.network for sight in sights]
    alone = len(sights) == 1
    found = [forecast_windows(networks[0], views[0], aheads[0])] if alone else forecast_together(networks, views, aheads)
    return [_around(sight, sight.window, said[:, sight.fitted.column]) for sight, said in zip(sights, found, strict=True)]


def answers(sight: Sight, versions: Sequence[tuple[Floats, Floats]]) -> Floats:
    """(S, H) what serves says of S versions of the last window (W, C) and of what is known ahead (H, G)."""
    fitted = sight.fitted
    if fitted.blend is None:
        return np.concatenate([_naive(sight, window) for window, _ in versions])
    network = forecast_windows(fitted.network, *_looked(sight, versions))[:, fitted.column]  # (S, H)
    return np.concatenate([_around(sight, window, said[None]) for (window, _), said in zip(versions, network, strict=True)])


def _looked(sight: Sight, versions: Sequence[tuple[Floats, Floats]]) -> Looked:
    """What the network reads of S versions."""
    fitted, spec = sight.fitted, sight.fitted.spec
    phases = calendar(sight.series.until(spec.horizon)[-spec.window - spec.horizon :], fitted.season)
    behind, before = (np.stack([part] * len(versions)) for part in (phases[: spec.window], phases[spec.window :]))
    view = look(np.stack([window for window, _ in versions]), behind, fitted.scaler, spec)
    return view, look_ahead(np.stack([ahead for _, ahead in versions]), before, fitted.scaler, spec)


def _around(sight: Sight, window: Floats, network: Floats) -> Floats:
    """(1, H) of the blend around (1, H) of the network."""
    assert sight.fitted.blend is not None
    target = target_of(sight, window)
    return sight.fitted.blend.of(network, target, np.array([len(target) - 1]), sight.fitted.season.steps)


def _naive(sight: Sight, window: Floats) -> Floats:
    """(1, H) of the serving baseline."""
    fitted, target = sight.fitted, target_of(sight, window)
    return naive_forecast(fitted.served_by, target, np.array([len(target) - 1]), fitted.spec.horizon, fitted.season.steps)
