"""The document says what is so: whatever it tells of is provoked here, and nothing else is answered."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import Engine, create_engine, func, select, update
from werkzeug.test import TestResponse

from db.models import Tenant, Webhook
from db.session import make_engine
from tasks.problems import CATALOGUE, problem
from tests.conftest import empty
from tests.support.asking import Place, rows_of, settle
from tests.support.contract import Contract, Operation, contract_of
from tests.support.follower import follower
from tests.support.lake import lake
from tests.support.servers import Servers, database, empty_redis
from tests.support.watched import judge, learn
from tests.support.web import House, make_house, make_runtime
from webapp.examples import EXAMPLES
from webapp.schemas.jobs import OUTCOMES

JSON = "application/json"
KEY = {"Idempotency-Key": "k"}


@dataclass
class World:
    """Houses over the same database that differ in one thing each, and a tenant with one of everything."""

    houses: Mapping[str, House]
    #: Whether the tenant may have been changed since it was settled.
    touched: bool = True
    _numbers: Iterator[int] = field(default_factory=count)
    _settled: Place | None = None
    _as_settled: Any = None

    def place(self) -> Place:
        """The tenant as it was settled: a new one where the last was changed."""
        if self.touched and (self._settled is None or self._held(self._settled) != self._as_settled):
            self._settled = settle(self.houses["plain"], f"tenant {next(self._numbers)}")
            self._as_settled = self._held(self._settled)
        assert self._settled is not None
        return replace(self._settled)

    def _held(self, place: Place) -> Any:
        with place.house.runtime.engine.connect() as connection:
            tenant = connection.execute(select(Tenant.__table__).where(Tenant.id == place.caller.tenant_id)).one()
        return tenant, rows_of(place.house, place.caller.tenant_id)

    def ask(self, house: str, operation: Operation, place: Place, **changes: Any) -> TestResponse:
        """Of another house than the one where the place was made."""
        return place.ask(operation, self.houses[house].app.test_client(), **changes)


@pytest.fixture(scope="module")
def houses(shared_engine: Engine, live: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, House]]:
    folder: Path = tmp_path_factory.mktemp("shelf")
    sources = folder / "sources.toml"

    def house(engine: Engine, **changes: Any) -> House:
        return make_house(make_runtime(engine, live.redis_url, **{"model_dir": folder} | changes))

    with database(live.database_url) as bare_url, follower(live.database_url) as there:
        bare = make_engine(bare_url)
        watched = 'cpu_usage = "temp_f"\nmemory_usage_percent = "rh"\n'
        torn = (there.toml("torn") + watched).replace("temp_f", "no_such_column")
        sources.write_text(torn + there.toml("away").replace("/test_", "/gone_") + watched + lake(folder))
        abroad = house(shared_engine, sources_file=str(sources), source_timeout_s=5.0)
        yield {
            "plain": house(shared_engine),
            "small": house(shared_engine, max_body_bytes=1024),
            "hurried": house(shared_engine, rate_limit_per_minute=1),
            "full": house(shared_engine, max_queue=0, sources_file=str(sources)),
            "crowded": house(shared_engine, max_streams=0, max_inflows=0),
            "abroad": abroad,
            "unheard": house(shared_engine, tenant_max_webhooks=0),
            "tidy": house(shared_engine, tenant_max_schedules=1),
            "narrow": house(shared_engine, tenant_max_streams=0),
            "bare": house(bare),
            "lost": house(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")),
        }
        bare.dispose()
        abroad.runtime.sources.close()


@pytest.fixture(scope="module")
def world(houses: Mapping[str, House], shared_engine: Engine, live: Servers) -> World:
    empty(shared_engine)
    empty_redis(live.redis_url)
    return World(houses)


@pytest.fixture(scope="module")
def contract(houses: Mapping[str, House]) -> Contract:
    return contract_of(houses["plain"].app)


# What any operation can be made to answer, by what it is. One place serves for as many as leave it as it was.

Provoked = Callable[[World, Operation, Place], TestResponse]


def _without_key(world: World, operation: Operation, place: Place) -> TestResponse:
    return place.ask(operation, headers={"Authorization": ""})


def _without_scope(world: World, operation: Operation, place: Place) -> TestResponse:
    [needed] = operation.told["security"][0]["key"]
    place.caller = place.house.caller(f"another {place.caller.tenant_id}", [s for s in ("read", "write", "operate") if s != needed])
    return place.ask(operation)


def _taking_nothing_there_is(world: World, operation: Operation, place: Place) -> TestResponse:
    return place.ask(operation, headers={"Accept": "image/png"})


def _too_often(world: World, operation: Operation, place: Place) -> TestResponse:
    world.ask("hurried", operation, place)
    return world.ask("hurried", operation, place)


def _cut_off(world: World, operation: Operation, place: Place) -> TestResponse:
    return place.ask(operation, body='{"entity": "u', media_type=JSON)


def _too_large(world: World, operation: Operation, place: Place) -> TestResponse:
    return world.ask("small", operation, place, body=json.dumps({"reason": "x" * 2000}), media_type=JSON, headers=KEY)


def _of_another_type(world: World, operation: Operation, place: Place) -> TestResponse:
    return place.ask(operation, body="<entity/>", media_type="text/xml")


def _not_valid(world: World, operation: Operation, place: Place) -> TestResponse:
    """A query that is not read, whatever else it has; outside the door, where nobody minds one, a name that cannot be."""
    if operation.path.startswith("/api/"):
        return place.ask(operation, query={"surprise": 1})
    name = next(iter(operation.names))
    return place.ask(operation, path=place.asked(operation).path | {name: "%00"})


def _with_a_key_twice(world: World, operation: Operation, place: Place) -> TestResponse:
    _have_failed(operation, place)
    assert place.ask(operation, headers=KEY).status_code in (200, 202)
    return place.ask(operation, headers=KEY, body=json.dumps(place.asked(operation).body) + " ", media_type=JSON)


def _over_quota(world: World, operation: Operation, place: Place) -> TestResponse:
    _have_failed(operation, place)
    with place.house.runtime.sessions.begin() as session:
        session.execute(update(Tenant).where(Tenant.id == place.caller.tenant_id).values(max_unfinished=0))
    return place.ask(operation)


def _saturated(world: World, operation: Operation, place: Place) -> TestResponse:
    _have_failed(operation, place)
    return world.ask("full", operation, place)


def _have_failed(operation: Operation, place: Place) -> None:
    """What is retried must have failed."""
    if operation.id == "retry_job":
        place.house.fail(place.caller, job := place.train(epochs=7), problem("worker_lost", "Gone."))
        place.names = {**place.names, "job_id": job}


def _in_house(house: str) -> Provoked:
    return lambda world, operation, place: world.ask(house, operation, place)


def _naming(name: str, value: str) -> Provoked:
    """In the path where it stands there, else in the query, else in the body."""

    def provoke(world: World, operation: Operation, place: Place) -> TestResponse:
        asked = place.asked(operation)
        if name in asked.path:
            return place.ask(operation, path=asked.path | {name: value})
        if any(each["name"] == name for each in operation.told.get("parameters", ())):
            return place.ask(operation, query={name: value})
        members = {"entities": [value, value]} if "entities" in asked.body else {name: value}
        return place.ask(operation, body=asked.body | members)

    return provoke


def _reading(source: str) -> Provoked:
    """Of rows that lie elsewhere."""

    def provoke(world: World, operation: Operation, place: Place) -> TestResponse:
        asked = place.asked(operation)
        if operation.method == "get":
            return world.ask("abroad", operation, place, query={**asked.query, "source": source})
        return world.ask("abroad", operation, place, body={**asked.body, "source": source}, headers={})

    return provoke


def _by_a_worker(house: str, **limits: int) -> Provoked:
    """Of rows that only a worker can read, without waiting for one."""

    def provoke(world: World, operation: Operation, place: Place) -> TestResponse:
        with place.house.runtime.sessions.begin() as session:
            session.execute(update(Tenant).where(Tenant.id == place.caller.tenant_id).values({"max_unfinished": 10, **limits}))
        return world.ask(house, operation, place, query={**place.asked(operation).query, "source": "lake"}, headers={"Prefer": "wait=0"})

    return provoke


def _flowing_in(world: World, operation: Operation, place: Place) -> TestResponse:
    line = json.dumps({"at": "2026-10-11T06:00:00Z", "rhr": 57})
    return world.ask("crowded", operation, place, body=line, media_type="application/x-ndjson")


GENERAL: Mapping[str, Provoked] = {
    "unauthenticated": _without_key,
    "forbidden_scope": _without_scope,
    "not_acceptable": _taking_nothing_there_is,
    "rate_limited": _too_often,
    "malformed_request": _cut_off,
    "body_too_large": _too_large,
    "unsupported_media_type": _of_another_type,
    "validation_failed": _not_valid,
    "idempotency_key_reused": _with_a_key_twice,
    "quota_exceeded": _over_quota,
    "queue_saturated": _saturated,
    "internal": _in_house("bare"),
    "unavailable": _in_house("lost"),
    "source_unavailable": _reading("away"),
    "source_unreadable": _reading("torn"),
    "too_many_streams": _in_house("narrow"),
    "streams_saturated": _in_house("crowded"),
    "entity_not_found": _naming("entity", "nobody"),
    "model_not_found": _naming("model_id", "mdl_none"),
    "version_not_found": _naming("semver", "9.9.9"),
    "job_not_found": _naming("job_id", "job_none"),
    "erasure_not_found": _naming("erasure_id", "ers_none"),
    "webhook_not_found": _naming("webhook_id", "whk_none"),
    "delivery_not_found": _naming("delivery_id", "msg_none"),
    "schedule_not_found": _naming("schedule_id", "sch_none"),
    "not_found": _naming("code", "none"),
}

#: Those that leave everything as it was by what they are: nobody need look.
HARMLESS = set(GENERAL.values()) - {_too_often, _with_a_key_twice, _over_quota, _saturated}

# What only one operation can be made to answer.


def _too_little(world: World, operation: Operation, place: Place) -> TestResponse:
    place.caller.put("/entities/new")
    return place.ask(operation, body={"entity": "new", "recipe": "health-daily"})


def _of_one_alone(world: World, operation: Operation, place: Place) -> TestResponse:
    return place.ask(operation, body={"name": "alone", "selector": {"has_channel": "day_off"}, "recipe": "health-daily"})


def _torn(world: World, operation: Operation, place: Place) -> TestResponse:
    return place.ask(operation, body=place.asked(operation).body[:-30])


def _on_a_full_disk(world: World, operation: Operation, place: Place) -> TestResponse:
    with patch("ml.shelf.put", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        return place.ask(operation)


def _as_it_is(world: World, operation: Operation, place: Place) -> TestResponse:
    return place.ask(operation)


def _pinned(changes: Mapping[str, Any]) -> Provoked:
    return lambda _, operation, place: place.ask(operation, body=place.asked(operation).body | changes)


def _based_on(base: Mapping[str, Any]) -> Provoked:
    def provoke(world: World, operation: Operation, place: Place) -> TestResponse:
        real = {name: value.format(**place.names) for name, value in base.items()}
        return place.ask(operation, body=place.asked(operation).body | {"base": real})

    return provoke


def _based_on_pruned(world: World, operation: Operation, place: Place) -> TestResponse:
    place.house.publish(place.caller, place.train(epochs=7))
    place.caller.delete(f"/models/{place.names['model_id']}/versions/1.0.0")
    return _based_on({"model": "{model_id}", "version": "1.0.0"})(world, operation, place)


def _never_forecast(world: World, operation: Operation, place: Place) -> TestResponse:
    return place.ask(operation, path={"entity": "user-42", "target": "asleep_min"})


def _pruned(world: World, operation: Operation, place: Place) -> TestResponse:
    place.house.publish(place.caller, place.train(epochs=7))
    place.caller.delete(f"/models/{place.names['model_id']}/versions/1.0.0")
    return place.ask(operation)


def _pinned_to_pruned(world: World, operation: Operation, place: Place) -> TestResponse:
    place.house.publish(place.caller, place.train(epochs=7))
    place.caller.delete(f"/models/{place.names['model_id']}/versions/1.0.0")
    return place.ask(operation, body=place.asked(operation).body | {"version": "1.0.0"})


def _of_a_version(changes: Mapping[str, Any]) -> Provoked:
    """The first example is of a recipe."""
    return lambda _, operation, place: place.ask(operation, body={"entity": "user-42", "target": "rhr"} | changes)


def _of_a_pruned_version(world: World, operation: Operation, place: Place) -> TestResponse:
    place.house.publish(place.caller, place.train(epochs=7))
    place.caller.delete(f"/models/{place.names['model_id']}/versions/1.0.0")
    return _of_a_version({"version": "1.0.0"})(world, operation, place)


def _undrawn(world: World, operation: Operation, place: Place) -> TestResponse:
    body = {"entity": "user-42", "recipe": "health-daily", "folds": 2}
    place.names = {**place.names, "job_id": place.caller.post("/backtests", body).json["id"]}
    return place.ask(operation)


def _stale(world: World, operation: Operation, place: Place) -> TestResponse:
    return place.ask(operation, headers={"If-Match": '"0.9.0"'})


def _unfinished(world: World, operation: Operation, place: Place) -> TestResponse:
    place.names = {**place.names, "job_id": place.train(epochs=7)}
    return place.ask(operation)


def _cancelled(world: World, operation: Operation, place: Place) -> TestResponse:
    place.names = {**place.names, "job_id": (job := place.train(epochs=7))}
    place.caller.post(f"/jobs/{job}/cancel")
    return place.ask(operation)


def _erased(world: World, operation: Operation, place: Place) -> TestResponse:
    place.names = {**place.names, "job_id": (job := place.train(epochs=7))}
    place.caller.post(f"/jobs/{job}/cancel")
    place.caller.delete("/entities/user-42")
    return place.ask(operation)


def _failed_as(code: str) -> Provoked:
    def provoke(world: World, operation: Operation, place: Place) -> TestResponse:
        place.names = {**place.names, "job_id": (job := place.train(epochs=7))}
        place.house.fail(place.caller, job, problem(code, "So it was."))
        return place.ask(operation)

    return provoke


def _watched_too_little(world: World, operation: Operation, place: Place) -> TestResponse:
    return place.ask(operation, body={"entity": "user-42", "channels": ["rhr"]})


def _judged_by_a_pruned_version(world: World, operation: Operation, place: Place) -> TestResponse:
    learn(place.house, place.caller, place.watch(seed=7))
    [detector] = place.caller.get("/models?kind=anomaly").json["data"]
    place.caller.delete(f"/models/{detector['id']}/versions/1.0.0")
    return place.ask(operation, body=place.asked(operation).body | {"version": "1.0.0"})


def _deaf(world: World, operation: Operation, place: Place) -> TestResponse:
    with place.house.runtime.sessions.begin() as session:
        session.execute(update(Webhook).values(disabled_at=func.now(), disabled_reason="The answer was 410."))
    return place.ask(operation)


def _templated(template: Mapping[str, Any]) -> Provoked:
    """The same schedule of another job."""
    return lambda _, operation, place: place.ask(operation, body=_unconditional(place, operation) | {"template": template})


def _unconditional(place: Place, operation: Operation) -> dict[str, Any]:
    return {name: value for name, value in place.asked(operation).body.items() if name != "when"}


def _template_of_a_pruned_version(world: World, operation: Operation, place: Place) -> TestResponse:
    place.house.publish(place.caller, place.train(epochs=7))
    place.caller.delete(f"/models/{place.names['model_id']}/versions/1.0.0")
    return _templated({"backtest": {"entity": "user-42", "target": "rhr", "version": "1.0.0"}})(world, operation, place)


def _twice(world: World, operation: Operation, place: Place) -> TestResponse:
    assert place.ask(operation).status_code == 201
    return place.ask(operation)


_BASED = {"entity": "user-42", "recipe": "health-daily", "target": "rhr"}
_PIN = {"version": "9.9.9"}
_NO_MODEL = {"target": "asleep_min", "version": "1.0.0"}
_NEVER = {"entity": "server-7", "from": "2030-01-01"}
_NO_VERSION = {"target": "asleep_min"}
#: By operation and code, and by status where a code has two.
OWN: Mapping[tuple[str, str], Provoked] = {
    ("post_observations", "streams_saturated"): _flowing_in,
    ("post_fleet_observations", "streams_saturated"): _flowing_in,
    ("get_readiness", "quota_exceeded"): _by_a_worker("abroad", max_unfinished=0),
    ("get_readiness", "queue_saturated"): _by_a_worker("full"),
    ("train", "insufficient_data"): _too_little,
    ("train", "model_not_found"): _based_on({"model": "mdl_none"}),
    ("train", "version_not_found"): _based_on({"model": "{model_id}", "version": "9.9.9"}),
    ("train", "version_pruned"): _based_on_pruned,
    ("train", "no_active_version"): _based_on({"name": "user-43"}),
    ("pretrain", "insufficient_data"): _of_one_alone,
    ("import_base", "malformed_request"): _torn,
    ("import_base", "storage_full"): _on_a_full_disk,
    ("predict", "version_not_found"): _pinned(_PIN),
    ("predict", "model_not_found"): _pinned(_NO_MODEL),
    ("predict", "no_active_version"): _pinned(_NO_VERSION),
    ("predict", "version_pruned"): _pinned_to_pruned,
    ("what_if", "version_not_found"): _pinned(_PIN),
    ("what_if", "version_pruned"): _pinned_to_pruned,
    ("what_if", "model_not_found"): _pinned(_NO_MODEL),
    ("what_if", "no_active_version"): _pinned(_NO_VERSION),
    ("backtest", "insufficient_data"): _too_little,
    ("backtest", "version_not_found"): _of_a_version(_PIN),
    ("backtest", "version_pruned"): _of_a_pruned_version,
    ("backtest", "model_not_found"): _of_a_version(_NO_MODEL),
    ("backtest", "no_active_version"): _of_a_version(_NO_VERSION),
    ("get_chart", "job_not_finished"): _undrawn,
    ("train_detector", "insufficient_data"): _watched_too_little,
    ("detect_anomalies", "insufficient_data"): lambda _, operation, place: place.ask(operation, body=_NEVER),
    ("detect_anomalies", "version_not_found"): _pinned(_PIN),
    ("detect_anomalies", "version_pruned"): _judged_by_a_pruned_version,
    ("detect_anomalies", "model_not_found"): _pinned({"model": "other", "version": "1.0.0"}),
    ("detect_anomalies", "no_active_version"): _pinned({"model": "other"}),
    ("get_forecast", "forecast_not_found"): _never_forecast,
    ("get_accuracy", "model_not_found"): _naming("target", "asleep_min"),
    ("get_artefact", "version_pruned"): _pruned,
    ("get_artefact", "artefact_corrupt"): _as_it_is,
    ("delete_version", "model_is_active"): _as_it_is,
    ("create_schedule", "entity_not_found"): _templated({"anomaly_train": {"entity": "nobody"}}),
    ("create_schedule", "model_not_found"): _templated({"train": _BASED | {"base": {"model": "mdl_none"}}}),
    ("create_schedule", "version_not_found"): _templated({"backtest": {"entity": "user-42", "target": "rhr", "version": "9.9.9"}}),
    ("create_schedule", "version_pruned"): _template_of_a_pruned_version,
    ("create_schedule", "schedule_exists"): _twice,
    ("create_schedule", "too_many_schedules"): _in_house("tidy"),
    ("activate", "version_not_found"): _pinned(_PIN),
    ("activate", "version_pruned"): _pruned,
    ("activate", "precondition_failed"): _stale,
    ("rollback", "conflicting_activation"): _as_it_is,
    ("create_webhook", "too_many_webhooks"): _in_house("unheard"),
    ("test_webhook", "webhook_disabled"): _deaf,
    ("replay_delivery", "webhook_disabled"): _deaf,
    ("replay_delivery", "delivery_pending"): _as_it_is,
    ("retry_job", "job_not_finished"): _unfinished,
    ("retry_job", "job_succeeded"): _as_it_is,
    ("retry_job", "entity_not_found"): _erased,
    ("get_result", "job_not_finished"): _unfinished,
    **{("get_result", code): _failed_as(code) for code in OUTCOMES},
    ("get_result", "cancelled"): _cancelled,
}


def _unchanged(world: World, operation: Operation, place: Place) -> TestResponse:
    place.house.shelve()
    etag = place.ask(operation).headers["ETag"]
    return place.ask(operation, headers={"If-None-Match": etag})


def _waited_for(world: World, operation: Operation, place: Place) -> TestResponse:
    """The twin of an unfinished one that ends before anybody has to wait."""
    job, house = place.ask(operation).json["id"], place.house
    deeds = {"what_if": house.compare, "backtest": house.look_back, "detect_anomalies": partial(judge, house)}
    deeds[operation.id](place.caller, job)
    return place.ask(operation, headers=place.asked(operation).headers)


def _seen_to_the_end(world: World, operation: Operation, place: Place) -> TestResponse:
    return place.ask(operation, headers={"Last-Event-ID": "9999-0"})


#: Answers that are no problems and that no example shows.
OTHERS: Mapping[tuple[str, int], Provoked] = {
    ("get_job", 304): _unchanged,
    ("get_artefact", 304): _unchanged,
    ("get_readiness", 202): _by_a_worker("abroad"),
    ("what_if", 200): _waited_for,
    ("backtest", 200): _waited_for,
    ("detect_anomalies", 200): _waited_for,
    ("watch_job", 204): _seen_to_the_end,
    ("readyz", 503): _in_house("lost"),
}


#: Answers that examples show are given where those are run.
SHOWN = {(example.operation, example.status) for example in EXAMPLES}


def documented(contract: Contract) -> Iterator[tuple[Operation, int, str | None]]:
    """Every status of every operation; of a status with problem codes, every code."""
    for operation in contract.operations.values():
        for status in operation.told["responses"]:
            codes = contract.codes(operation, int(status))
            yield from ((operation, int(status), code) for code in codes or [None])


def case_of(operation: Operation, status: int, code: str | None) -> Provoked | None:
    if code is None:
        return OTHERS.get((operation.id, status))
    if (operation.id, code) == ("get_result", "internal"):
        return _failed_as(code) if status == 409 else GENERAL[code]
    if operation.id == "get_result" and code == "validation_failed":
        return GENERAL[code]
    return OWN.get((operation.id, code)) or GENERAL.get(code)


def test_every_answer_documented_is_given(world: World, contract: Contract, operation_id: str) -> None:
    operation = contract.operations[operation_id]
    for _, status, code in (each for each in documented(contract) if each[0] is operation):
        provoke, where = case_of(operation, status, code), f"{operation.id} {status} {code or ''}"
        if provoke is None:
            assert (operation.id, status) in SHOWN, f"no case for {where}"
            continue
        place, world.touched = world.place(), True
        answer = provoke(world, operation, place)
        assert answer.status_code == status, f"{where}: {answer.status} {answer.text[:300]}"
        contract.check(operation, answer)
        assert code is None or answer.json["code"] == code, f"{where}: {answer.text[:300]}"
        if code is not None and operation.id != "get_result":  # whose jobs did not really fail
            assert answer.json.keys() == contract.document["components"]["examples"][code]["value"].keys(), f"{where}: {answer.text[:300]}"
        answer.close()
        # One job more is in nobody's way who asks what became of another.
        world.touched = provoke not in HARMLESS and operation.id != "get_result"
    world.touched = True


def test_no_case_is_left_over(contract: Contract) -> None:
    """A case whose answer the document does not tell of."""
    told = {(operation.id, code) for operation, _, code in documented(contract)}
    assert {each for each in OWN if each not in told} == set()
    assert {code for code in GENERAL if code not in {code for _, code in told}} == set()
    statuses = {(operation.id, status) for operation, status, _ in documented(contract)}
    assert {each for each in OTHERS if each not in statuses} == set()


def test_codes_are_met_where_the_catalogue_says(contract: Contract) -> None:
    """In answers to requests, or only inside jobs (and in the answer to a request for a job's result)."""
    answered = {code for operation, _, code in documented(contract) if operation.id != "get_result" and code is not None}
    elsewhere = {"not_found", "method_not_allowed"}  # of paths that are no operation
    for code, kind in CATALOGUE.items():
        assert kind.in_jobs_only == (code not in answered | elsewhere), code


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "operation_id" in metafunc.fixturenames:
        runtime = make_runtime(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"), "redis://127.0.0.1:1/0")
        metafunc.parametrize("operation_id", contract_of(make_house(runtime).app).operations)
