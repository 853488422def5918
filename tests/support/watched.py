"""A worker's part of the work on detectors, done by hand: a version published, and one anomaly found."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from db import anomalies, entities, ledger, registry
from db.anomalies import Found, Judge
from ml.anomaly.spec import DetectorSpec
from tests.support.web import START, Caller, House

CONTRIBUTION = {"channel": "cpu_usage", "share": 1.0, "value": 97.0, "low": 20.0, "high": 60.0}
THRESHOLDS = {"warning": 0.5, "critical": 0.685}


def learn(house: House, caller: Caller, job_id: str) -> str:
    """Claim, publish a version, finish. Returns the version's number."""
    claim = house.claim(job_id)
    asked = claim.job.spec
    spec = DetectorSpec.from_dict(asked["spec"])
    assert claim.job.model_id is not None
    new = registry.NewVersion(
        job_id=job_id,
        fence=claim.fence,
        recipe=asked["recipe"],
        target=asked["model"],
        spec=spec.as_dict(),
        spec_hash=spec.fingerprint(),
        signature=spec.signature(),
        served_by="isolation_forest",
        metrics=_metrics(spec),
        gate={"passed": True, "checks": [{"name": "held_back_rows", "have": 36, "need": 30, "met": True}], "production_ready": None},
        warnings=[],
        artefact_sha256="ab" * 32,
        artefact_bytes=1234,
        data_from=START,
        data_until=START + timedelta(days=1),
    )
    with house.runtime.sessions.begin() as session:
        ledger.hold(session, job_id, claim.fence)
        made = registry.publish(session, caller.tenant_id, claim.job.model_id, new, activation="always", gate_passed=True, actor="hand")
        told = {"model": made.model_id, "version": made.semver, "active": made.active, "served_by": made.served_by, "gate": made.gate}
        learned = {"features": made.metrics["features"], "contamination": made.metrics["contamination"], "training_samples": 120}
        ledger.succeed(session, job_id, claim.fence, told | learned | {"metrics": made.metrics})
    house.mirror(caller.tenant_id, job_id)
    return made.semver


def _metrics(spec: DetectorSpec) -> dict[str, Any]:
    return {
        "channels": list(spec.channels),
        "features": [f"{name}: value" for name in spec.channels],
        "trees": spec.trees,
        "sample_size": 84,
        "thresholds": THRESHOLDS,
        "contamination": {"asked": spec.alarm_rate, "measured": 0.0},
        "rows": {"observed": 120, "held_back": 36},
        "cadence_s": 300.0,
    }


def judge(house: House, caller: Caller, job_id: str) -> None:
    """Claim, keep one anomaly, finish."""
    claim = house.claim(job_id)
    asked = claim.job.spec
    at = asked["from"]
    with house.runtime.sessions.begin() as session:
        ledger.hold(session, job_id, claim.fence)
        entity = entities.get(session, caller.tenant_id, asked["entity"])
        version = registry.active(session, caller.tenant_id, entity.id, asked["model"], "anomaly")
        assert version is not None
        found = Found(entity.created_at, 0.71, "critical", [CONTRIBUTION])
        anomalies.store(session, Judge(caller.tenant_id, entity.id, version.model_id, version.id, job_id), [found])
        told = {"entity": asked["entity"], "model": version.model_id, "version": version.semver, "from": at, "to": asked["to"]}
        said = {"rows": 25, "newest": {"at": at, "score": 0.1}, "is_anomaly": False, "thresholds": THRESHOLDS}
        called = {"at": at, "score": 0.71, "severity": "critical", "contributions": [CONTRIBUTION]}
        ledger.succeed(session, job_id, claim.fence, told | said | {"counts": {"warning": 0, "critical": 1}, "anomalies": [called]})
    house.mirror(caller.tenant_id, job_id)
