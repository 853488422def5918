"""Models on the wire: lineages of versions."""

from __future__ import annotations

from marshmallow import fields, validate

from tasks.orders import BASE
from webapp.schemas.accuracy import DriftBrief
from webapp.schemas.fields import Moment, Name, Out, Word
from webapp.schemas.pages import PageQuery, page_of
from webapp.schemas.shapes import MODEL_ID
from webapp.schemas.versions import Version

KINDS = ("forecast", "anomaly", BASE)


class Model(Out):
    """The lineage: which version serves, and which came last."""

    id = fields.String(metadata=MODEL_ID)
    entity = fields.String()
    kind = fields.String(
        validate=validate.OneOf(KINDS), metadata={"description": "`base`: a network for others to start from, which forecasts for nobody."}
    )
    name = fields.String(metadata={"description": "The target, unless the training named another."})
    active_version = fields.Nested(Version, allow_none=True)
    latest_version = fields.Nested(Version, allow_none=True)
    drift = fields.Nested(
        DriftBrief, allow_none=True, metadata={"description": "Null where no version serves, or the one that does was not judged yet."}
    )
    created_at = Moment()
    links = fields.Dict(
        values=fields.String(metadata={"format": "uri-reference"}), metadata={"description": "Paths: self, versions, activations."}
    )


ModelPage = page_of(Model)


class UserModelQuery(PageQuery):
    name = Name(load_default=None, metadata={"description": "Only models of this name."})
    kind = Word(*KINDS, load_default=None, metadata={"description": "Only models of this kind."})


class ModelQuery(UserModelQuery):
    entity = Name(load_default=None, metadata={"description": "Only models of this entity."})
