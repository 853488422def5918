"""Anomalies on the wire: which rows are judged, and what was found."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from tasks.alarms import ANOMALY, HOURS, DetectOrder
from webapp.schemas.detectors import DETECTOR_NAME, WATCHED
from webapp.schemas.fields import Moment, Name, Out, Real, Text, Word
from webapp.schemas.pages import PageQuery, page_of
from webapp.schemas.shapes import DATE_TIME, MODEL_ID, SEMVER, SOMETIMES, shaped
from webapp.schemas.submissions import SOURCE_OF_VERSION, SOURCE_TOLD, Asked, Submission

SEVERITIES = ("warning", "critical")


class DetectIn(Submission):
    """Rows to be judged: those from `from`, or of the last `hours`, up to `to`."""

    entity = Name(required=True, metadata=WATCHED)
    model = Name(load_default=ANOMALY, metadata=DETECTOR_NAME)
    version = Text(
        low=1, high=40, load_default=None, allow_none=True, metadata={"description": "Number of the version that judges; the active one."}
    )
    begin = Moment(data_key="from", load_default=None, allow_none=True, metadata={"description": "The first row; instead of `hours`."})
    end = Moment(
        data_key="to",
        load_default=None,
        allow_none=True,
        metadata={"description": "Only rows before this; by default all."},
    )
    hours = Real(
        0.01,
        1_000_000,
        metadata={"description": "Hours before `to`, or before the newest row where that is earlier.", "default": HOURS},
    )

    source = Name(load_default=None, allow_none=True, metadata=SOURCE_OF_VERSION)

    @validates_schema
    def one_of_two(self, data: dict[str, Any], **_: Any) -> None:
        begin, end = data.get("begin"), data.get("end")
        if begin is not None and "hours" in data:
            raise ValidationError("Must be left out beside `from`.", "hours")
        if begin is not None and end is not None and begin >= end:
            raise ValidationError("Must be greater than `from`.", "to")

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> Asked[DetectOrder]:
        metadata = data.pop("metadata")
        return Asked(DetectOrder(**data), metadata)


class AnomalyDetectSpec(Out):
    """A detection, defaults filled in."""

    entity = fields.String()
    model = fields.String(metadata={"description": "Name of the detector."})
    version = fields.String(allow_none=True, metadata={"description": "Null: the one that is active when the job runs."})
    begin = fields.String(
        data_key="from", allow_none=True, metadata=DATE_TIME | {"description": "Null: so many `hours`, which only a worker can count back."}
    )
    end = fields.String(data_key="to", allow_none=True, metadata=DATE_TIME | {"description": "Null: up to the newest row."})
    source = fields.String(metadata=SOURCE_TOLD)
    hours = fields.Float(metadata=SOMETIMES | {"description": "Before the end, or the newest row; only where `from` is null."})


class Contribution(Out):
    """What one channel adds to a score."""

    channel = fields.String()
    share = fields.Float(validate=validate.Range(0, 1), metadata={"description": "Of the score; all channels together are 1."})
    value = fields.Float(allow_none=True, metadata={"description": "What was observed; null where nothing was."})
    low = fields.Float(metadata={"description": "The usual range: 98 % of the rows learned from lie in it."})
    high = fields.Float()


class Called(Out):
    """What is said of every anomaly."""

    score = fields.Float(
        validate=validate.Range(0, 1),
        metadata={"description": "0.5 is as rare as one normal row in a thousand, 0.75 as one in a million."},
    )
    severity = fields.String(validate=validate.OneOf(SEVERITIES))
    contributions = fields.List(fields.Dict(metadata=shaped("Contribution")), metadata={"description": "Greatest first."})


class FoundAnomaly(Called):
    """A moment at which something unusual began, or became critical."""

    at = fields.String(metadata=DATE_TIME)


class NewestRow(Out):
    """The newest row that was judged."""

    at = fields.String(metadata=DATE_TIME)
    score = fields.Float(validate=validate.Range(0, 1))


class AnomalyCounts(Out):
    """Anomalies of each severity."""

    warning = fields.Integer()
    critical = fields.Integer()


class AnomalyDetectResult(Out):
    """What a detection found."""

    entity = fields.String()
    model = fields.String(metadata=MODEL_ID)
    version = fields.String(metadata={"pattern": SEMVER})
    begin = fields.String(data_key="from", metadata=DATE_TIME)
    end = fields.String(data_key="to", allow_none=True, metadata=DATE_TIME)
    rows = fields.Integer(metadata={"description": "Rows judged."})
    newest = fields.Dict(allow_none=True, metadata=shaped("NewestRow", description="Null where no row could be judged."))
    is_anomaly = fields.Boolean(metadata={"description": "The newest row reaches the score of a warning, also where that began earlier."})
    thresholds = fields.Dict(metadata=shaped("Thresholds"))
    counts = fields.Dict(metadata=shaped("AnomalyCounts"))
    anomalies = fields.List(
        fields.Dict(metadata=shaped("FoundAnomaly")), metadata={"description": "Oldest first; of more than 500 the newest."}
    )


class Anomaly(Called):
    """An anomaly that was found, and by whom."""

    at = Moment()
    model = fields.String(attribute="model_id", metadata=MODEL_ID)
    version = fields.String(metadata={"pattern": SEMVER, "description": "Of the versions that called this moment, the last."})
    job = fields.String(attribute="job_id", metadata={"description": "The detection that found it."})
    found_at = Moment()


AnomalyPage = page_of(Anomaly)


class AnomalyQuery(PageQuery):
    begin = Moment(data_key="from", load_default=None, metadata={"description": "Only anomalies from here on."})
    end = Moment(data_key="to", load_default=None, metadata={"description": "Only anomalies before this."})
    severity = Word(*SEVERITIES, load_default=None, metadata={"description": "Only anomalies of this severity."})
