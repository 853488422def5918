"""Schedules over HTTP: checked as the route that they stand for, shown with what comes and what was, and without those who were erased."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tasks.firing import fire_due, fire_now
from tests.support.planned import come
from tests.support.web import Caller, House, days, make_house

TRAIN = {"recipe": "health-daily", "target": "rhr"}


def body(template: dict[str, Any] | None = None, **about: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"name": "nightly", "template": template or {"train": {"entity": "u"} | TRAIN}}
    return given | ({} if "cron" in about else {"every_s": 3600}) | about


def made(caller: Caller, *given: Any, **about: Any) -> dict[str, Any]:
    answer = caller.post("/schedules", body(*given, **about))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json
    return found


def moments(found: dict[str, Any]) -> list[datetime]:
    return [datetime.fromisoformat(each["due_at"]) for each in found["next_runs"]]


def test_it_is_shown_as_it_was_asked_for_with_its_next_five_runs(ready: Caller) -> None:
    window = {"from": "23:30", "to": "05:00"}
    found = made(ready, cron="0 2 * * *", time_zone="Europe/Vienna", window=window, jitter_s=600, when={"age_hours": 24}, missed="skip")
    assert found["template"] == {"train": {"entity": "u"} | TRAIN}
    assert (found["kind"], found["window"], found["missed"], found["paused"]) == ("train", window, "skip", False)
    assert found["when"] == {"age_hours": 24.0, "new_rows": None, "drift": None, "accuracy": None}
    runs = moments(found)
    assert len(runs) == 5
    assert all(one < other <= one + timedelta(hours=25) for one, other in pairwise(runs))
    assert found["next_run"] == found["next_runs"][0]
    again = ready.get(f"/schedules/{found['id']}")
    assert again.json == found


#: What is wrong with a schedule, and where the answer points.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an interval of seconds": (body(every_s=59), "/every_s"),
    "two of them": (body(cron="0 2 * * *") | {"every_s": 3600}, ""),
    "no cron": (body(cron="0 25 * * *"), "/cron"),
    "six fields": (body(cron="0 0 2 * * *"), "/cron"),
    "a day that never comes": (body(cron="0 2 30 2 *"), "/cron"),
    "no time zone": (body(time_zone="Vienna"), "/time_zone"),
    "no window": (body(window={"from": "01:00", "to": "01:00"}), "/window/to"),
    "half a window": (body(window={"from": "01:00"}), "/window/to"),
    "no hour": (body(window={"from": "1 o'c", "to": "05:00"}), "/window/from"),
    "no job": (body({"dream": {}}), "/template/dream"),
    "two jobs": (body({"train": {"entity": "u"} | TRAIN, "anomaly_detect": {"entity": "u"}}), "/template"),
    "a field of the job": (body({"train": {"entity": "u", "surprise": 1} | TRAIN}), "/template/train/surprise"),
    "nobody": (body({"train": TRAIN}), "/template/train"),
    "a spec out of bounds": (body({"train": {"entity": "u", "spec": {"window": 1}} | TRAIN}), "/template/train/spec/window"),
    "no recipe": (body({"train": {"entity": "u", "recipe": "dream"}}), "/template/train/recipe"),
    "a channel that is not there": (body({"anomaly_train": {"entity": "u", "channels": ["dream"]}}), "/template/anomaly_train/channels"),
    "conditions of a detection": (body({"anomaly_detect": {"entity": "u"}}, when={"age_hours": 1}), "/when"),
    "no condition": (body(when={}), "/when"),
    "no verdict": (body(when={"drift": "steady"}), "/when/drift"),
    "better than": (body(when={"accuracy": {"worse_than": 0.5}}), "/when/accuracy/worse_than"),
}


@pytest.mark.parametrize(("asked", "pointer"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_pointed_at(ready: Caller, asked: dict[str, Any], pointer: str) -> None:
    answer = ready.post("/schedules", asked)
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed"), answer.text
    assert [fault["pointer"] for fault in answer.json["errors"]] == [pointer], answer.text
    assert ready.get("/schedules").json["data"] == []


def test_more_than_a_batch_may_hold_is_pointed_at(house: House, ready: Caller) -> None:
    ready.put("/entities/v")
    narrow = replace(house.runtime, settings=replace(house.runtime.settings, max_batch=1))
    ready.client = make_house(narrow).app.test_client()
    for template, where in (({"entities": ["u", "v"]}, "entities"), ({"selector": {}}, "selector")):
        answer = ready.post("/schedules", body({"train": template | TRAIN}))
        assert answer.json["errors"][0]["pointer"] == f"/template/train/{where}", answer.text


def test_paused_and_resumed(ready: Caller) -> None:
    here = f"/schedules/{made(ready)['id']}"
    paused = ready.call("PATCH", here, {"paused": True}).json
    assert (paused["paused"], paused["next_run"], paused["next_runs"]) == (True, None, [])
    assert len(ready.call("PATCH", here, {"paused": False}).json["next_runs"]) == 5
    assert ready.call("PATCH", here, {}).json["errors"][0]["pointer"] == "/paused"


def test_runs_are_listed_in_pages_newest_first_each_with_its_job(house: House, ready: Caller) -> None:
    found = made(ready, {"train": {"entities": ["u"]} | TRAIN})
    for _ in range(3):
        come(house.runtime)
        assert fire_due(house.runtime) == 1
    shown = ready.get(f"/schedules/{found['id']}").json
    assert shown["last_fired_at"] is not None
    first = ready.get(f"/schedules/{found['id']}/runs?limit=2").json
    rest = ready.get(f"/schedules/{found['id']}/runs?limit=2&cursor={first['next_cursor']}").json
    assert first["data"] + rest["data"] == shown["last_runs"]
    assert rest["next_cursor"] is None
    for run in shown["last_runs"]:
        assert ready.get(run["links"]["job"].removeprefix("/api/v1")).json["kind"] == "train"
    other = made(ready, name="another")
    assert ready.get(f"/schedules/{other['id']}/runs?cursor={first['next_cursor']}").status_code == 422
    assert [each["name"] for each in ready.get("/schedules").json["data"]] == ["nightly", "another"]


def test_why_a_run_came_to_nothing_is_told_until_it_may_tell_of_somebody(house: House, ready: Caller) -> None:
    ready.post("/entities/v/observations", {"observations": days(60)})
    found = made(ready, {"backtest": {"entity": "v", "target": "rhr"}})
    fire_now(house.runtime, ready.tenant_id, found["id"])
    [run] = ready.get(f"/schedules/{found['id']}").json["last_runs"]
    assert (run["state"], run["reason"], run["error"]["status"]) == ("failed", "no_active_version", 404)
    assert ready.delete("/entities/v").status_code == 204
    after = ready.get(f"/schedules/{found['id']}").json
    assert (after["entities"], after["template"]["backtest"]["entity"], after["last_runs"][0]["error"]) == (0, None, None)


def test_deleted_it_is_gone_and_its_jobs_are_not(house: House, ready: Caller) -> None:
    found = made(ready)
    fire_now(house.runtime, ready.tenant_id, found["id"])
    job = ready.get(f"/schedules/{found['id']}").json["last_runs"][0]["job"]
    assert ready.delete(f"/schedules/{found['id']}").status_code == 204
    assert ready.get(f"/schedules/{found['id']}").json["code"] == "schedule_not_found"
    assert ready.get(f"/jobs/{job}").status_code == 200
    assert made(ready)["id"] != found["id"], "its name is free again"
