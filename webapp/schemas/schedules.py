"""Schedules on the wire: a job asked for again and again, when, and of whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from ml.errors import SpecInvalid
from tasks.schedules import NewSchedule
from tasks.sources import is_outside
from tasks.templates import KINDS, about
from tasks.timetable import EVERY_S, MOST_JITTER_S, clock, require_cron, zone
from webapp.schemas.anomalies import DetectIn
from webapp.schemas.backtests import BacktestIn
from webapp.schemas.conditions import WhenIn
from webapp.schemas.detectors import WatchIn
from webapp.schemas.fields import Flag, In, Moment, Name, Out, Text, Whole, Word
from webapp.schemas.pages import page_of
from webapp.schemas.predictions import PredictBatchIn
from webapp.schemas.runs import NextRun, ScheduleRun
from webapp.schemas.shapes import numbered, shaped
from webapp.schemas.trainings import PretrainIn, TrainIn

SCHEDULE_ID = {"pattern": numbered("sch")}
MISSED = ("once", "skip")
#: Members of a request that say whom it is about, and those that travel with the job.
_APART = ("entity", "entities", "selector", "metadata")


def _held(check: Callable[[str], object]) -> Callable[[str], None]:
    """A check that speaks in specs' words, as one of a field."""

    def hold(text: str) -> None:
        try:
            check(text)
        except SpecInvalid as error:
            told = str(error.extra["errors"][0]["detail"])
            raise ValidationError(f"{told[:1].upper()}{told[1:]}.") from None

    return hold


def _clock(end: str, about: str) -> Text:
    """A time of day, `03:30`."""
    checks = [_held(lambda text: clock(end, text))]
    return Text(low=4, high=5, required=True, data_key=end, validate=checks, metadata={"description": about})


class OpenHoursIn(In):
    """Hours of the day by the clock of `time_zone`; they may cross midnight."""

    begin = _clock("from", "The first moment, as 01:00.")
    end = _clock("to", "The moment from which it is shut again, as 05:00.")

    @validates_schema
    def apart(self, data: dict[str, Any], **_: Any) -> None:
        if clock("from", data["begin"]) == clock("to", data["end"]):
            raise ValidationError("The same as `from`: leave the window out, or name two times.", "to")


class TemplateIn(In):
    """The job, as the body of the request that it stands for. Exactly one."""

    train = fields.Nested(TrainIn, metadata={"description": "As to `POST /models/train`."})
    pretrain = fields.Nested(PretrainIn, metadata={"description": "As to `POST /models/pretrain`."})
    predict = fields.Nested(PredictBatchIn, metadata={"description": "As to `POST /predict/batch`."})
    backtest = fields.Nested(BacktestIn, metadata={"description": "As to `POST /backtests`."})
    anomaly_train = fields.Nested(WatchIn, metadata={"description": "As to `POST /anomalies/train`."})
    anomaly_detect = fields.Nested(DetectIn, metadata={"description": "As to `POST /anomalies/detect`."})

    @validates_schema
    def just_one(self, data: dict[str, Any], **_: Any) -> None:
        if len(data) != 1:
            raise ValidationError(f"Name exactly one of {', '.join(KINDS)}.")


class ScheduleIn(In):
    """A job to be asked for again and again: by `cron` or `every_s`, whichever is there."""

    name = Name(required=True, metadata={"description": "Each of your schedules has a name of its own."})
    cron = Text(
        low=9,
        high=100,
        validate=[_held(require_cron)],
        metadata={
            "description": "Minute, hour, day of month, month, day of week. Of a time of day that clocks skip, the moment when they have; "
            "of one that comes twice, the first."
        },
    )
    every_s = Whole(*EVERY_S, metadata={"description": "Seconds between two runs, counted from when the schedule was made."})
    time_zone = Text(
        low=1,
        high=64,
        load_default="UTC",
        validate=[_held(zone)],
        metadata={"description": "Of `cron` and `window`: a name of the IANA database."},
    )
    window = fields.Nested(
        OpenHoursIn,
        load_default=None,
        allow_none=True,
        metadata={"description": "What is due outside of it waits until it opens; of several that wait, one is fired."},
    )
    jitter_s = Whole(
        0,
        MOST_JITTER_S,
        load_default=0,
        metadata={"description": "A run is fired up to so many seconds after it is due, each always the same, within the window."},
    )
    missed = Word(
        *MISSED,
        load_default="once",
        metadata={"description": "Runs that no dispatcher was there for: `once` fires one for all of them, `skip` none."},
    )
    paused = Flag(load_default=False, metadata={"description": "It is made, and fires nothing until it is resumed."})
    template = fields.Nested(TemplateIn, required=True)
    when = fields.Nested(
        WhenIn,
        load_default=None,
        allow_none=True,
        metadata={"description": "Of `train`: only entities of which one of these holds are trained; all by default."},
    )

    @validates_schema
    def in_itself(self, data: dict[str, Any], **_: Any) -> None:
        if len(data.keys() & {"cron", "every_s"}) != 1:
            raise ValidationError("Name exactly one of cron and every_s.")
        if data.get("when") is not None and "train" not in data.get("template", {}):
            raise ValidationError("Must be left out: only a training has conditions.", "when")
        asked = data.get("template", {}).get("train")
        if asked is not None and is_outside(asked.order.source) and "new_rows" in (data.get("when") or {}):
            raise ValidationError({"when": {"new_rows": ["Must be left out: rows of a source are not counted here. Use age_hours."]}})

    @post_load(pass_original=True)
    def made(self, data: dict[str, Any], original: Mapping[str, Any], **_: Any) -> NewSchedule:
        [(kind, asked)] = data.pop("template").items()
        template = {name: value for name, value in original["template"][kind].items() if name not in _APART}
        whom = getattr(asked, "whom", None)
        window, when = data.pop("window"), data.pop("when")
        return NewSchedule(
            kind=kind,
            order=asked.order if whom is None else about(asked.order, whom.names),
            template=template,
            metadata=asked.metadata,
            selector=None if whom is None else whom.selector,
            open_hours=None if window is None else {"from": window["begin"], "to": window["end"]},
            conditions=when,
            **data,
        )


class ScheduleChangeIn(In):
    """What can be changed of a schedule. For anything else delete it, and make another."""

    paused = Flag(required=True, metadata={"description": "true lets it rest; false goes on with the first run due from now on."})


class OpenHours(Out):
    """Hours of the day in which a schedule fires."""

    begin = fields.String(data_key="from")
    end = fields.String(data_key="to")


class Schedule(Out):
    """A job that is asked for again and again."""

    id = fields.String(metadata=SCHEDULE_ID)
    name = fields.String()
    kind = fields.String(validate=validate.OneOf(tuple(KINDS)), metadata={"description": "Kind of the job."})
    template = fields.Dict(
        metadata={"description": "The request as it was made. Of `entities`, the first hundred; those erased since are left out."}
    )
    entities = fields.Integer(allow_none=True, metadata={"description": "How many it names that are there; null with a selector."})
    metadata = fields.Dict(metadata={"description": "The client's own, given to each job."})
    when = fields.Dict(allow_none=True, metadata=shaped("When"))
    cron = fields.String(allow_none=True)
    every_s = fields.Integer(allow_none=True)
    time_zone = fields.String()
    window = fields.Dict(allow_none=True, metadata=shaped("OpenHours"))
    jitter_s = fields.Integer()
    missed = fields.String(validate=validate.OneOf(MISSED))
    paused = fields.Boolean()
    next_run = fields.Nested(NextRun, allow_none=True, metadata={"description": "Null while it is paused."})
    last_fired_at = Moment(attribute="fired_at", allow_none=True)
    created_at = Moment()
    links = fields.Dict(values=fields.String(metadata={"format": "uri-reference"}), metadata={"description": "Paths: self, runs."})


class ScheduleInFull(Schedule):
    """A schedule with its next five runs, and its last five."""

    next_runs = fields.List(fields.Nested(NextRun), metadata={"description": "None while it is paused."})
    last_runs = fields.List(fields.Nested(ScheduleRun), metadata={"description": "Newest first; the others with `GET …/runs`."})


SchedulePage = page_of(Schedule)
