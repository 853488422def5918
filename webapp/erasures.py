"""Erasures: the receipts of what was erased, which name nobody."""

from __future__ import annotations

from typing import Any

from db import receipts
from db.models import Receipt
from webapp.context import runtime, tenant_id
from webapp.contract import Blueprint
from webapp.pages import decode, page, text
from webapp.schemas import erasures as wire
from webapp.schemas.pages import PageQuery

blp = Blueprint("erasures", __name__, description="That entities were erased, and that every store has followed")


@blp.route("/erasures")
@blp.arguments(PageQuery, location="query")
@blp.response(200, wire.ErasurePage)
def list_erasures(query: dict[str, Any]) -> dict[str, Any]:
    """List the receipts of erasures, newest first"""
    filters = {"list": "erasures"}
    mark = decode(query["cursor"], filters, text)
    with runtime().sessions() as session:
        rows = receipts.page(session, tenant_id(), limit=query["limit"] + 1, before=mark)
    return page(rows, query["limit"], lambda receipt: receipt.id, filters)


@blp.route("/erasures/<erasure_id>")
@blp.response(200, wire.Erasure)
@blp.refuses("erasure_not_found")
def get_erasure(erasure_id: str) -> Receipt:
    """Look at the receipt of an erasure: how much there was, and whether every store has followed"""
    with runtime().sessions() as session:
        return receipts.get(session, tenant_id(), erasure_id)
