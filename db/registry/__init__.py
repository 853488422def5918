"""The registry: models, their versions, and which version is active.

Functions over a Session; the caller owns the transaction. Whoever writes a version or moves the flag
holds the model's row until it ends.
"""

from db.registry.activation import activate, earlier, rollback
from db.registry.answers import Answering, active, answering, answering_many, sources
from db.registry.history import activations, referenced_artefacts, references, version, versions
from db.registry.lineages import Heads, ensure_model, ensure_models, find_model, find_models, get_model, heads, models
from db.registry.publication import Mode, NewVersion, delete_version, holding, prune, publish, publish_and_prune

__all__ = [
    "Answering",
    "Heads",
    "Mode",
    "NewVersion",
    "activate",
    "activations",
    "active",
    "answering",
    "answering_many",
    "delete_version",
    "earlier",
    "ensure_model",
    "ensure_models",
    "find_model",
    "find_models",
    "get_model",
    "heads",
    "holding",
    "models",
    "prune",
    "publish",
    "publish_and_prune",
    "referenced_artefacts",
    "references",
    "rollback",
    "sources",
    "version",
    "versions",
]
