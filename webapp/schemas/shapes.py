"""Words and shapes that several schemas share. A shape tells the document what a member holds that is passed on as it was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import INCLUDE, fields, validate

from ml.spec import CHOICES
from webapp.schemas.fields import Out

#: Who can answer a forecast: the network, by its family, or a naive baseline that it did not beat.
FORECASTERS = ("blend", *CHOICES["network"], "persistence", "seasonal_naive")
#: What a training, a forecast or a what-if may remark on without failing.
NOTICES = (
    "alarms_left_out",
    "baseline_serves",
    "change_without_effect",
    "channel_absent",
    "channel_vanished",
    "duplicates",
    "entity_left_out",
    "flat_channel",
    "fold_left_out",
    "gaps",
    "intervals_pooled",
    "irregular",
    "look_back_cut",
    "merged_rows",
    "out_of_order",
    "out_of_support",
    "rows_dropped",
    "season_missing",
    "seen_in_training",
    "stray_timestamps",
    "threshold_extrapolated",
    "too_few_to_judge",
    "unusable_values",
    "window_shortened",
)
#: For a member that is a moment but already text.
DATE_TIME = {"format": "date-time"}
#: For a member that is left out where it does not apply.
SOMETIMES = {"sometimes": True}
#: Least and most steps that a forecast can have, and of the level of its intervals: what ModelSpec allows.
HORIZON, LEVEL = (1, 168), (0.5, 0.99)
SEMVER = r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$"


def numbered(prefix: str) -> str:
    """Pattern of a public id."""
    return f"^{prefix}_[0-9A-HJKMNP-TV-Z]{{26}}$"


MODEL_ID = {"pattern": numbered("mdl")}


def shaped(*schemas: str, **about: Any) -> dict[str, Any]:
    """Metadata of a member that holds one of these schemas, by their names."""
    return {"shapes": schemas} | about


def bounded(bounds: Mapping[str, tuple[float, float]], field: str, about: str) -> dict[str, Any]:
    """Metadata of a numeric field of a spec: its bounds are the spec's own."""
    low, high = bounds[field]
    return {"minimum": low, "maximum": high, "description": about}


class Notice(Out):
    """Something worth knowing that stopped nothing. Besides the two members it holds the numbers of its sentence."""

    class Meta:
        unknown = INCLUDE

    code = fields.String(validate=validate.OneOf(NOTICES))
    detail = fields.String()
