"""Entities and their observations: who they are, what was measured, and what is still missing."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import IO, Any, cast

from flask import Response, request
from marshmallow import Schema

from db import entities, observations
from db.entities import Known
from db.models import Entity
from db.observations import Ingested, Row
from db.sources.configs import Config
from ml.recipes import recipe
from tasks import submit
from tasks.erase import follow
from tasks.jobs import ReadinessJob
from tasks.placing import Asker
from tasks.readiness import presumed, readiness
from tasks.sources import is_outside, reach
from webapp.answers import brought
from webapp.auth import PREFIX
from webapp.bodies import whole_body
from webapp.context import by, runtime, tenant_id
from webapp.contract import Blueprint
from webapp.delivering import STREAMED, Delivery, delivery
from webapp.exports import export
from webapp.inflow import encoding, inflow
from webapp.negotiate import CSV, JSON, LINES, chosen
from webapp.pages import decode, number, page, text
from webapp.paths import require_nameable
from webapp.problems import Refusal, invalid
from webapp.schemas import entities as wire
from webapp.schemas.fields import iso, moment
from webapp.schemas.jobs import Job
from webapp.schemas.parameters import PREFER, WAITED, always

blp = Blueprint("entities", __name__, description="Users, devices, sensors, plants, variants: whom observations are about")


def _bodies(rows: type[Schema], said: str) -> dict[str, Any]:
    """Of a delivery. `said`: how a header of CSV begins."""
    csv = f"`{said},channel,value`, or `{said}` and a column for each channel."
    content = {
        "application/json": {"schema": rows},
        "application/x-ndjson": {"schema": {"type": "string", "description": "A line for each row, long or wide."}},
        "text/csv": {"schema": {"type": "string", "description": csv}},
    }
    return {"required": True, "content": content}


@blp.route("/entities")
@blp.arguments(wire.EntityQuery, location="query")
@blp.response(200, wire.EntityPage)
def list_entities(query: dict[str, Any]) -> dict[str, Any]:
    """List entities, oldest first"""
    filters = {"list": "entities", "kind": query["kind"]}
    mark = decode(query["cursor"], filters, number)
    with runtime().sessions() as session:
        rows = entities.page(session, tenant_id(), limit=query["limit"] + 1, after=mark, kind=query["kind"])
    return page(rows, query["limit"], lambda entity: entity.id, filters)


@blp.route("/entities/<name:entity>", methods=["PUT"])
@blp.arguments(wire.EntityIn, required=False)
@blp.response(200, wire.Entity)
def put_entity(told: dict[str, Any], entity: str) -> dict[str, Any]:
    """Make an entity, or say more about it

    What the body leaves out stays as it was.
    """
    require_nameable(entity)
    with runtime().sessions.begin() as session:
        found = entities.put(session, tenant_id(), entity, **told)
        return _described(found, entities.channels(session, found.id))


@blp.route("/entities/<name:entity>", methods=["GET"])
@blp.response(200, wire.Entity)
@blp.refuses("entity_not_found")
def get_entity(entity: str) -> dict[str, Any]:
    """Look at an entity and its channels"""
    with runtime().sessions() as session:
        found = entities.get(session, tenant_id(), entity)
        return _described(found, entities.channels(session, found.id))


def _described(entity: Entity, channels: Any) -> dict[str, Any]:
    columns = ("name", "kind", "attributes", "data_rev", "created_at")
    return {column: getattr(entity, column) for column in columns} | {"channels": channels}


@blp.route("/entities/<name:entity>", methods=["DELETE"])
@blp.response(204, description="Nothing of it is left but its jobs, scrubbed.", headers=always("Location"))
@blp.refuses("entity_not_found")
def delete_entity(entity: str) -> tuple[None, dict[str, str]]:
    """Erase an entity: observations, models, versions, forecasts, cached answers

    Its jobs stay, without its name on them. Artefacts are removed from disk by the reconciler; so is what is remembered in Redis, where
    that cannot be reached now. `Location` is the receipt, which says when the last of it was gone.
    """
    with runtime().sessions.begin() as session:
        erased = entities.delete(session, tenant_id(), entity, by=by())
    follow(runtime(), erased.erasure)
    return None, {"Location": f"{PREFIX}/erasures/{erased.receipt.id}"}


@blp.route("/entities/<name:entity>/observations", methods=["POST"])
@blp.doc(requestBody=_bodies(wire.ObservationsIn, "at"))
@blp.response(200, wire.Delivered)
@blp.refuses("streams_saturated")
def post_observations(entity: str) -> dict[str, Any]:
    """Send observations: JSON, lines of JSON, or CSV

    The last value for a moment stands, so the same delivery may be sent again. The entity and its channels are made when missing.
    A moment without an offset is in UTC. What cannot be taken is listed and the rest is taken; if nothing can, nothing changes.

    Lines and CSV flow in and are never held whole: up to `MAX_STREAM_BYTES`, and packed (`Content-Encoding: gzip` or `zstd`) if you like. A
    body that breaks off changes nothing.
    """
    require_nameable(entity)
    with _body() as body:
        rows = delivery(request.mimetype, body, runtime().settings, entity)
        taken = _take_in(rows, [entity])[entity]
    return {"entity": entity, **asdict(taken), "rejected": rows.rejected, "errors": rows.faults}


@blp.route("/observations", methods=["POST"])
@blp.doc(requestBody=_bodies(wire.FleetObservationsIn, "entity,at"))
@blp.response(200, wire.FleetDelivered)
@blp.refuses("streams_saturated")
def post_fleet_observations() -> dict[str, Any]:
    """Send observations of many entities, each row with its own: JSON, lines of JSON, or CSV

    As a gateway sends them that speaks for a fleet. Everything else is as where the path names the entity: all of it is taken in one
    transaction or nothing is. One request may name as many entities as a batch (`MAX_BATCH`).
    """
    with _body() as body:
        rows = delivery(request.mimetype, body, runtime().settings)
        taken = _take_in(rows).values()
    accepted, replaced = (sum(getattr(each, name) for each in taken) for name in ("accepted", "replaced"))
    return {"entities": len(taken), "accepted": accepted, "replaced": replaced, "rejected": rows.rejected, "errors": rows.faults}


@contextmanager
def _body() -> Iterator[IO[bytes]]:
    """The body of this request: lines as they flow in, JSON whole."""
    if request.mimetype in STREAMED:
        with inflow() as body:
            yield cast("IO[bytes]", body)
    elif encoding() != "identity":
        raise Refusal("unsupported_media_type", f"A packed body may be of {', '.join(STREAMED)}.")
    else:
        yield io.BytesIO(whole_body())


def _take_in(rows: Delivery, made: Sequence[str] = ()) -> Mapping[str, Ingested]:
    """All that can be taken, in one transaction, or nothing; `made` also where no row of them is. By entity."""
    with runtime().sessions.begin() as session:
        found = entities.ensure(session, tenant_id(), made) if made else {}
        taken = observations.upsert_many(session, tenant_id(), rows)
        if rows.faults and not taken:
            raise invalid(*rows.faults)
    return {name: Ingested(0, 0, entity.data_rev) for name, entity in found.items()} | taken


@blp.route("/entities/<name:entity>/observations", methods=["GET"])
@blp.arguments(wire.ObservationQuery, location="query")
@blp.response(200, wire.ObservationPage)
@blp.alt_response(200, schema={"type": "string"}, content_type=LINES, success=True)
@blp.alt_response(200, schema={"type": "string"}, content_type=CSV, success=True)
@blp.refuses("entity_not_found")
def list_observations(query: dict[str, Any], entity: str) -> dict[str, Any] | Response:
    """Read observations, by channel, then by time

    As JSON in pages; as lines of JSON (`Accept: application/x-ndjson`) or CSV (`Accept: text/csv`) all rows at once, in a form that can be
    sent in again.
    """
    form = chosen()
    if form != JSON:
        with runtime().sessions() as session:
            found = entities.get(session, tenant_id(), entity)
        return export(runtime(), found, query, form)
    filters = {"list": "observations", "entity": entity} | {name: query[name] for name in ("channel", "since", "until")}
    mark = decode(query["cursor"], filters, _read_mark)
    with runtime().sessions() as session:
        rows = observations.page(
            session,
            entities.get(session, tenant_id(), entity),
            channels=[query["channel"]] if query["channel"] else None,
            since=query["since"],
            until=query["until"],
            limit=query["limit"] + 1,
            after=mark,
        )
    return page(rows, query["limit"], _mark, filters)


def _mark(row: Row) -> list[str]:
    return [row.channel, iso(row.at)]


def _read_mark(mark: Any) -> tuple[str, datetime]:
    channel, at = mark
    return text(channel), moment(at)


@blp.route("/entities/<name:entity>/readiness")
@blp.reads(PREFER)
@blp.arguments(wire.ReadinessQuery, location="query")
@blp.response(200, wire.Readiness)
@blp.alt_response(202, schema=Job, headers=WAITED, description="A worker measures; its job's `result` will be the answer.", success=True)
@blp.refuses("entity_not_found", "source_unavailable", "source_unreadable", "quota_exceeded", "queue_saturated")
def get_readiness(query: dict[str, Any], entity: str) -> dict[str, Any] | Response:
    """Measure every data requirement of a recipe: have, need, and when it will be met

    With `source` the entity need not be known here. A source that only workers can read, as files are, is measured by one of them, which
    is waited for: up to 30 s, or as long as `Prefer: wait=n` says.
    """
    preset, source = recipe(query["recipe"], runtime().recipes), query["source"]
    with runtime().sessions() as session:
        there = Known(0, entity, None) if is_outside(source) else entities.get(session, tenant_id(), entity)
        where = reach(session, runtime(), tenant_id(), there, source)
        if not isinstance(where, Config):
            return readiness(where, preset, query["target"], {}, None).told(entity, preset.name)
    presumed(where, preset, query["target"], {}, None)  # what is wrong with the question itself needs no worker
    return brought(submit.measure(runtime(), Asker(tenant_id()), ReadinessJob(entity, preset.name, where.name, query["target"])))
