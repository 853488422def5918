"""Detectors on the road: order, row, claim, version; rows judged, what is kept of them, and what is refused."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from db import anomalies, entities, ledger, observations, registry
from db.audit import By
from db.errors import Conflict, NoActiveVersion, NotFound
from db.models import Anomaly, Job
from db.observations import Row
from ml.errors import InsufficientData, SpecInvalid, UnusableData
from tasks import alarms, submit
from tasks import anomaly as at_work
from tasks.alarms import DetectOrder, WatchOrder
from tasks.erase import follow
from tasks.placing import Asker
from tasks.reconcile import tidy_once
from tasks.workshop import Workshop
from tests.support.road import START, ingest, job, tenant, work_off

STEP = timedelta(minutes=5)
LEARNED, LATER = 1_440, 144
QUICK = {"trees": 20}
WATCH = WatchOrder("host-1", overrides=QUICK)


def usage(rows: int, seed: int = 0) -> dict[str, list[float]]:
    """Two channels of a machine with a daily rhythm; what memory does, it does with the load."""
    noise = random.Random(seed)
    load = [40 + 20 * math.sin(2 * math.pi * row / 288) + noise.gauss(0, 2) for row in range(rows)]
    return {"cpu_usage": load, "memory_usage_percent": [30 + each / 4 + noise.gauss(0, 0.5) for each in load]}


def at(row: int) -> datetime:
    return START + row * STEP


def send(shop: Workshop, asker: Asker, channels: Mapping[str, list[float]], first: int) -> None:
    """The rows from `first` on."""
    with shop.sessions.begin() as session:
        made = entities.get(session, asker.tenant_id, "host-1")
        rows = (Row(name, at(row), value) for name, values in channels.items() for row, value in enumerate(values) if row >= first)
        observations.upsert(session, made, rows)


def spiked(channel: str, row: int, to: float, rows: int = LEARNED + LATER) -> dict[str, list[float]]:
    found = usage(rows)
    found[channel][row : row + 3] = [to] * 3
    return found


@pytest.fixture
def acme(shop: Workshop) -> Asker:
    """Five days of a machine."""
    found = tenant(shop)
    ingest(shop, found, "host-1", usage(LEARNED), STEP)
    return found


def ended(shop: Workshop, asker: Asker, order: WatchOrder | DetectOrder) -> Job:
    ask = submit.watch if isinstance(order, WatchOrder) else submit.detect
    asked = ask(shop.runtime, asker, order).job.id  # type: ignore[operator]
    work_off(shop)
    return job(shop, asker, asked)


def result(done: Job) -> dict[str, Any]:
    assert (done.state, done.error) == ("succeeded", None)
    assert done.result is not None
    return done.result


def kept(shop: Workshop, asker: Asker) -> list[anomalies.Told]:
    with shop.sessions() as session:
        return anomalies.page(session, entities.get(session, asker.tenant_id, "host-1"), limit=1_000)


def test_a_detector_is_learned_from_the_channels_there_are_and_published(shop: Workshop, acme: Asker) -> None:
    done = ended(shop, acme, WATCH)
    told = result(done)
    assert (done.kind, done.queue, done.label) == ("anomaly_train", "train", "host-1 anomaly")
    assert (told["version"], told["active"], told["served_by"]) == ("1.0.0", True, "isolation_forest")
    assert told["training_samples"] == LEARNED
    assert {name.split(":")[0] for name in told["features"]} == {"cpu_usage", "memory_usage_percent"}
    assert told["contamination"]["asked"] == 1e-3
    assert told["gate"]["passed"]
    assert [notice["code"] for notice in done.warnings] == ["threshold_extrapolated"]
    with shop.sessions() as session:
        model = registry.get_model(session, acme.tenant_id, told["model"])
        version = registry.version(session, acme.tenant_id, model.id, "1.0.0")
    assert (model.kind, model.name, version.recipe) == ("anomaly", "anomaly", "device-anomaly")
    assert (version.data_from, version.data_until) == (at(0), at(LEARNED - 1))
    assert (shop.settings.model_dir / version.artefact_sha256[:2] / version.artefact_sha256 / "manifest.json").is_file()


def test_one_channel_is_enough(shop: Workshop, acme: Asker) -> None:
    told = result(ended(shop, acme, WatchOrder("host-1", channels=("memory_usage_percent",), overrides=QUICK)))
    assert told["metrics"]["channels"] == ["memory_usage_percent"]
    send(shop, acme, spiked("memory_usage_percent", LEARNED + 50, 90.0), LEARNED)
    found = result(ended(shop, acme, DetectOrder("host-1")))
    [alarm] = [each for each in found["anomalies"] if each["at"] == "2026-01-06T04:10:00Z"]
    assert [each["channel"] for each in alarm["contributions"]] == ["memory_usage_percent"]


@pytest.mark.parametrize(("channel", "to"), [("cpu_usage", 160.0), ("memory_usage_percent", 95.0)])
def test_what_was_planted_is_found_with_its_channel_first(shop: Workshop, acme: Asker, channel: str, to: float) -> None:
    ended(shop, acme, WATCH)
    send(shop, acme, spiked(channel, LEARNED + 100, to), LEARNED)
    done = ended(shop, acme, DetectOrder("host-1"))
    found = result(done)
    assert (done.kind, done.queue) == ("anomaly_detect", "interactive")
    assert done.spec["from"] == "2026-01-05T11:55:00Z", "the last 24 hours of its own rows"
    assert found["rows"] == 289
    [alarm] = [each for each in found["anomalies"] if each["at"] == at(LEARNED + 100).isoformat().replace("+00:00", "Z")]
    first = alarm["contributions"][0]
    assert (first["channel"], first["value"]) == (channel, to)
    assert not first["low"] <= to <= first["high"]
    assert sum(each["share"] for each in alarm["contributions"]) == pytest.approx(1)
    assert alarm["score"] >= found["thresholds"][alarm["severity"]]
    assert sum(found["counts"].values()) == len(found["anomalies"])
    assert found["is_anomaly"] is False


def test_the_newest_row_says_whether_it_is_unusual_now(shop: Workshop, acme: Asker) -> None:
    ended(shop, acme, WATCH)
    send(shop, acme, spiked("cpu_usage", LEARNED + LATER - 3, 160.0), LEARNED)
    found = result(ended(shop, acme, DetectOrder("host-1", hours=1)))
    assert found["is_anomaly"] is True
    assert found["newest"]["at"] == at(LEARNED + LATER - 1).isoformat().replace("+00:00", "Z")
    assert found["newest"]["score"] >= found["thresholds"]["warning"]


def test_judged_twice_and_in_pieces_the_same_rows_are_kept_once(shop: Workshop, acme: Asker) -> None:
    ended(shop, acme, WATCH)
    send(shop, acme, spiked("cpu_usage", LEARNED + 100, 160.0), LEARNED)
    whole = result(ended(shop, acme, DetectOrder("host-1", begin=at(LEARNED))))
    before = [(told.row.id, told.row.at, told.row.score) for told in kept(shop, acme)]
    assert [moment for _, moment, _ in reversed(before)] == [datetime.fromisoformat(each["at"]) for each in whole["anomalies"]]
    cut = at(LEARNED + 101)
    pieces = [
        each
        for order in (DetectOrder("host-1", begin=at(LEARNED), end=cut), DetectOrder("host-1", begin=cut))
        for each in result(ended(shop, acme, order))["anomalies"]
    ]
    assert pieces == whole["anomalies"], "a row is judged by itself and what came before it"
    assert [(told.row.id, told.row.at, told.row.score) for told in kept(shop, acme)] == before


def test_rows_that_were_learned_from_are_said_to_be(shop: Workshop, acme: Asker) -> None:
    ended(shop, acme, WATCH)
    done = ended(shop, acme, DetectOrder("host-1"))
    assert "seen_in_training" in [notice["code"] for notice in done.warnings]
    send(shop, acme, usage(LEARNED + LATER), LEARNED)
    later = ended(shop, acme, DetectOrder("host-1", begin=at(LEARNED)))
    assert "seen_in_training" not in [notice["code"] for notice in later.warnings]


def test_a_pinned_version_judges_and_a_rollback_changes_who_does(shop: Workshop, acme: Asker) -> None:
    first = result(ended(shop, acme, WATCH))
    second = result(ended(shop, acme, WatchOrder("host-1", overrides={**QUICK, "alarm_rate": 0.01})))
    assert (second["version"], second["active"]) == ("1.1.0", True)
    assert result(ended(shop, acme, DetectOrder("host-1")))["version"] == "1.1.0"
    pinned = result(ended(shop, acme, DetectOrder("host-1", version="1.0.0")))
    assert (pinned["version"], pinned["thresholds"]) == ("1.0.0", first["metrics"]["thresholds"])
    with shop.sessions.begin() as session:
        registry.rollback(session, acme.tenant_id, second["model"], reason=None, by=By("test"))
    assert result(ended(shop, acme, DetectOrder("host-1")))["version"] == "1.0.0"
    other = result(ended(shop, acme, WatchOrder("host-1", channels=("cpu_usage",), overrides=QUICK)))
    assert other["version"] == "2.0.0", "who reads of other channels reads something else"


def test_asked_twice_at_once_it_is_one_job_until_there_are_new_rows(shop: Workshop, acme: Asker) -> None:
    trainings = [submit.watch(shop.runtime, acme, WATCH) for _ in range(2)]
    assert [each.deduplicated for each in trainings] == [False, True]
    work_off(shop)
    order = DetectOrder("host-1", begin=at(1_200))
    one, two = (submit.detect(shop.runtime, acme, order) for _ in range(2))
    send(shop, acme, usage(LEARNED + 1), LEARNED)
    three = submit.detect(shop.runtime, acme, order)
    assert (two.job.id, two.deduplicated) == (one.job.id, True)
    assert three.job.id != one.job.id


def test_few_held_back_rows_do_not_pass_the_gate(shop: Workshop, acme: Asker) -> None:
    ended(shop, acme, WATCH)
    done = result(ended(shop, acme, WatchOrder("host-1", overrides={**QUICK, "held_back": 0.1}, look_back_hours=10)))
    [check] = done["gate"]["checks"]
    assert (check["name"], check["have"], check["met"], done["active"]) == ("held_back_rows", 12, False, False)


def test_a_look_back_is_cut_where_it_would_be_too_long(shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_work, "MOST_ROWS", 500)
    done = ended(shop, acme, WATCH)
    assert result(done)["training_samples"] == 500
    assert [n["channel"] for n in done.warnings if n["code"] == "look_back_cut"] == ["cpu_usage", "memory_usage_percent"]


@pytest.mark.parametrize(
    ("order", "error", "said"),
    [
        (WatchOrder("host-1", channels=("fan",)), SpecInvalid, "it has: cpu_usage, memory_usage_percent"),
        (WatchOrder("host-1", recipe="device-metric"), SpecInvalid, "known: device-anomaly"),
        (WatchOrder("host-1", overrides={"alarm_rate": 0.5}), SpecInvalid, "alarm_rate"),
        (WatchOrder("host-1", look_back_hours=5), InsufficientData, "61 of 100 rows of cpu_usage"),
        (WatchOrder("nobody"), NotFound, "nobody"),
    ],
)
def test_a_training_that_cannot_be_is_refused(shop: Workshop, acme: Asker, order: WatchOrder, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        submit.watch(shop.runtime, acme, order)


@pytest.mark.parametrize(
    ("order", "error", "said"),
    [
        (DetectOrder("host-1", version="9.9.9"), NotFound, "9.9.9"),
        (DetectOrder("host-1", model="other"), NoActiveVersion, "other"),
        (DetectOrder("host-1", begin=at(9_999)), UnusableData, "no row of cpu_usage, memory_usage_percent from 2026"),
        (DetectOrder("host-1", end=at(-9_999)), UnusableData, "no row"),
        (DetectOrder("host-1", begin=at(0)), SpecInvalid, "more than one detection judges"),
        (DetectOrder("host-1", hours=9_999), SpecInvalid, "more than one detection judges"),
    ],
)
def test_a_detection_that_cannot_be_is_refused(
    shop: Workshop, acme: Asker, monkeypatch: pytest.MonkeyPatch, order: DetectOrder, error: type[Exception], said: str
) -> None:
    ended(shop, acme, WATCH)
    monkeypatch.setattr(alarms, "MOST_ROWS", 1_000)
    with pytest.raises(error, match=said):
        submit.detect(shop.runtime, acme, order)


def test_a_pruned_version_judges_nothing(shop: Workshop, acme: Asker) -> None:
    model = result(ended(shop, acme, WATCH))["model"]
    ended(shop, acme, WATCH)
    with shop.sessions.begin() as session:
        registry.delete_version(session, acme.tenant_id, model, "1.0.0")
    with pytest.raises(Conflict, match="pruned"):
        submit.detect(shop.runtime, acme, DetectOrder("host-1", version="1.0.0"))


def test_a_channel_that_fell_silent_ends_the_job_and_is_named(shop: Workshop, acme: Asker) -> None:
    ended(shop, acme, WATCH)
    only = {"cpu_usage": usage(LEARNED + 9_000)["cpu_usage"]}
    send(shop, acme, only, LEARNED)
    done = ended(shop, acme, DetectOrder("host-1", hours=1))
    assert done.state == "failed"
    assert done.error is not None
    assert (done.error["code"], done.error["channels"]) == ("feature_missing", ["memory_usage_percent"])


def test_a_line_that_never_moves_is_not_learned(shop: Workshop) -> None:
    asker = tenant(shop)
    ingest(shop, asker, "host-1", {"cpu_usage": [7.0] * 200}, STEP)
    done = ended(shop, asker, WATCH)
    assert done.state == "failed"
    assert done.error is not None
    assert done.error["code"] == "flatline_detected"


def test_erased_with_its_entity_and_purged_with_time(shop: Workshop, acme: Asker) -> None:
    ended(shop, acme, WATCH)
    send(shop, acme, spiked("cpu_usage", LEARNED + 100, 160.0), LEARNED)
    assert len(result(ended(shop, acme, DetectOrder("host-1", begin=at(LEARNED))))["anomalies"]) > 0
    assert tidy_once(shop.runtime)["anomalies"] == 0
    with shop.sessions.begin() as session:
        long_ago = func.clock_timestamp() - timedelta(days=shop.settings.anomaly_retention_days, hours=1)
        session.execute(update(Anomaly).values(found_at=long_ago))
    assert tidy_once(shop.runtime)["anomalies"] > 0
    assert kept(shop, acme) == []

    ended(shop, acme, DetectOrder("host-1", begin=at(LEARNED)))
    assert kept(shop, acme)
    with shop.sessions.begin() as session:
        erased = entities.delete(session, acme.tenant_id, "host-1")
    follow(shop.runtime, erased.erasure)
    with shop.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Anomaly)) == 0
        assert ledger.violations(session) == {}
    assert tidy_once(shop.runtime)["broken"] == 0
