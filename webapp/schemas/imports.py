"""Imports on the wire: a base that was learned elsewhere."""

from __future__ import annotations

from marshmallow import EXCLUDE, fields

from webapp.schemas.activations import activation_asked, activation_told
from webapp.schemas.fields import In, Name, Out, Text
from webapp.schemas.shapes import MODEL_ID, SEMVER, shaped
from webapp.schemas.specs import ImportedSpec


class ImportQuery(In):
    name = Name(required=True, metadata={"description": "Name of the base, and of the entity that holds it."})
    activation = activation_asked("Whether trainings that name the base start from it at once. `auto`: if the base has no active version.")


class Manifest(In):
    """What is read of a manifest; an exported one has more."""

    class Meta:
        unknown = EXCLUDE

    spec = fields.Nested(ImportedSpec, required=True)
    recipe = Text(low=1, load_default=None, allow_none=True)


class ImportSpec(Out):
    """The import of a base. Its job has ended when it is first seen, and it is never tried again."""

    entity = fields.String(metadata={"description": "Name of the base, and of the entity that holds it."})
    recipe = fields.String(allow_none=True, metadata={"description": "As its manifest says."})
    target = fields.String(metadata={"description": "The first of `spec.targets`, and the name of the model that holds the base."})
    activation = activation_told()
    sha256 = fields.String(metadata={"pattern": "^[0-9a-f]{64}$", "description": "Of the tensors."})
    bytes = fields.Integer(metadata={"description": "That they take."})
    spec = fields.Dict(metadata=shaped("Spec"))


class ImportResult(Out):
    """What an import brought."""

    base = fields.String(metadata={"description": "Its name, for `base.name` of a training."})
    target = fields.String()
    model = fields.String(metadata=MODEL_ID)
    version = fields.String(metadata={"pattern": SEMVER})
    active = fields.Boolean(metadata={"description": "Trainings that name the base start from it from now on."})
    gate = fields.Dict(metadata=shaped("Verdict"))
