"""Webhooks: where a tenant wants news to be sent, what was sent, and sending it again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from db import deliveries, webhooks
from db.models import PENDING, Delivery, Webhook
from tasks.addresses import Guard, Refused
from tasks.deliver import message
from webapp.auth import PREFIX
from webapp.context import by, runtime, tenant_id
from webapp.contract import Blueprint
from webapp.pages import decode, page, text
from webapp.problems import fault, invalid
from webapp.schemas import webhooks as wire
from webapp.schemas.fields import iso, moment
from webapp.schemas.pages import PageQuery
from webapp.schemas.parameters import always

blp = Blueprint("webhooks", __name__, description="Being told when a job ends or another version serves")


@blp.route("/webhooks", methods=["GET"])
@blp.arguments(PageQuery, location="query")
@blp.response(200, wire.WebhookPage)
def list_webhooks(query: dict[str, Any]) -> dict[str, Any]:
    """List webhooks, oldest first"""
    filters = {"list": "webhooks"}
    mark = decode(query["cursor"], filters, text)
    with runtime().sessions() as session:
        rows = webhooks.page(session, tenant_id(), limit=query["limit"] + 1, after=mark)
    return page(rows, query["limit"], lambda webhook: webhook.id, filters)


@blp.route("/webhooks", methods=["POST"])
@blp.arguments(wire.WebhookIn)
@blp.response(201, wire.WebhookWithSecret, headers=always("Location"))
@blp.refuses("too_many_webhooks")
def create_webhook(told: dict[str, Any]) -> tuple[Webhook, dict[str, str]]:
    """Have an address told of what happens

    From now on. The address must be public and speak https. Deliveries are signed as Standard Webhooks says, by the secret in the answer.
    """
    try:
        host = Guard.of(runtime().settings).host_of(told["url"])
    except Refused as refused:
        raise invalid(fault("/url", "not_allowed", str(refused))) from None
    most = runtime().settings.tenant_max_webhooks
    with runtime().sessions.begin() as session:
        made = webhooks.create(session, tenant_id(), url=told["url"], host=host, types=told["types"], most=most, by=by())
        session.refresh(made)
    return made, {"Location": f"{PREFIX}/webhooks/{made.id}"}


@blp.route("/webhooks/<webhook_id>", methods=["GET"])
@blp.response(200, wire.Webhook)
@blp.refuses("webhook_not_found")
def get_webhook(webhook_id: str) -> Webhook:
    """Look at a webhook, and whether it is disabled"""
    with runtime().sessions() as session:
        return webhooks.get(session, tenant_id(), webhook_id)


@blp.route("/webhooks/<webhook_id>", methods=["DELETE"])
@blp.response(204, description="It is told nothing more; its deliveries are forgotten.")
@blp.refuses("webhook_not_found")
def delete_webhook(webhook_id: str) -> None:
    """Delete a webhook, and what it was told"""
    with runtime().sessions.begin() as session:
        webhooks.delete(session, tenant_id(), webhook_id, by=by())


@blp.route("/webhooks/<webhook_id>/enable", methods=["POST"])
@blp.response(200, wire.Webhook)
@blp.refuses("webhook_not_found")
def enable_webhook(webhook_id: str) -> Webhook:
    """Tell a disabled webhook again

    What was on its way when it was disabled is sent at once. What happened while it was disabled it is not told.
    """
    with runtime().sessions.begin() as session:
        return webhooks.enable(session, tenant_id(), webhook_id, by=by())


@blp.route("/webhooks/<webhook_id>/rotate", methods=["POST"])
@blp.response(200, wire.WebhookWithSecret)
@blp.refuses("webhook_not_found")
def rotate_secret(webhook_id: str) -> Webhook:
    """Give a webhook a new secret

    For a day deliveries carry two signatures, by the new secret and by the one before.
    """
    with runtime().sessions.begin() as session:
        return webhooks.rotate(session, tenant_id(), webhook_id, by=by())


@blp.route("/webhooks/<webhook_id>/test", methods=["POST"])
@blp.response(200, wire.Delivery)
@blp.refuses("webhook_not_found", "webhook_disabled")
def test_webhook(webhook_id: str) -> dict[str, Any]:
    """Send a message that tells of nothing, of type `webhook.test`"""
    with runtime().sessions.begin() as session:
        return _document(deliveries.try_out(session, webhooks.get(session, tenant_id(), webhook_id)))


@blp.route("/webhooks/<webhook_id>/deliveries")
@blp.arguments(wire.DeliveryQuery, location="query")
@blp.response(200, wire.DeliveryPage)
@blp.refuses("webhook_not_found")
def list_deliveries(query: dict[str, Any], webhook_id: str) -> dict[str, Any]:
    """List what a webhook was told, or is to be told, newest first"""
    filters = {"list": "deliveries", "webhook": webhook_id, "state": query["state"]}
    mark = decode(query["cursor"], filters, _read_mark)
    with runtime().sessions() as session:
        webhook = webhooks.get(session, tenant_id(), webhook_id)
        rows = deliveries.page(session, webhook, state=query["state"], limit=query["limit"] + 1, after=mark)
    listed = page(rows, query["limit"], lambda delivery: [iso(delivery.created_at), delivery.id], filters)
    return listed | {"data": [_document(delivery) for delivery in listed["data"]]}


@blp.route("/webhooks/<webhook_id>/deliveries/<delivery_id>/replay", methods=["POST"])
@blp.response(200, wire.Delivery)
@blp.refuses("webhook_not_found", "delivery_not_found", "webhook_disabled", "delivery_pending")
def replay_delivery(webhook_id: str, delivery_id: str) -> dict[str, Any]:
    """Send a delivery again, under the same `webhook-id`

    One that was delivered, too: a receiver that lost it can ask for it. All its tries are before it again.
    """
    with runtime().sessions.begin() as session:
        return _document(deliveries.replay(session, webhooks.get(session, tenant_id(), webhook_id), delivery_id))


def _document(delivery: Delivery) -> dict[str, Any]:
    columns = ("id", "state", "attempt", "tried_at", "status_code", "error", "delivered_at", "created_at")
    told = {column: getattr(delivery, column) for column in columns}
    due = delivery.next_at if delivery.state == PENDING else None
    return told | {"next_at": due, "message": message(delivery.type, delivery.created_at, delivery.data)}


def _read_mark(mark: Any) -> tuple[datetime, str]:
    at, delivery = mark
    return moment(at), text(delivery)
