"""The web edge in tests: an app over real servers, a client that presents a key, and a worker's part of the work done by hand."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import Engine, update
from werkzeug.test import Client, TestResponse

from db import entities, forecasts, ledger, registry, tenants
from db.breaker import Breaker, make_redis
from db.forecasts import Question
from db.models import Version
from ml import shelf
from ml.spec import ModelSpec
from tasks import status
from tasks.runtime import Runtime, assemble
from tasks.settings import Settings
from tests.support.contract import require_documented
from webapp.app import create_app

API = "/api/v1"
START = datetime(2026, 1, 1, tzinfo=UTC)


def make_runtime(engine: Engine, redis_url: str, **changes: Any) -> Runtime:
    apart = {"redis_url": redis_url, "log_requests": "none", "model_dir": _shelf()}  # an import must leave nothing in the project
    settings = replace(Settings(), **apart | changes)
    return assemble(settings, engine, make_redis(redis_url, 1.0), Breaker(rest_s=0.05))


@cache
def _shelf() -> Path:
    """Where this run's imports lie; gone when it ends."""
    folder = tempfile.mkdtemp(prefix="fleetcast-test-models-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@dataclass
class Caller:
    """A client of one tenant. Paths are below /api/v1."""

    client: Client
    tenant_id: str
    key: str

    def call(self, method: str, path: str, body: Any = None, **about: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.key}"} | about.pop("headers", {})
        if body is not None:
            about |= {"data": json.dumps(body), "content_type": "application/json"}
        answer = self.client.open(API + path, method=method, headers=headers, **about)
        require_documented(self.client.application, answer)
        return answer

    def get(self, path: str, **about: Any) -> TestResponse:
        return self.call("GET", path, **about)

    def post(self, path: str, body: Any = None, **about: Any) -> TestResponse:
        return self.call("POST", path, body, **about)

    def put(self, path: str, body: Any = None, **about: Any) -> TestResponse:
        return self.call("PUT", path, {} if body is None else body, **about)

    def delete(self, path: str, **about: Any) -> TestResponse:
        return self.call("DELETE", path, **about)


@dataclass
class House:
    """The app, and what a test does behind its back."""

    runtime: Runtime
    app: Flask

    def caller(self, tenant: str, scopes: Sequence[str] = tenants.SCOPES) -> Caller:
        """A new tenant, or a new key of an old one."""
        with self.runtime.sessions.begin() as session:
            known = {t.name: t for t in tenants.list_tenants(session)}
            owner = known.get(tenant) or tenants.create_tenant(session, tenant, max_unfinished=100, max_running=10)
            _, key = tenants.issue_key(session, owner.id, "test", scopes)
        return Caller(self.app.test_client(), owner.id, key)

    def claim(self, job_id: str) -> ledger.Claim:
        with self.runtime.sessions.begin() as session:
            claim = ledger.claim(session, job_id, "hand/1", 30.0)
        assert claim is not None
        self.mirror(claim.tenant_id, job_id)
        return claim

    def mirror(self, tenant_id: str, job_id: str) -> None:
        """As a worker does when it lets go: the job, and the batch that may have ended with it."""
        parent = status.fresh(self.runtime, tenant_id, job_id)["parent"]
        if parent is not None:
            status.fresh(self.runtime, tenant_id, parent)

    def publish(self, caller: Caller, job_id: str, *, activation: registry.Mode = "always", claim: ledger.Claim | None = None) -> str:
        """What a training worker does, also with a base: claim, publish a version, finish. Returns the version's number."""
        claim = claim or self.claim(job_id)
        spec = ModelSpec.from_dict(claim.job.spec["spec"])
        assert claim.job.model_id is not None
        with self.runtime.sessions.begin() as session:
            ledger.hold(session, job_id, claim.fence)
            new = _new_version(claim, spec)
            made = registry.publish(
                session, caller.tenant_id, claim.job.model_id, new, activation=activation, gate_passed=True, actor="hand"
            )
            ledger.succeed(session, job_id, claim.fence, _result(claim, made))
        self.mirror(caller.tenant_id, job_id)
        return made.semver

    def forecast(self, caller: Caller, job_id: str) -> Mapping[str, Any]:
        """What an interactive worker does: claim, store a forecast, finish, remember it in the cache."""
        claim = self.claim(job_id)
        with self.runtime.sessions.begin() as session:
            ledger.hold(session, job_id, claim.fence)
            entity = entities.get(session, caller.tenant_id, claim.job.spec["entity"])
            target = claim.job.spec["target"]
            version = registry.active(session, caller.tenant_id, entity.id, target)
            assert version is not None
            body = _forecast(entity.name, target, version.model_id, version.semver)
            asked = Question(version.id, target, entity.data_rev, len(body["points"]), body["level"])
            forecasts.store(session, caller.tenant_id, asked, entity_id=entity.id, job_id=job_id, data_until=START, body=body)
            ledger.succeed(session, job_id, claim.fence, {"forecast": body})
        self.mirror(caller.tenant_id, job_id)
        return body

    def compare(self, caller: Caller, job_id: str) -> None:
        """What an interactive worker does with a what-if: claim, and finish with every scenario beside the baseline."""
        claim = self.claim(job_id)
        asked = claim.job.spec
        with self.runtime.sessions.begin() as session:
            entity = entities.get(session, caller.tenant_id, asked["entity"])
            version = registry.active(session, caller.tenant_id, entity.id, asked["target"])
            assert version is not None
            body = _what_if(entity.name, asked["target"], version, asked["scenarios"])
            ledger.succeed(session, job_id, claim.fence, body)
        self.mirror(caller.tenant_id, job_id)

    def look_back(self, caller: Caller, job_id: str) -> None:
        """What a worker does with a backtest of a recipe: claim, and finish with a fold."""
        claim = self.claim(job_id)
        with self.runtime.sessions.begin() as session:
            ledger.succeed(session, job_id, claim.fence, _looked_back(claim.job.spec))
        self.mirror(caller.tenant_id, job_id)

    def shelve(self) -> None:
        """Lay an artefact on the shelf, and have every version be that one."""
        files = {"weights.safetensors": bytes(range(256)), "summary.txt": b"u / rhr\n"}
        saved = shelf.put(self.runtime.settings.model_dir, {"entity": "u"}, files)
        with self.runtime.sessions.begin() as session:
            session.execute(update(Version).values(artefact_sha256=saved.sha256, artefact_bytes=saved.bytes))

    def fail(self, caller: Caller, job_id: str, error: dict[str, Any]) -> None:
        claim = self.claim(job_id)
        with self.runtime.sessions.begin() as session:
            ledger.fail(session, job_id, claim.fence, error)
        self.mirror(caller.tenant_id, job_id)


def make_house(runtime: Runtime) -> House:
    return House(runtime, create_app(runtime))


def days(count: int, channel: str = "rhr", start: datetime = START) -> list[dict[str, Any]]:
    """Daily observations, newest yesterday's date or not: readiness counts rows, not the clock."""
    return [{"channel": channel, "at": (start + timedelta(days=n)).isoformat(), "value": 58.0 + n % 7} for n in range(count)]


_SCORES = {
    "n": 70,
    "mae": 1.5,
    "rmse": 2.0,
    "r2": 0.4,
    "mape": 2.6,
    "mape_n": 70,
    "smape": 2.6,
    "mase": 0.8,
    "skill": 0.1,
    "coverage": 0.91,
    "winkler": 6.0,
}


def _result(claim: ledger.Claim, made: Version) -> dict[str, Any]:
    told = {"target": made.target, "model": made.model_id, "version": made.semver, "active": made.active, "gate": made.gate}
    if claim.job.kind == "pretrain":
        losses = dict.fromkeys(claim.job.spec["entities"], 0.9)
        return told | {"base": claim.job.spec["entity"], "entities": len(losses), "skill": 0.1, "losses": losses}
    return told | {"served_by": made.served_by, "metrics": made.metrics, "others": []}


def _metrics(claim: ledger.Claim, network: str) -> dict[str, Any]:
    if claim.job.kind == "pretrain":
        return {network: {"stop": dict.fromkeys(_SCORES) | {"n": 2, "mape_n": 0, "skill": 0.1}}}
    return {name: dict.fromkeys(("calibrate", "test"), _SCORES) for name in ("blend", network, "persistence", "seasonal_naive")}


def _new_version(claim: ledger.Claim, spec: ModelSpec) -> registry.NewVersion:
    return registry.NewVersion(
        job_id=claim.job_id,
        fence=claim.fence,
        recipe=claim.job.spec["recipe"],
        target=spec.targets[0],
        spec=spec.as_dict(),
        spec_hash=spec.fingerprint(),
        signature=spec.signature(spec.targets[0]),
        served_by=spec.network if claim.job.kind == "pretrain" else "blend",
        metrics=_metrics(claim, spec.network),
        gate={"passed": True, "checks": [{"name": "skill", "have": 0.1, "need": 0.0, "met": True}], "production_ready": None},
        warnings=[],
        artefact_sha256="ab" * 32,
        artefact_bytes=1234,
        data_from=START,
        data_until=START + timedelta(days=60),
    )


_SHARES = {"network": 0.5, "linear": 0.2, "seasonal_change": 0.1, "usual_level": 0.1, "persistence": 0.1}


def _forecast(entity: str, target: str, model: str, version: str) -> dict[str, Any]:
    points = [{"at": f"2026-03-0{n}T00:00:00Z", "value": 58.0, "lower": 55.0, "upper": 61.0} for n in range(1, 8)]
    return {
        "entity": entity,
        "target": target,
        "unit": None,
        "made_at": "2026-03-01T00:00:00Z",
        "data_until": "2026-02-28T00:00:00Z",
        "horizon": 7,
        "step": "P1D",
        "served_by": {"kind": "blend", "shares": _SHARES, "model": model, "version": version},
        "skill": 0.1,
        "points": points,
        "level": 0.9,
        "measured_coverage": 0.91,
        "history": {"average": 57.0, "deviation": 1.0, "percentile": 60.0, "days": 30.0, "rows": 30},
        "interpretation": "Close to the 30-day average of 57 bpm; within the usual range.",
        "warnings": [],
        "cached": False,
    }


def _looked_back(asked: Mapping[str, Any]) -> dict[str, Any]:
    measures = ("mae", "rmse", "mase", "skill", "coverage", "winkler")
    steps = {"n": [2, 1], **{name: [1.5, None] for name in measures[:4]}, "coverage": None, "winkler": None}
    scores = {"n": 3, **dict.fromkeys(measures, None), "metrics_per_step": steps}
    told = {"origins": 2, "scores": dict.fromkeys(("lstm", "persistence", "seasonal_naive", "served"), scores)}
    span = dict.fromkeys(("learned_until", "from", "to"), "2026-02-01T00:00:00Z")
    of = {"entity": asked["entity"], "target": asked["target"], "recipe": asked["recipe"], "model": None, "version": None}
    return of | {
        "horizon": 2,
        "step": "P1D",
        "level": 0.9,
        "folds": [{"fold": 1, **span, "seen_in_training": False, "served_by": "blend", **told}],
        "overall": {"folds": 1, **told},
        "trace": {"at": ["2026-02-01T00:00:00Z"], **{name: [1.5] for name in ("truth", "forecast", "lower", "upper")}},
        "others": [],
    }


def _what_if(entity: str, target: str, version: Version, scenarios: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    forecast = _forecast(entity, target, version.model_id, version.semver)
    baseline = {name: value for name, value in forecast.items() if name not in ("entity", "unit", "made_at", "interpretation", "cached")}
    return {
        "entity": entity,
        "served_by": forecast["served_by"],
        "baseline": baseline | {"served_by": {"kind": "blend", "shares": _SHARES}},
        "scenarios": [_scenario(scenario, baseline["points"]) for scenario in scenarios],
        "direction": "lower",
        "best": scenarios[0]["name"],
        "worst": scenarios[-1]["name"],
        "warnings": [],
    }


def _scenario(scenario: Mapping[str, Any], points: list[dict[str, Any]]) -> dict[str, Any]:
    out = {"channel": "asleep_min", "low": 360.0, "high": 470.0, "rows": 2, "farthest": 480.0, "clamped": False}
    return {
        "name": scenario["name"],
        "points": points,
        "delta": [0.0] * len(points),
        "mean_delta": 0.0,
        "used": {change["channel"]: [{"at": "2026-02-28T00:00:00Z", "value": 480.0}] for change in scenario["changes"]},
        "out_of_support": [out],
        "warnings": [{"code": "out_of_support", "detail": "2 values lie outside 360 to 470.", "channel": "asleep_min"}],
    }
