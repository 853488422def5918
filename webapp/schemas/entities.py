"""Entities, their channels and their observations on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from db.entities import ChannelInfo
from webapp.schemas.fields import In, Moment, Name, Out, Plain, Real, Several, Text, Word
from webapp.schemas.pages import PageQuery, page_of
from webapp.schemas.problems import Fault, Requirement
from webapp.schemas.submissions import SOURCE_TOLD


class ChannelIn(In):
    """What is known of a channel."""

    name = Name(required=True)
    unit = Text(high=50, load_default=None, allow_none=True, metadata={"description": "As people write it: bpm, ms, kWh."})
    direction = Word("higher", "lower", load_default=None, allow_none=True, metadata={"description": "Which way is better."})
    lower_bound = Real(load_default=None, allow_none=True, metadata={"description": "Least value that makes sense."})
    upper_bound = Real(load_default=None, allow_none=True, metadata={"description": "Greatest value that makes sense."})

    @validates_schema
    def ordered(self, data: dict[str, Any], **_: Any) -> None:
        low, high = data.get("lower_bound"), data.get("upper_bound")
        if low is not None and high is not None and low > high:
            raise ValidationError("Must be less than or equal to upper_bound.", "lower_bound")

    @post_load
    def made(self, data: dict[str, Any], **_: Any) -> ChannelInfo:
        return ChannelInfo(**data)


class EntityIn(In):
    """What is left out stays as it was."""

    kind = Text(low=1, high=50, load_default=None, metadata={"description": "user, device, sensor, plant, variant …"})
    attributes = Plain(
        most=64, size=8192, load_default=None, metadata={"description": "The client's own; selectors find entities by them."}
    )
    channels = Several(fields.Nested(ChannelIn), 0, 1000, load_default=[], metadata={"description": "Channels to make or say more about."})

    @validates_schema
    def distinct(self, data: dict[str, Any], **_: Any) -> None:
        names = [channel.name for channel in data.get("channels", ())]
        if len(set(names)) != len(names):
            raise ValidationError("The same channel is named twice.", "channels")


class Channel(Out):
    """A channel and what is known of it."""

    name = fields.String()
    unit = fields.String(allow_none=True)
    direction = fields.String(allow_none=True, validate=validate.OneOf(("higher", "lower")))
    lower_bound = fields.Float(allow_none=True)
    upper_bound = fields.Float(allow_none=True)


class EntityRow(Out):
    """An entity in a list."""

    entity = fields.String(attribute="name")
    kind = fields.String(allow_none=True)
    attributes = fields.Dict()
    data_rev = fields.Integer(metadata={"description": "Counts deliveries of observations."})
    created_at = Moment()


class Entity(EntityRow):
    """An entity with its channels."""

    channels = fields.List(fields.Nested(Channel))


EntityPage = page_of(EntityRow)


class EntityQuery(PageQuery):
    kind = Text(low=1, high=50, load_default=None, metadata={"description": "Only entities of this kind."})


class Delivered(Out):
    """What became of one delivery of observations."""

    entity = fields.String()
    accepted = fields.Integer(metadata={"description": "Values taken."})
    replaced = fields.Integer(metadata={"description": "Moments among them that were known before."})
    rejected = fields.Integer(metadata={"description": "Rows or values not taken."})
    errors = fields.List(fields.Nested(Fault), metadata={"description": "Why, for the first hundred of them."})
    data_rev = fields.Integer(metadata={"description": "Counts deliveries of observations of this entity."})


class FleetDelivered(Out):
    """What became of one delivery of observations of many entities."""

    entities = fields.Integer(metadata={"description": "Of which at least one value was taken."})
    accepted = fields.Integer(metadata={"description": "Values taken."})
    replaced = fields.Integer(metadata={"description": "Moments among them that were known before."})
    rejected = fields.Integer(metadata={"description": "Rows or values not taken."})
    errors = fields.List(fields.Nested(Fault), metadata={"description": "Why, for the first hundred of them."})


class ObservationIn(In):
    """One value of one channel."""

    channel = Name(required=True)
    at = Moment(required=True)
    value = Real(required=True)


class ObservationsIn(In):
    """Long rows, wide rows, or both. (Documentation only: rows are checked one by one, in `webapp.rows`.)"""

    observations = Several(fields.Nested(ObservationIn), 0, 1_000_000)
    rows = Several(
        fields.Dict(keys=fields.String()),
        0,
        1_000_000,
        metadata={"description": '{"at": moment, "<channel>": number, …}; null is no value.'},
    )


class FleetObservationIn(ObservationIn):
    """One value of one channel of an entity."""

    entity = Name(required=True)


class FleetObservationsIn(In):
    """Long rows, wide rows, or both, each naming its entity. (Documentation only, as above.)"""

    observations = Several(fields.Nested(FleetObservationIn), 0, 1_000_000)
    rows = Several(
        fields.Dict(keys=fields.String()),
        0,
        1_000_000,
        metadata={"description": '{"entity": name, "at": moment, "<channel>": number, …}; null is no value.'},
    )


class Observation(Out):
    """One value of one channel."""

    channel = fields.String()
    at = Moment()
    value = fields.Float()


ObservationPage = page_of(Observation)


class ObservationQuery(PageQuery):
    channel = Name(load_default=None, metadata={"description": "Only observations of this channel."})
    since = Moment(data_key="from", load_default=None, metadata={"description": "First moment; without an offset it is in UTC."})
    until = Moment(data_key="to", load_default=None, metadata={"description": "First moment that is not wanted any more."})


class ReadinessQuery(In):
    recipe = Name(required=True, metadata={"description": "Name of a preset; `GET /recipes` lists them."})
    target = Name(
        load_default=None,
        metadata={"description": "Channel to forecast; the recipe's first by default, and of a `joint` recipe all that are there."},
    )

    source = Name(load_default=None, metadata={"description": "Measure what a source has; by default our own observations."})


class Readiness(Out):
    """Every data requirement of a recipe, measured."""

    entity = fields.String()
    recipe = fields.String()
    target = fields.String(metadata={"description": "The first of those measured."})
    ready = fields.Boolean(metadata={"description": "Every requirement is met: a training would be accepted."})
    requirements = fields.List(fields.Nested(Requirement))


class ReadinessSpec(Out):
    """A measurement that only a worker can make, of what a recipe needs."""

    entity = fields.String()
    recipe = fields.String()
    target = fields.String(allow_none=True, metadata={"description": "Null: the recipe's own."})
    source = fields.String(metadata=SOURCE_TOLD)
