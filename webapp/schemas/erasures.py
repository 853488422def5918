"""Receipts of erasures on the wire."""

from __future__ import annotations

from marshmallow import fields

from webapp.schemas.fields import Moment, Out
from webapp.schemas.pages import page_of
from webapp.schemas.shapes import numbered


class Erasure(Out):
    """The receipt of an erasure. It names nobody."""

    id = fields.String(metadata={"pattern": numbered("ers")})
    entity_sha256 = fields.String(
        metadata={"pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of `<id>:<name>`: who knows the name can tell that it is this one."}
    )
    erased_by = fields.String(metadata={"description": "The key that asked for it, by its public part."})
    request_id = fields.String(allow_none=True, metadata={"description": "`X-Request-Id` of the request."})
    erased = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        metadata={"description": "Rows that left, by table; jobs that were scrubbed; artefacts to be deleted."},
    )
    erased_at = Moment(metadata={"description": "From then on nobody was answered from it."})
    done_at = Moment(allow_none=True, metadata={"description": "When Redis and the disk had followed; null until then."})


ErasurePage = page_of(Erasure)
