"""The audit: who made keys, moved versions, erased entities, changed webhooks and schedules."""

from __future__ import annotations

from typing import Any

from db import audit
from webapp.context import runtime, tenant_id
from webapp.contract import Blueprint
from webapp.pages import decode, number, page
from webapp.schemas import audit as wire

blp = Blueprint("audit", __name__, description="Who did what, and in which request")


@blp.route("/audit")
@blp.arguments(wire.AuditQuery, location="query")
@blp.response(200, wire.AuditPage)
def list_audit(query: dict[str, Any]) -> dict[str, Any]:
    """List who did what, newest first

    Keys made, rotated and revoked; versions activated, rolled back and deleted by hand; entities erased; webhooks and schedules made,
    changed and deleted. An entry is written in the transaction that did it, and is neither changed nor deleted before
    `AUDIT_RETENTION_DAYS`.
    """
    told = {name: query[name] for name in ("action", "actor")}
    filters = {"list": "audit"} | told
    mark = decode(query["cursor"], filters, number)
    with runtime().sessions() as session:
        rows = audit.page(session, tenant_id(), **told, limit=query["limit"] + 1, before=mark)
    return page(rows, query["limit"], lambda entry: entry.id, filters)
