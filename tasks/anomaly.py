"""The watch at work: a detector learned and published, and rows judged by the one that serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from db import anomalies, entities, registry
from db.models import Json, Version
from db.sources.source import milliseconds
from ml.anomaly.artifact import save_detector
from ml.anomaly.detector import Anomaly, Detection, Detector
from ml.anomaly.spec import FOREST
from ml.anomaly.watch import detect, train_detector
from ml.series import Notice, RawChannels, moment, notice
from ml.stamps import stamp
from tasks.alarms import ANOMALY, HOURS, MOST_ROWS, beginning, require_judgeable
from tasks.execute import Work
from tasks.history import fetch
from tasks.jobs import AnomalyDetectJob, AnomalyTrainJob
from tasks.questions import serving
from tasks.readiness import since
from tasks.sources import Place, at, is_unmeasured, origin
from tasks.workshop import Workshop

#: Rows held back with which a detector passes its gate: fewer say next to nothing of how rare a score is.
HELD_BACK = 30


def anomaly_train(shop: Workshop, works: Sequence[Work]) -> None:
    """Train each detector in hand."""
    for work in works:
        with work.outcome():
            _train(shop, work)


def anomaly_detect(shop: Workshop, works: Sequence[Work]) -> None:
    """Judge the rows of each detection in hand."""
    for work in works:
        with work.outcome():
            _detect(shop, work)


def _train(shop: Workshop, work: Work) -> None:
    job = AnomalyTrainJob.from_dict(work.job.spec)
    work.progress("fetch", fraction=0.0)
    with shop.sessions() as session:
        place = at(session, shop.runtime, work.job.tenant_id, entities.get(session, work.job.tenant_id, job.entity), job.source)
        raw, notices = _history(place, job)
    work.progress("fit", fraction=0.1)
    detector = train_detector(job.entity, raw, job.spec, work.alive)
    work.progress("publish", fraction=0.95)
    new = _version(shop, work, job, replace(detector, warnings=(*notices, *detector.warnings)))

    def write(session: Session) -> tuple[Json, Sequence[Json]]:
        return _result(work.publish_version(session, new, job.activation), detector), new.warnings

    work.publish(write)


def _history(place: Place, job: AnomalyTrainJob) -> tuple[RawChannels, list[Notice]]:
    """As far back as the job looks, and no more rows of a channel than a detector learns from; where there are more, that is said."""
    channels = job.spec.channels
    begin = since([place.newest(channels)], job.look_back_hours)
    raw = fetch(place, channels, since=begin, last_rows=MOST_ROWS + 1)
    cut = [name for name in channels if len(raw[name][0]) > MOST_ROWS]
    said = [notice("look_back_cut", f"Only the newest {MOST_ROWS} rows of {name} were learned from.", channel=name) for name in cut]
    return {name: (times[-MOST_ROWS:], values[-MOST_ROWS:]) for name, (times, values) in raw.items()}, said


def _version(shop: Workshop, work: Work, job: AnomalyTrainJob, detector: Detector) -> registry.NewVersion:
    saved = save_detector(detector, shop.settings.model_dir)
    return registry.NewVersion(
        job_id=work.job.id,
        fence=work.claim.fence,
        recipe=job.recipe,
        target=job.model,
        spec=job.spec.as_dict(),
        spec_hash=job.spec.fingerprint(),
        signature=replace(job.spec, channels=detector.channels).signature(),
        served_by=FOREST,
        metrics=detector.summary(),
        gate=_gate(detector),
        warnings=list(detector.warnings),
        artefact_sha256=saved.sha256,
        artefact_bytes=saved.bytes,
        data_from=detector.data_from,
        data_until=detector.data_until,
        source=origin(job.source),
    )


def _gate(detector: Detector) -> Json:
    """A detector cannot be compared with another: nobody says which rows were unusual. It has to know how rare its scores are."""
    met = detector.held_back >= HELD_BACK
    check = {"name": "held_back_rows", "have": detector.held_back, "need": HELD_BACK, "met": met}
    return {"passed": met, "checks": [check], "production_ready": None}


def _result(version: Version, detector: Detector) -> Json:
    metrics = version.metrics
    return {
        "model": version.model_id,
        "version": version.semver,
        "active": version.active,
        "served_by": version.served_by,
        "features": metrics["features"],
        "contamination": metrics["contamination"],
        "training_samples": detector.rows,
        "metrics": metrics,
        "gate": version.gate,
    }


def _detect(shop: Workshop, work: Work) -> None:
    job = AnomalyDetectJob.from_dict(work.job.spec)
    work.progress("fetch")
    with shop.sessions() as session:
        entity = entities.get(session, work.job.tenant_id, job.entity)
        version = serving(session, work.job.tenant_id, entity, job.model, job.version, ANOMALY)
        detector = shop.detector(version)
        place = at(session, shop.runtime, work.job.tenant_id, entity, job.source or version.source)
        begin = job.begin or beginning(place, detector.channels, job.hours or HOURS, job.end)
        raw = _recent(place, detector, begin, job.end)
    if is_unmeasured(place):
        require_judgeable(_densest(raw, begin), detector.channels, begin, job.end, told=job.begin is not None)
    work.progress("detect")
    found = detect(detector, raw, begin, job.end, work.alive)
    judge = anomalies.Judge(work.job.tenant_id, entity.id, version.model_id, version.id, work.job.id)
    notices = [*_seen_in_training(begin, detector), *found.warnings]

    def write(session: Session) -> tuple[Json, Sequence[Json]]:
        anomalies.store(session, judge, [_kept(each) for each in found.anomalies], _judged(found))
        return _found(job, begin, version, detector, found), notices

    work.publish(write)


def _judged(found: Detection) -> tuple[datetime, datetime] | None:
    """First and last moment with a verdict that was told: of very many alarms only the newest are."""
    times = found.rows.times[np.isfinite(found.rows.scores)]
    if not len(times):
        return None
    cut = any(notice["code"] == "alarms_left_out" for notice in found.warnings)
    return found.anomalies[0].at if cut else moment(times[0]), moment(times[-1])


def _recent(place: Place, detector: Detector, begin: datetime, end: datetime | None) -> RawChannels:
    """The rows to be judged, and those before them that their scores depend on."""
    before = timedelta(seconds=(detector.reach + 1) * detector.step_s)
    return fetch(place, detector.channels, since=begin - before, until=end)


def _densest(raw: RawChannels, begin: datetime) -> int:
    """Rows to be judged of the channel that has most."""
    first = np.datetime64(milliseconds(begin), "ms")
    return max(int((times >= first).sum()) for times, _ in raw.values())


def _seen_in_training(begin: datetime, detector: Detector) -> list[Notice]:
    if begin > detector.data_until:
        return []
    detail = f"Rows up to {stamp(detector.data_until)} were learned from: what is unusual of them counted as usual."
    return [notice("seen_in_training", detail)]


def _kept(found: Anomaly) -> anomalies.Found:
    told = found.as_dict()
    return anomalies.Found(found.at, found.score, found.severity, told["contributions"])


def _found(job: AnomalyDetectJob, begin: datetime, version: Version, detector: Detector, found: Detection) -> Json:
    scores = found.rows.scores
    known = np.flatnonzero(np.isfinite(scores))
    newest = {"at": stamp(moment(found.rows.times[known[-1]])), "score": float(scores[known[-1]])} if len(known) else None
    unusual = bool(len(known)) and float(scores[known[-1]]) >= detector.warning
    counts = Counter(each.severity for each in found.anomalies)
    return {
        "entity": job.entity,
        "model": version.model_id,
        "version": version.semver,
        "from": stamp(begin),
        "to": None if job.end is None else stamp(job.end),
        "rows": len(known),
        "newest": newest,
        "is_anomaly": unusual,
        "thresholds": {"warning": detector.warning, "critical": detector.critical},
        "counts": {name: counts[name] for name in ("warning", "critical")},
        "anomalies": [_told(each) for each in found.anomalies],
    }


def _told(found: Anomaly) -> dict[str, Any]:
    return found.as_dict() | {"at": stamp(found.at)}
