"""The codes that only a job can end with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from tasks.problems.kind import Kind

_outcome = partial(Kind, in_jobs_only=True)

OUTCOMES: Mapping[str, Kind] = {
    "insufficient_recent_data": _outcome(
        422,
        "The latest observations are missing",
        "The version reads the newest rows of the target, and too few of them are known.",
        "Send the observations up to now.",
    ),
    "flatline_detected": _outcome(
        422,
        "The channel never moves",
        "Every observation of the target has the same value: there is nothing to learn.",
        "Check that the device still measures.",
    ),
    "feature_missing": _outcome(
        422,
        "A channel is missing",
        "A channel that the training, the version or the scenario names has no observations, has none at the steps ahead where the version "
        "reads those, or is not one that the model reads.",
        "Send observations of it, of the moments that `missing` names where it is there, or train without it.",
    ),
    "scenario_out_of_bounds": _outcome(
        422,
        "The scenario leaves what was ever observed",
        "With `bounds: reject`, a change takes a channel outside the range that the version learned from.",
        "Use smaller changes, or `bounds: warn`.",
    ),
    "source_lagging": _outcome(
        503,
        "The data source is behind",
        "The follower that is read is further behind than its `lag_limit_s` allows, at every try.",
        "Try again later.",
        retryable=True,
    ),
    "sink_unavailable": _outcome(
        502,
        "The sink does not answer",
        "The database that the forecast was to be written to could not be reached at any try. Nothing was published.",
        "Retry the job later; the rows of its earlier tries, if any, are replaced.",
        retryable=True,
    ),
    "sink_refused": _outcome(
        502,
        "The sink does not take the rows",
        "A table, a column or a right is missing in the database that the forecast was to be written to. Nothing was published.",
        "Tell the operator, whose `fleetcast sinks check` says more; then retry the job.",
    ),
    "training_diverged": _outcome(
        422,
        "The training left the numbers",
        "The loss became infinite or no number at all.",
        "Lower the learning rate, or check the data for extreme values.",
    ),
    "out_of_memory": _outcome(
        503,
        "The worker ran out of memory",
        "Every try at the job needed more memory than the worker has.",
        "Use a smaller network or batch.",
        retryable=True,
    ),
    "deadline_exceeded": _outcome(
        504,
        "The job's deadline passed",
        "The job waited or ran longer than it may.",
        "Submit again, or add workers.",
        retryable=True,
    ),
    "worker_lost": _outcome(
        500,
        "The worker died too often on this job",
        "Several tries at the job took their process down.",
        "Check the worker's memory; then retry the job.",
        retryable=True,
    ),
    "batch_failed": _outcome(
        422,
        "No item of the batch succeeded",
        "Every item ended as failed or cancelled, each for its own reason.",
        "See GET /jobs/{id}/items.",
    ),
    "cancelled": _outcome(409, "The job was cancelled", "Somebody asked for the job's end.", "Retry it if that was not meant."),
}
