"""Asking for jobs: trainings, forecasts, what-ifs, backtests, detections.

Every submission is sent under one Idempotency-Key, made here unless given, so that one whose answer is lost is done once. With `wait` the
service answers when the job has ended, or after so many seconds (30 at most).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fleetcast_client.answers.anomalies import AnomalyDetectResult, AnomalyTrainResult
from fleetcast_client.answers.backtests import BacktestResult
from fleetcast_client.answers.forecasts import ForecastResult, WhatIfResult
from fleetcast_client.answers.jobs import BatchResult
from fleetcast_client.answers.models import PretrainResult, TrainResult
from fleetcast_client.asking import Activation, Ahead, BaseName, DetectorChanges, Moment, Scenario, Selector, SpecChanges
from fleetcast_client.http import Http
from fleetcast_client.jobs import Job, submit


class Submissions:
    """The part of the client that asks for jobs."""

    _http: Http

    def train(
        self,
        entity: str,
        *,
        recipe: str,
        target: str | None = None,
        spec: SpecChanges | None = None,
        base: BaseName | None = None,
        model: str | None = None,
        activation: Activation | None = None,
        look_back_hours: float | None = None,
        source: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job[TrainResult]:
        """Train one entity. Raises InsufficientData with every requirement measured where there is too little to learn from."""
        body = {"entity": entity, "recipe": recipe, "target": target, "spec": spec, "base": base, "model": model}
        rest = {"activation": activation, "look_back_hours": look_back_hours, "source": source, "metadata": metadata}
        return submit(self._http, ("models", "train"), body | rest, idempotency_key=idempotency_key)

    def train_batch(
        self,
        entities: Sequence[str] | None = None,
        *,
        recipe: str,
        selector: Selector | None = None,
        target: str | None = None,
        spec: SpecChanges | None = None,
        base: BaseName | None = None,
        model: str | None = None,
        activation: Activation | None = None,
        look_back_hours: float | None = None,
        source: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job[BatchResult]:
        """Train many: those named, or those that a selector finds. Each is an item; one that cannot be trained fails alone."""
        body = {"entities": entities, "selector": selector, "recipe": recipe, "target": target, "spec": spec, "base": base, "model": model}
        rest = {"activation": activation, "look_back_hours": look_back_hours, "source": source, "metadata": metadata}
        return submit(self._http, ("models", "train"), body | rest, idempotency_key=idempotency_key)

    def pretrain(
        self,
        name: str,
        *,
        recipe: str,
        entities: Sequence[str] | None = None,
        selector: Selector | None = None,
        target: str | None = None,
        spec: SpecChanges | None = None,
        activation: Activation | None = None,
        look_back_hours: float | None = None,
        source: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job[PretrainResult]:
        """Train a base: one network learned from many entities, for trainings to start from."""
        body = {"name": name, "entities": entities, "selector": selector, "recipe": recipe, "target": target, "spec": spec}
        rest = {"activation": activation, "look_back_hours": look_back_hours, "source": source, "metadata": metadata}
        return submit(self._http, ("models", "pretrain"), body | rest, idempotency_key=idempotency_key)

    def predict(
        self,
        entity: str,
        target: str,
        *,
        horizon: int | None = None,
        level: float | None = None,
        version: str | None = None,
        future: Ahead | None = None,
        source: str | None = None,
        sink: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> Job[ForecastResult]:
        """Forecast one target of one entity; the job has ended already where the answer is in hand."""
        body = {"entity": entity, "target": target, "horizon": horizon, "level": level, "version": version, "future": future}
        rest = {"source": source, "sink": sink, "metadata": metadata}
        return submit(self._http, ("predict",), body | rest, idempotency_key=idempotency_key, wait=wait)

    def predict_batch(
        self,
        entities: Sequence[str] | None = None,
        *,
        targets: Sequence[str],
        entity: str | None = None,
        selector: Selector | None = None,
        horizon: int | None = None,
        level: float | None = None,
        source: str | None = None,
        sink: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job[BatchResult]:
        """Forecast many: every target of every entity is an item, whose forecast is the result of its own job (`job.items()`)."""
        body = {"entities": entities, "entity": entity, "selector": selector, "targets": targets, "horizon": horizon, "level": level}
        rest = {"source": source, "sink": sink, "metadata": metadata}
        return submit(self._http, ("predict", "batch"), body | rest, idempotency_key=idempotency_key)

    def what_if(
        self,
        entity: str,
        target: str,
        scenarios: Sequence[Scenario],
        *,
        bounds: Literal["clamp", "reject", "warn"] | None = None,
        include_baseline: bool | None = None,
        horizon: int | None = None,
        level: float | None = None,
        version: str | None = None,
        future: Ahead | None = None,
        source: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> Job[WhatIfResult]:
        """Forecast named scenarios beside a baseline."""
        body = {"entity": entity, "target": target, "scenarios": scenarios, "bounds": bounds, "include_baseline": include_baseline}
        rest = {"horizon": horizon, "level": level, "version": version, "future": future, "source": source, "metadata": metadata}
        return submit(self._http, ("predict", "what-if"), body | rest, idempotency_key=idempotency_key, wait=wait)

    def backtest(
        self,
        entity: str,
        *,
        recipe: str | None = None,
        target: str | None = None,
        spec: SpecChanges | None = None,
        folds: int | None = None,
        look_back_hours: float | None = None,
        version: str | None = None,
        from_: Moment | None = None,
        to: Moment | None = None,
        source: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> Job[BacktestResult]:
        """Try a recipe on the past, trained anew for each fold; or, without one, a version on rows known by now."""
        body = {"entity": entity, "recipe": recipe, "target": target, "spec": spec, "folds": folds, "look_back_hours": look_back_hours}
        rest = {"version": version, "from": from_, "to": to, "source": source, "metadata": metadata}
        return submit(self._http, ("backtests",), body | rest, idempotency_key=idempotency_key, wait=wait)

    def train_detector(
        self,
        entity: str,
        *,
        channels: Sequence[str] | None = None,
        recipe: str | None = None,
        model: str | None = None,
        spec: DetectorChanges | None = None,
        activation: Activation | None = None,
        look_back_hours: float | None = None,
        source: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job[AnomalyTrainResult]:
        """Learn what is usual of an entity, without labels."""
        body = {"entity": entity, "channels": channels, "recipe": recipe, "model": model, "spec": spec}
        rest = {"activation": activation, "look_back_hours": look_back_hours, "source": source, "metadata": metadata}
        return submit(self._http, ("anomalies", "train"), body | rest, idempotency_key=idempotency_key)

    def detect(
        self,
        entity: str,
        *,
        hours: float | None = None,
        from_: Moment | None = None,
        to: Moment | None = None,
        model: str | None = None,
        version: str | None = None,
        source: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> Job[AnomalyDetectResult]:
        """Judge the rows of a stretch of time; the last 24 hours of the entity's own unless told."""
        body = {"entity": entity, "hours": hours, "from": from_, "to": to, "model": model, "version": version}
        rest = {"source": source, "metadata": metadata}
        return submit(self._http, ("anomalies", "detect"), body | rest, idempotency_key=idempotency_key, wait=wait)
