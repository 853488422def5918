"""Another tenant's things do not exist: every operation of the document, with every id that there is, and 404 each time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.asking import Place, rows_of, settle
from tests.support.contract import Contract, Operation, contract_of
from tests.support.web import Caller, House, days

#: Parameters and members of bodies that name a thing of a tenant, or hold such a name. A list of such names is one, too.
NAMES = {"entity", "entities", "model_id", "semver", "job_id", "schedule_id", "target", "base", "template"} | {
    *("webhook_id", "delivery_id", "erasure_id")
}
#: Those that name nothing of anybody's alone. What a model or a version is called means something only beside an entity or a model.
PLAIN = {
    *("limit", "cursor", "kind", "state", "wait", "channel", "from", "to", "recipe", "name", "code"),
    *("attributes", "channels", "observations", "rows", "metadata", "reason", "version"),
    *(
        "spec",
        "model",
        "activation",
        "look_back_hours",
        "selector",
        "targets",
        "horizon",
        "level",
        "scenarios",
        "bounds",
        "include_baseline",
        "folds",
        "hours",
        "severity",
        "future",
        "source",
        "sink",
        "url",
        "types",
        "cron",
        "every_s",
        "time_zone",
        "window",
        "jitter_s",
        "missed",
        "paused",
        "when",
        "action",
        "actor",
    ),
}
#: Making something under a name is everyone's right: names of entities are each tenant's own.
OWN = {"put_entity", "post_observations", "import_base"}
#: Operations that name nothing: lists of one's own things, and what is the same for all.
LISTS = {"list_entities", "list_models", "list_jobs", "list_webhooks", "list_schedules", "list_erasures"}
#: A list that is never empty: it begins with the making of the key that asks for it.
AUDIT = "list_audit"
#: Of one the body is no JSON, and the name in its query is a new thing's; one names a thing of nobody's; of one the rows name each its own.
MAKES = {"import_base", "create_webhook", "post_fleet_observations"}
SAME_FOR_ALL = {"list_recipes"}


@pytest.fixture
def mine(house: House) -> Place:
    """One of everything, a forecast and a batch under way among it."""
    place = settle(house, "mine")
    house.forecast(place.caller, place.caller.post("/predict", {"entity": "user-42", "target": "rhr"}).json["id"])
    place.caller.post("/predict/batch", {"entities": ["user-42"], "targets": ["rhr"]})
    place.train(epochs=7)
    return place


@pytest.fixture
def contract(house: House) -> Contract:
    return contract_of(house.app)


def members(contract: Contract, operation: Operation) -> set[str]:
    """What an operation's path, query and JSON body can name."""
    parameters = {each["name"] for each in operation.told.get("parameters", ()) if each["in"] == "query"}
    content = operation.told.get("requestBody", {}).get("content", {}).get("application/json", {"schema": {}})
    return {*operation.names, *parameters, *contract.follow(content["schema"]).get("properties", ())}


def guarded(contract: Contract) -> list[Operation]:
    return [operation for operation in contract.operations.values() if operation.guarded]


def jobs_of(place: Place) -> list[str]:
    """Every job, items too, and those that Redis mirrors."""
    top = [job["id"] for job in place.caller.get("/jobs").json["data"]]
    return top + [item["id"] for job in top for item in place.caller.get(f"/jobs/{job}/items").json["data"]]


def ways(contract: Contract, operation: Operation, mine: Place) -> Iterator[dict[str, Any]]:
    """Every way in which this operation can name something of `mine`, as changes to its example."""
    asked = mine.asked(operation)
    if operation.names:
        for job in jobs_of(mine) if "job_id" in operation.names else [""]:
            yield {"path": asked.path | ({"job_id": job} if job else {})}
        return
    told = members(contract, operation)
    in_query = {each["name"] for each in operation.told.get("parameters", ()) if each["in"] == "query"}
    if "template" in told:
        yield {"body": asked.body | {"template": {"train": {"entities": ["user-42", "user-42"], "recipe": "health-daily"}}}}
    for name in sorted(told & {"entity", "entities"}):
        value = "user-42" if name == "entity" else ["user-42", "user-42"]
        others = {key: inner for key, inner in (asked.body or {}).items() if key not in ("entity", "entities", "selector")}
        yield {"query": {name: value}} if name in in_query else {"body": others | {name: value}}


def test_every_name_is_one_of_those_known_here(contract: Contract) -> None:
    """A new parameter or member must be said to name a thing of a tenant, or not to."""
    for operation in guarded(contract):
        assert members(contract, operation) <= NAMES | PLAIN, operation.id


def test_every_operation_with_every_id_of_another_tenant(house: House, contract: Contract, mine: Place) -> None:
    other, before = Place(house, house.caller("another"), mine.names), rows_of(house, mine.caller.tenant_id)
    for operation in guarded(contract):
        found = list(ways(contract, operation, mine))
        assert found or operation.id in LISTS | SAME_FOR_ALL | MAKES | {AUDIT}, f"nobody said what {operation.id} can name"
        for changes in found if operation.id not in OWN else ():
            answer = other.ask(operation, **changes)
            where = f"{operation.id} {changes}: {answer.text[:300]}"
            contract.check(operation, answer)
            assert (answer.status_code, answer.mimetype) == (404, "application/problem+json"), where
            assert answer.json["code"].endswith("_not_found"), where
            assert "user-42" not in answer.json["detail"] or "user-42" in str(changes), where
    assert rows_of(house, mine.caller.tenant_id) == before
    assert set(map(len, rows_of(house, other.caller.tenant_id).values())) == {0}


def test_lists_show_only_ones_own(house: House, contract: Contract, mine: Place) -> None:
    """Without a name there is nothing that could not exist: the list of what one has is empty."""
    other = Place(house, house.caller("another"))
    for name in LISTS:
        assert mine.ask(contract.operations[name], query={}).json["data"], name
        assert other.ask(contract.operations[name], query={}).json == {"data": [], "next_cursor": None}
    [made] = other.ask(contract.operations[AUDIT], query={}).json["data"]
    assert (made["action"], made["subject"]) == ("key.created", other.caller.key.split("_")[1])


def test_what_is_the_same_for_all(house: House, contract: Contract, mine: Place) -> None:
    other = Place(house, house.caller("another"))
    for name in SAME_FOR_ALL:
        assert mine.ask(contract.operations[name]).json == other.ask(contract.operations[name]).json


def test_the_same_name_is_another_entity(house: House, contract: Contract, mine: Place) -> None:
    other, before = Place(house, house.caller("another"), mine.names), rows_of(house, mine.caller.tenant_id)
    for name in OWN:
        assert other.ask(contract.operations[name]).status_code in (200, 201)
    assert other.caller.delete("/entities/user-42").status_code == 204
    assert rows_of(house, mine.caller.tenant_id) == before


def test_a_selector_finds_only_ones_own(house: House, mine: Place) -> None:
    answer = house.caller("another").post("/models/train", {"selector": {}, "recipe": "health-daily"})
    assert (answer.status_code, answer.json["code"]) == (404, "entity_not_found")


def test_a_base_of_another_tenant_does_not_exist(house: House, mine: Place) -> None:
    """Neither by the id of a model of it, nor by the name of a base."""
    shared = mine.caller.post("/models/pretrain", {"name": "hearts", "entities": ["user-42", "user-43"], "recipe": "health-daily"}).json
    house.publish(mine.caller, shared["id"])
    [base] = mine.caller.get("/models?kind=base").json["data"]
    other, before = settle(house, "another").caller, rows_of(house, mine.caller.tenant_id)
    train = {"entity": "user-42", "recipe": "health-daily", "target": "rhr"}
    for told, code in (
        ({"model": base["id"]}, "model_not_found"),
        ({"model": base["id"], "version": "1.0.0"}, "model_not_found"),
        ({"model": mine.names["model_id"]}, "model_not_found"),
        ({"name": "hearts"}, "entity_not_found"),
    ):
        for body in (train | {"base": told}, {"entities": ["user-42"], "recipe": "health-daily", "base": told}):
            answer = other.post("/models/train", body)
            assert (answer.status_code, answer.json["code"]) == (404, code), (body, answer.text)
    assert other.get("/models?kind=base").json["data"] == []
    assert rows_of(house, mine.caller.tenant_id) == before
    assert mine.caller.post("/models/train", train | {"base": {"name": "hearts"}}).json["spec"]["base"]["model"] == base["id"]


def test_an_idempotency_key_is_ones_own(ready: Caller, other: Caller) -> None:
    other.post("/entities/u/observations", {"observations": days(60)})
    body, key = {"entity": "u", "recipe": "health-daily"}, {"Idempotency-Key": "k"}
    one, theirs = (caller.post("/models/train", body, headers=key) for caller in (ready, other))
    assert one.json["id"] != theirs.json["id"]
    assert "Idempotent-Replayed" not in theirs.headers
    assert theirs.json["deduplicated"] is False


def test_a_cursor_of_another_tenant_shows_only_ones_own(trained: Caller, other: Caller) -> None:
    for number in range(3):
        trained.put(f"/entities/x{number}")
    cursor = trained.get("/entities?limit=1").json["next_cursor"]
    assert other.get(f"/entities?cursor={cursor}").json["data"] == []


SCOPES = ("read", "write", "operate")


def test_every_operation_without_a_key_and_without_its_scope(house: House, contract: Contract, mine: Place) -> None:
    """Refused before anything is done."""
    before, known = rows_of(house, mine.caller.tenant_id), mine.caller
    lacking = {scope: house.caller("mine", [each for each in SCOPES if each != scope]) for scope in SCOPES}
    for operation in guarded(contract):
        [needed] = operation.told["security"][0]["key"]
        for key, code in (
            ("", "unauthenticated"),
            ("Bearer fk_000000000000_" + "0" * 64, "unauthenticated"),
            ("Basic eA==", "unauthenticated"),
        ):
            answer = mine.ask(operation, headers={"Authorization": key})
            assert (answer.status_code, answer.json["code"]) == (401, code), operation.id
        mine.caller = lacking[needed]
        answer = mine.ask(operation)
        assert (answer.status_code, answer.json["code"]) == (403, "forbidden_scope"), operation.id
        assert f"`{needed}`" in answer.json["detail"], operation.id
        mine.caller = known
    assert rows_of(house, mine.caller.tenant_id) == before


def test_a_scope_is_enough_for_what_it_is_told_for(house: House, contract: Contract, mine: Place) -> None:
    only: Mapping[str, Caller] = {scope: house.caller("mine", [scope]) for scope in SCOPES}
    for operation in guarded(contract):
        [needed] = operation.told["security"][0]["key"]
        mine.caller = only[needed]
        answer = mine.ask(operation)
        assert answer.status_code not in (401, 403), (operation.id, answer.text[:300])
        answer.close()
