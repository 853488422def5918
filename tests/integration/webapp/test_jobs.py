"""Watching jobs: status, ETag, waiting, results, lists, cancel, retry."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from sqlalchemy import event

from db import ledger
from tasks import pace, status
from tasks.problems import problem
from tests.support.ledger import pass_by
from tests.support.web import Caller, House, days

TRAIN = {"entity": "u", "recipe": "health-daily"}


@pytest.fixture
def job(ready: Caller) -> str:
    found: str = ready.post("/models/train", TRAIN).json["id"]
    return found


def test_its_way(house: House, ready: Caller, job: str) -> None:
    assert ready.get(f"/jobs/{job}").json["state"] == "queued"
    claim = house.claim(job)
    running = ready.get(f"/jobs/{job}").json
    assert (running["state"], running["attempt"], running["terminal"]) == ("running", 1, False)
    assert running["rev"] > 1
    assert running["started_at"].endswith("Z")
    house.publish(ready, job, claim=claim)
    done = ready.get(f"/jobs/{job}")
    assert (done.json["state"], done.json["terminal"], done.json["result"]["version"]) == ("succeeded", True, "1.0.0")
    assert done.json["expires_at"] > done.json["finished_at"]
    assert "Retry-After" not in done.headers


def test_a_new_job_is_mirrored_by_who_looks_first(house: House, ready: Caller, job: str) -> None:
    assert house.runtime.board.read(ready.tenant_id, job) is None
    seen = ready.get(f"/jobs/{job}").json
    assert house.runtime.board.read(ready.tenant_id, job) == seen


def test_an_etag_that_still_holds_is_answered_304(house: House, ready: Caller, job: str) -> None:
    first = ready.get(f"/jobs/{job}")
    seen = {"If-None-Match": first.headers["ETag"]}
    same = ready.get(f"/jobs/{job}", headers=seen)
    assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert int(same.headers["Retry-After"]) > 0
    house.claim(job)
    assert ready.get(f"/jobs/{job}", headers=seen).status_code == 200
    for garbage in ("x", '"', 'W/"', "\u00e9", '"1.0"' * 50):
        assert ready.get(f"/jobs/{job}", headers={"If-None-Match": garbage}).status_code in (200, 304)


def test_who_names_what_it_saw_is_told_nothing_older(house: House, ready: Caller, job: str) -> None:
    claim = house.claim(job)
    ledger_says = status.fresh(house.runtime, ready.tenant_id, job)
    shown = ledger_says | {"seq": 7, "progress": {"phase": "fit"}}
    status.show(house.runtime, ready.tenant_id, shown)
    seen = ready.get(f"/jobs/{job}").headers["ETag"]
    assert seen == f'"{ledger_says["rev"]}.7"'
    house.runtime.board.forget(ready.tenant_id, [job])  # Redis was emptied, and no heartbeat has written the seventh step down
    behind = ready.get(f"/jobs/{job}", headers={"If-None-Match": seen})
    assert (behind.status_code, behind.headers["ETag"]) == (304, seen)
    assert ready.get(f"/jobs/{job}?wait=0.3", headers={"If-None-Match": seen}).status_code == 304
    house.publish(ready, job, claim=claim)
    house.runtime.board.forget(ready.tenant_id, [job])
    status.show(house.runtime, ready.tenant_id, shown)  # Redis is back with what it knew before the end
    assert ready.get(f"/jobs/{job}", headers={"If-None-Match": f'"{ledger_says["rev"]}.8"'}).json["terminal"]


def test_after_an_outage_of_redis_nobody_is_told_what_it_knew_before(house: House, ready: Caller, job: str) -> None:
    claim = house.claim(job)
    before = status.fresh(house.runtime, ready.tenant_id, job)
    house.publish(ready, job, claim=claim)
    house.runtime.board.forget(ready.tenant_id, [job])
    status.show(house.runtime, ready.tenant_id, before)  # Redis is back, with a status from before
    assert ready.get(f"/jobs/{job}").json["state"] == "running"
    house.runtime.board.forget(ready.tenant_id, [job])
    status.show(house.runtime, ready.tenant_id, before)
    away(house)
    assert ready.get(f"/jobs/{job}").json["state"] == "succeeded"


def away(house: House) -> None:
    """Redis does not answer once."""

    def silence() -> None:
        raise redis.ConnectionError

    breaker = house.runtime.board._breaker
    breaker.insist(silence, None)
    breaker.insist(lambda: None, None)


def test_a_poller_costs_no_query(house: House, ready: Caller, job: str) -> None:
    etag = ready.get(f"/jobs/{job}").headers["ETag"]
    statements: list[str] = []
    event.listen(house.runtime.engine, "before_cursor_execute", lambda *about: statements.append(about[2]))
    assert ready.get(f"/jobs/{job}", headers={"If-None-Match": etag}).status_code == 304
    assert statements == []


def test_waiting_ends_when_something_changes(house: House, ready: Caller, job: str) -> None:
    worker = threading.Timer(0.3, house.claim, [job])
    worker.start()
    begun = time.monotonic()
    answer = ready.get(f"/jobs/{job}?wait=20")
    worker.join()
    assert time.monotonic() - begun < 5
    assert (answer.status_code, answer.json["state"]) == (200, "running")


def test_waiting_ends_at_the_timeout(ready: Caller, job: str) -> None:
    etag = ready.get(f"/jobs/{job}").headers["ETag"]
    begun = time.monotonic()
    assert ready.get(f"/jobs/{job}?wait=0.5", headers={"If-None-Match": etag}).status_code == 304
    assert ready.get(f"/jobs/{job}?wait=0.5").status_code == 200
    assert 0.9 < time.monotonic() - begun < 4


def test_waiting_is_not_needed_when_the_etag_is_old(ready: Caller, job: str) -> None:
    begun = time.monotonic()
    assert ready.get(f"/jobs/{job}?wait=20", headers={"If-None-Match": '"0.0"'}).status_code == 200
    assert time.monotonic() - begun < 2


def test_who_waits_holds_no_connection(house: House, ready: Caller, job: str) -> None:
    answers: list[int] = []
    caller = Caller(house.app.test_client(), ready.tenant_id, ready.key)
    waiter = threading.Thread(target=lambda: answers.append(caller.get(f"/jobs/{job}?wait=1").status_code))
    waiter.start()
    time.sleep(0.5)
    assert house.runtime.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    waiter.join()
    assert answers == [200]


@pytest.mark.parametrize("wait", ["-1", "x", "nan", "inf", "1e400", "99999"])
def test_waits_that_are_none(ready: Caller, job: str, wait: str) -> None:
    answer = ready.get(f"/jobs/{job}?wait={wait}")
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/query/wait")


def test_the_result(house: House, ready: Caller, job: str) -> None:
    early = ready.get(f"/jobs/{job}/result")
    assert (early.status_code, early.json["code"], early.headers["Retry-After"]) == (409, "job_not_finished", "1")
    house.publish(ready, job)
    found = ready.get(f"/jobs/{job}/result")
    assert (found.status_code, found.json["job"], found.json["kind"], found.json["result"]["version"]) == (200, job, "train", "1.0.0")


@pytest.mark.parametrize(("code", "status"), [("insufficient_data", 422), ("worker_lost", 409), ("deadline_exceeded", 409)])
def test_the_result_of_a_failed_job_is_its_problem(house: House, ready: Caller, job: str, code: str, status: int) -> None:
    house.fail(ready, job, problem(code, "So it was."))
    answer = ready.get(f"/jobs/{job}/result")
    assert (answer.status_code, answer.json["code"], answer.json["detail"]) == (status, code, "So it was.")
    assert answer.content_type == "application/problem+json"
    shown = ready.get(f"/jobs/{job}")
    assert (shown.status_code, shown.json["error"]["code"]) == (200, code)


def test_cancel(house: House, ready: Caller, job: str) -> None:
    first = ready.post(f"/jobs/{job}/cancel")
    assert (first.status_code, first.json["state"], first.json["terminal"]) == (200, "cancelled", True)
    assert ready.post(f"/jobs/{job}/cancel").json == first.json
    result = ready.get(f"/jobs/{job}/result")
    assert (result.status_code, result.json["code"]) == (409, "cancelled")


def test_cancel_asks_a_running_job_to_stop(house: House, ready: Caller, job: str) -> None:
    house.claim(job)
    answer = ready.post(f"/jobs/{job}/cancel")
    assert (answer.status_code, answer.json["state"], answer.json["terminal"]) == (200, "cancelling", False)
    assert ready.get(f"/jobs/{job}").json["state"] == "cancelling"


def test_a_batch_and_its_items(house: House, ready: Caller) -> None:
    ready.post("/entities/v/observations", {"observations": days(60)})
    batch = ready.post("/models/train", {"entities": ["u", "v"], "recipe": "health-daily"})
    here = f"/jobs/{batch.json['id']}"
    first, second = ready.get(f"{here}/items").json["data"]
    house.publish(ready, first["id"])
    now = ready.get(f"{here}?wait=3")  # those who watch a batch share one look a second
    assert now.json["progress"]["items"]["succeeded"] == 1
    assert now.headers["ETag"] != batch.headers["ETag"]
    assert ready.get(f"{here}/items?limit=1").json["data"][0]["state"] == "succeeded"
    cursor = ready.get(f"{here}/items?limit=1").json["next_cursor"]
    assert [i["id"] for i in ready.get(f"{here}/items?limit=1&cursor={cursor}").json["data"]] == [second["id"]]
    assert [i["id"] for i in ready.get(f"{here}/items?state=queued").json["data"]] == [second["id"]]
    house.fail(ready, second["id"], problem("flatline_detected", "Flat."))
    done = ready.get(here).json
    assert (done["state"], done["result"]["has_failures"]) == ("succeeded", True)
    retried = ready.post(f"{here}/retry").json
    assert [i["entity"] for i in ready.get(f"/jobs/{retried['id']}/items").json["data"]] == ["v"]
    assert ready.get(f"/jobs/{first['id']}/items").json["data"] == []


def test_a_batch_that_failed_whole_is_a_problem(house: House, ready: Caller) -> None:
    batch = ready.post("/models/train", {"entities": ["u"], "recipe": "health-daily"}).json["id"]
    [item] = ready.get(f"/jobs/{batch}/items").json["data"]
    house.fail(ready, item["id"], problem("flatline_detected", "Flat."))
    answer = ready.get(f"/jobs/{batch}/result")
    assert (answer.status_code < 500, answer.json["code"]) == (True, "batch_failed")


def test_retry_is_a_new_job(house: House, ready: Caller, job: str) -> None:
    early = ready.post(f"/jobs/{job}/retry")
    assert (early.status_code, early.json["code"]) == (409, "job_not_finished")
    house.fail(ready, job, problem("worker_lost", "Gone."))
    answer = ready.post(f"/jobs/{job}/retry", headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json["retry_of"], answer.json["state"]) == (202, job, "queued")
    assert answer.headers["Location"] == f"/api/v1/jobs/{answer.json['id']}"
    again = ready.post(f"/jobs/{job}/retry", headers={"Idempotency-Key": "k"})
    assert (again.json["id"], again.headers["Idempotent-Replayed"]) == (answer.json["id"], "true")
    house.publish(ready, answer.json["id"])
    done = ready.post(f"/jobs/{answer.json['id']}/retry")
    assert (done.status_code, done.json["code"]) == (409, "job_succeeded")


def test_a_key_of_one_retry_is_not_anothers(house: House, ready: Caller, job: str) -> None:
    other = ready.post("/models/train", TRAIN | {"spec": {"epochs": 5}}).json["id"]
    for each in (job, other):
        ready.post(f"/jobs/{each}/cancel")
    first = ready.post(f"/jobs/{job}/retry", headers={"Idempotency-Key": "k"}).json
    second = ready.post(f"/jobs/{other}/retry", headers={"Idempotency-Key": "k"}).json
    assert (first["retry_of"], second["retry_of"]) == (job, other)


def test_the_list(house: House, trained: Caller) -> None:
    done = trained.get("/jobs").json["data"][0]["id"]
    trained.post("/entities/v/observations", {"observations": days(60)})
    queued = trained.post("/models/train", TRAIN | {"entity": "v"}).json["id"]
    asked = trained.post("/predict", {"entity": "u", "target": "rhr"}).json["id"]

    def ids(query: str) -> list[str]:
        return [j["id"] for j in trained.get(f"/jobs{query}").json["data"]]

    assert ids("") == [asked, queued, done]
    assert ids("?kind=train") == [queued, done]
    assert ids("?state=queued") == [asked, queued]
    assert ids("?entity=u") == [asked, done]
    assert ids("?kind=train&state=succeeded&entity=u") == [done]
    first = trained.get("/jobs?limit=2").json
    second = trained.get(f"/jobs?limit=2&cursor={first['next_cursor']}").json
    assert [j["id"] for j in first["data"] + second["data"]] == [asked, queued, done]
    assert second["next_cursor"] is None
    assert trained.get(f"/jobs?limit=2&kind=train&cursor={first['next_cursor']}").status_code == 422


@pytest.mark.parametrize("query", ["kind=nap", "state=cancelling", "entity=", "limit=0", "cursor=WyJhIiwgMV0", "x=1"])
def test_bad_queries(me: Caller, query: str) -> None:
    assert me.get(f"/jobs?{query}").status_code == 422


@pytest.mark.parametrize("job_id", ["job_none", "x", "..", "%C3%BC", "a" * 200])
def test_unknown_jobs(me: Caller, job_id: str) -> None:
    answers: list[Any] = [me.get(f"/jobs/{job_id}{rest}") for rest in ("", "?wait=1", "/result", "/items")]
    answers += [me.post(f"/jobs/{job_id}/{verb}") for verb in ("cancel", "retry")]
    assert {(a.status_code, a.json["code"]) for a in answers} == {(404, "job_not_found")}


def test_when_to_ask_again_comes_from_jobs_that_ended(house: House, ready: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "LEARNT_S", 0)
    first = ready.post("/models/train", TRAIN)
    assert (first.headers["Retry-After"], first.json["estimated_finish_at"]) == ("5", None)
    claim = house.claim(first.json["id"])
    pass_by(house.runtime.sessions, claim.job_id, "started_at", 19)
    with house.runtime.sessions.begin() as session:
        ledger.succeed(session, claim.job_id, claim.fence, {})
    queued = ready.post("/models/train", TRAIN)
    assert queued.headers["Retry-After"] == "10"
    left = datetime.fromisoformat(queued.json["estimated_finish_at"]) - datetime.now(UTC)
    assert 17 < left.total_seconds() < 20
    house.claim(queued.json["id"])
    assert ready.get(f"/jobs/{queued.json['id']}").headers["Retry-After"] == "10"
