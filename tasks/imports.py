"""Imports: a network learned elsewhere becomes a version of a base, in one transaction with the job that tells of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg.errors import ForeignKeyViolation
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import entities, ledger, registry
from db.errors import NotFound
from db.ledger import Claim
from db.models import SUCCEEDED, Model, Version
from ml import keeper, weights
from ml.shelf import WEIGHTS, Saved
from ml.spec import ModelSpec
from tasks.jobs import ImportJob, digest
from tasks.metrics import JOBS_ENDED
from tasks.named import require_free
from tasks.orders import BASE
from tasks.runtime import Runtime

#: Nobody measured it here, so it takes no other base's place by itself.
GATE = {"passed": False, "checks": [{"name": "imported", "have": None, "need": 0.0, "met": False}], "production_ready": None}


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """A base: its name, what it reads and forecasts, and its tensors as a safetensors file."""

    name: str
    spec: ModelSpec
    weights: bytes
    recipe: str | None = None
    activation: registry.Mode = "auto"


class Imported(NamedTuple):
    version: Version
    #: The base had this very network already; nothing was written.
    known: bool


def import_base(runtime: Runtime, tenant_id: str, order: ImportOrder, actor: str) -> Imported:
    """Check the tensors, put them on the shelf, publish. The entity that holds the base is made where missing.

    Raises WeightsInvalid, SpecInvalid (the name is an entity's that holds no base), StorageFull.
    """
    weights.require(order.weights, order.spec)
    try:
        imported = _import(runtime, tenant_id, order, actor)
    except NotFound:  # the base was erased while this went on: it is made anew
        imported = _import(runtime, tenant_id, order, actor)
    if not imported.known:
        runtime.meter.count(JOBS_ENDED, ImportJob.kind, SUCCEEDED)
    return imported


def _import(runtime: Runtime, tenant_id: str, order: ImportOrder, actor: str) -> Imported:
    job = _job(order)
    try:
        with runtime.sessions.begin() as session:
            model = _model(session, tenant_id, job)
            saved = _shelve(runtime, order)
            known = registry.holding(session, tenant_id, model.id, saved.sha256)
            if known is not None:
                return Imported(known, known=True)
            return Imported(_publish(runtime, session, job, model, saved, actor), known=False)
    except IntegrityError as error:
        if isinstance(error.orig, ForeignKeyViolation):
            raise NotFound("entity", order.name) from error
        raise


def _job(order: ImportOrder) -> ImportJob:
    content = hashlib.sha256(order.weights).hexdigest()
    return ImportJob(order.name, order.recipe, order.spec, content, len(order.weights), order.activation)


def _model(session: Session, tenant_id: str, job: ImportJob) -> Model:
    """An entity that is there is not touched: an erasure takes its models first, and must not wait for us in the other order."""
    require_free(session, tenant_id, job.entity)
    holder = entities.find_many(session, tenant_id, [job.entity]).get(job.entity) or entities.put(session, tenant_id, job.entity, kind=BASE)
    return registry.ensure_model(session, tenant_id, holder.id, job.model, BASE)


def _shelve(runtime: Runtime, order: ImportOrder) -> Saved:
    """What a base is on the shelf depends on its spec and its tensors alone, so the same network is the same artefact."""
    about = {"kind": BASE, "spec": order.spec.as_dict(), "recipe": order.recipe, "imported": True}
    return keeper.keep(runtime.settings.model_dir, about, {WEIGHTS: order.weights})


def _publish(runtime: Runtime, session: Session, job: ImportJob, model: Model, saved: Saved, actor: str) -> Version:
    claim = _begun(runtime, session, job, model)
    new = _new(claim, job, saved)
    keep = runtime.settings.keep_versions
    version = registry.publish_and_prune(session, model.tenant_id, model.id, new, activation=job.activation, actor=actor, keep=keep)
    ledger.succeed(session, claim.job_id, claim.fence, _result(job, version))
    return version


def _begun(runtime: Runtime, session: Session, job: ImportJob, model: Model) -> Claim:
    """The job, written down and taken up in this transaction: it takes nobody's place in a queue, so none is asked for."""
    spec = job.as_dict()
    row, _ = ledger.submit(
        session,
        ledger.NewJob(
            tenant_id=model.tenant_id,
            kind=job.kind,
            queue=job.queue,
            spec=spec,
            spec_hash=digest(spec),
            label=job.label,
            max_attempts=1,
            deadline_s=None,
            entity_id=model.entity_id,
            model_id=model.id,
        ),
    )
    return ledger.begin(session, row.id, f"web@{runtime.settings.host}/{row.id}", runtime.settings.lease_s)


def _new(claim: Claim, job: ImportJob, saved: Saved) -> registry.NewVersion:
    return registry.NewVersion(
        job_id=claim.job_id,
        fence=claim.fence,
        recipe=job.recipe,
        target=job.model,
        spec=job.spec.as_dict(),
        spec_hash=job.spec.fingerprint(),
        signature=job.spec.signature(job.model),
        served_by=job.spec.network,
        metrics={},
        gate=GATE,
        warnings=[],
        artefact_sha256=saved.sha256,
        artefact_bytes=saved.bytes,
        data_from=None,
        data_until=None,
    )


def _result(job: ImportJob, version: Version) -> dict[str, Any]:
    return {
        "base": job.entity,
        "target": job.model,
        "model": version.model_id,
        "version": version.semver,
        "active": version.active,
        "gate": version.gate,
    }
