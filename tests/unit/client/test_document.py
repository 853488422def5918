"""The client and the OpenAPI document: every operation can be asked with all that it takes, and every answer is read whole."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from typing import Any, Literal, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

import httpx
import pytest
from sqlalchemy import create_engine

import fleetcast_client.answers
from fleetcast_client import Client, Job, asking
from fleetcast_client.answers.jobs import JobStatus
from fleetcast_client.errors import KINDS
from fleetcast_client.reading import Answer
from fleetcast_client.watching import EVENTS
from tasks.problems import CATALOGUE
from tests.support.contract import Contract, Operation, contract_of
from tests.support.web import make_house, make_runtime

Body = Mapping[str, Any]
AT = datetime(2026, 1, 1, tzinfo=UTC)

#: By operation: the methods that ask it. A job's are its handle's.
METHODS: Mapping[str, tuple[str, ...]] = {
    "list_entities": ("entities.list",),
    "get_entity": ("entities.get",),
    "put_entity": ("entities.put",),
    "delete_entity": ("entities.erase",),
    "list_observations": ("observations.read", "observations.read_frame"),
    "post_observations": ("observations.write", "observations.write_csv"),
    "post_fleet_observations": ("observations.write_many", "observations.write_many_csv"),
    "get_readiness": ("entities.readiness",),
    "list_erasures": ("erasures.list",),
    "get_erasure": ("erasures.get",),
    "train": ("train", "train_batch"),
    "pretrain": ("pretrain",),
    "import_base": ("models.import_base",),
    "list_models": ("models.list",),
    "list_models_of": ("models.list",),  # the same list by another address
    "get_model": ("models.get",),
    "list_versions": ("models.versions",),
    "get_version": ("models.version",),
    "delete_version": ("models.prune",),
    "get_artefact": ("models.download",),
    "activate": ("models.activate",),
    "rollback": ("models.rollback",),
    "list_activations": ("models.activations",),
    "predict": ("predict",),
    "predict_batch": ("predict_batch",),
    "what_if": ("what_if",),
    "get_forecast": ("forecast",),
    "get_accuracy": ("accuracy",),
    "backtest": ("backtest",),
    "get_chart": ("job.chart",),
    "train_detector": ("train_detector",),
    "detect_anomalies": ("detect",),
    "list_anomalies": ("anomalies",),
    "list_schedules": ("schedules.list",),
    "create_schedule": ("schedules.create",),
    "get_schedule": ("schedules.get",),
    "delete_schedule": ("schedules.delete",),
    "change_schedule": ("schedules.pause", "schedules.resume"),
    "list_schedule_runs": ("schedules.runs",),
    "list_jobs": ("jobs.list",),
    "get_job": ("jobs.get", "job.refresh"),
    "get_result": ("job.result",),
    "list_items": ("job.items",),
    "cancel_job": ("job.cancel",),
    "retry_job": ("job.retry",),
    "watch_job": ("job.events",),
    "list_webhooks": ("webhooks.list",),
    "create_webhook": ("webhooks.create",),
    "get_webhook": ("webhooks.get",),
    "delete_webhook": ("webhooks.delete",),
    "enable_webhook": ("webhooks.enable",),
    "rotate_secret": ("webhooks.rotate",),
    "test_webhook": ("webhooks.test",),
    "list_deliveries": ("webhooks.deliveries",),
    "replay_delivery": ("webhooks.replay",),
    "list_audit": ("audit",),
    "list_recipes": ("service.recipes",),
    "healthz": ("service.alive",),
    "readyz": ("service.ready",),
    "queues": ("service.queues",),
    "get_metrics": ("service.metrics",),
    "list_problems": ("service.problems",),
    "get_problem": ("service.problem",),
}
#: Rows are lines, long or wide, in place of the JSON body that holds either.
AS_LINES = {"post_observations", "post_fleet_observations"}

#: Answers that the client takes apart: pages, and what a method gives as something plainer.
TAKEN_APART = re.compile(r"\w+Page|\w+In|Result|Alive|Depths|CauseList|Selector")
RENAMED = {"Job": "JobStatus", "Problem": "ProblemDetails"}
#: What is asked with, by the schema's name.
DICTS = {
    "ObservationIn": "Row",
    "ChannelIn": "ChannelFacts",
    "Selector": "Selector",
    "SplitIn": "SplitShares",
    "SpecIn": "SpecChanges",
    "BaseIn": "BaseName",
    "ChangeIn": "Change",
    "ScenarioIn": "Scenario",
    "DetectorSpecIn": "DetectorChanges",
    "OpenHoursIn": "Hours",
    "AccuracyIn": "WorseThan",
    "WhenIn": "When",
}


@pytest.fixture(scope="module")
def contract() -> Contract:
    runtime = make_runtime(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"), "redis://127.0.0.1:1/0")
    return contract_of(make_house(runtime).app)


class Sent(Exception):
    """A request on its way out, stopped there."""


def stop(request: httpx.Request) -> httpx.Response:
    request.read()
    raise Sent(request)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client("http://service.example", "fk_a_b", transport=httpx.MockTransport(stop)) as made:
        yield made


def test_every_operation_has_a_method(contract: Contract) -> None:
    assert METHODS.keys() == contract.operations.keys()


@pytest.mark.parametrize("operation_id", METHODS)
def test_a_method_sends_all_that_its_operation_takes(client: Client, contract: Contract, operation_id: str) -> None:
    operation = contract.operations[operation_id]
    requests = [sent(method_of(client, name)) for name in METHODS[operation_id]]
    path = re.compile(re.sub(r"\{\w+\}", "[^/]+", operation.path))
    if operation_id != "list_models_of":
        assert all(request.method == operation.method.upper() for request in requests)
        assert all(path.fullmatch(request.url.raw_path.decode().partition("?")[0]) for request in requests), requests
    queries = {name for request in requests for name in request.url.params}
    headers = {name for request in requests for name in request.headers}
    for parameter in map(contract.follow, operation.told.get("parameters", ())):
        where = {"query": queries, "header": headers, "path": {parameter["name"]}}[parameter["in"]]
        known = parameter["name"].lower() if parameter["in"] == "header" else parameter["name"]
        assert known in where or (operation_id, parameter["name"]) == ("list_models_of", "entity"), parameter["name"]
    assert members(operation, contract) <= {name for request in requests for name in body_of(request)}


def members(operation: Operation, contract: Contract) -> set[str]:
    content = operation.told.get("requestBody", {}).get("content", {})
    if "application/json" not in content or operation.id in AS_LINES:
        return set()
    return set(contract.follow(content["application/json"]["schema"])["properties"])


def body_of(request: httpx.Request) -> Body:
    found: Body = json.loads(request.content) if request.headers.get("Content-Type") == "application/json" else {}
    return found


def method_of(client: Client, name: str) -> Callable[..., Any]:
    place, _, method = name.rpartition(".")
    if place == "job":
        return getattr(Job(client._http, cancelled(), etag='"1.0"'), method)  # type: ignore[no-any-return]
    return getattr(getattr(client, place) if place else client, method)  # type: ignore[no-any-return]


def cancelled() -> JobStatus:
    """As far as its handle looks."""
    return JobStatus.read({"id": "job_1", "kind": "predict", "state": "cancelled", "terminal": True})


def sent(method: Callable[..., Any]) -> httpx.Request:
    """The request that a call makes which gives every argument."""
    hints = get_type_hints(method, localns={"pd": types.SimpleNamespace(DataFrame=dict)})
    given = {name: value_of(name, hints[name]) for name in inspect.signature(method).parameters}
    with pytest.raises(Sent) as stopped:
        for _ in method(**given):
            pass
    found: httpx.Request = stopped.value.args[0]
    return found


def value_of(name: str, hint: Any) -> Any:
    """Something that such an argument may be."""
    if name in ("file", "parcel"):
        return __file__ if name == "file" else b"zip"
    if name == "rows":
        return [{"at": AT, "rhr": 57}]
    options = [option for option in get_args(hint) if option is not types.NoneType] if is_union(hint) else [hint]
    first = options[0]
    plain = {str: "a", int: 3, float: 3.5, bool: True, datetime: AT}
    if first in plain:
        return plain[first]
    if get_origin(first) is Literal:
        return get_args(first)[0]
    return {"a": 1} if is_typeddict(first) or issubclass(get_origin(first), Mapping) else ["a"]


def is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


# Answers


def kinds() -> dict[str, type[Answer]]:
    """Every kind of answer there is, by its name."""
    found = {}
    for module in pkgutil.iter_modules(fleetcast_client.answers.__path__):
        here = importlib.import_module(f"fleetcast_client.answers.{module.name}")
        found |= {name: value for name, value in vars(here).items() if isinstance(value, type) and issubclass(value, Answer)}
    return {name: kind for name, kind in found.items() if kind is not Answer}


def schemas(contract: Contract) -> dict[str, Body]:
    return dict(contract.document["components"]["schemas"])


def test_every_answer_has_its_kind(contract: Contract) -> None:
    told = {RENAMED.get(name, name) for name in schemas(contract) if not TAKEN_APART.fullmatch(name)}
    assert told == set(kinds())


@pytest.mark.parametrize("name", sorted(kinds()))
def test_a_kind_has_every_member_of_its_answer_and_none_besides(contract: Contract, name: str) -> None:
    kind, schema = kinds()[name], schemas(contract)[next((old for old, new in RENAMED.items() if new == name), name)]
    hints, own = get_type_hints(kind), {each.name.rstrip("_"): each for each in fields(kind) if each.name != "more"}
    assert own.keys() == schema.get("properties", {}).keys()
    for member, told in schema.get("properties", {}).items():
        needed = member in schema.get("required", ())
        assert (own[member].default is MISSING) == needed, member
        assert shape(hints[own[member].name]) == told_shape(told, nullable=not needed), member


def shape(hint: Any) -> Any:
    """A type, as both sides can write it down."""
    if is_union(hint):
        return frozenset(each for option in get_args(hint) for each in flat(shape(option)))
    origin = get_origin(hint)
    if origin is tuple:
        return ("array", shape(get_args(hint)[0]))
    if origin is not None and origin is not Literal and issubclass(origin, Mapping):
        return ("object", shape(get_args(hint)[1]))
    if is_typeddict(hint):
        return hint.__name__
    names = {str: "string", int: "integer", float: "number", bool: "boolean", datetime: "date-time", types.NoneType: "null", Any: "any"}
    return names.get(hint) or hint.__name__


def told_shape(schema: Body, *, nullable: bool = False) -> Any:
    options = [told_shape(each) for each in schema.get("anyOf", ())] or [named_shape(schema)]
    nothing = {"null"} if nullable or "null" in schema.get("type", ()) else set()
    found = frozenset(each for option in options for each in flat(option)) | nothing
    return next(iter(found)) if len(found) == 1 else found


def named_shape(schema: Body) -> Any:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return RENAMED.get(name) or DICTS.get(name) or name
    kinds_ = [each for each in (schema["type"] if isinstance(schema.get("type"), list) else [schema.get("type", "any")]) if each != "null"]
    if kinds_ == ["array"]:
        return ("array", told_shape(schema["items"]))
    if kinds_ == ["object"]:
        return ("object", told_shape(schema.get("additionalProperties") or {}))
    return "date-time" if schema.get("format") == "date-time" else "null" if not kinds_ else kinds_[0]


def flat(found: Any) -> Any:
    return found if isinstance(found, frozenset) else {found}


def test_every_event_is_read_as_what_it_is(contract: Contract) -> None:
    told = contract.operations["watch_job"].told["x-events"]
    named = {event: schema["$ref"].rpartition("/")[2] for event, schema in told.items()}
    assert {event: kind.__name__ for event, kind in EVENTS.items()} == {event: RENAMED.get(name, name) for event, name in named.items()}


@pytest.mark.parametrize(("schema", "name"), DICTS.items())
def test_what_is_asked_with_has_every_member_that_the_service_takes(contract: Contract, schema: str, name: str) -> None:
    kind, told = getattr(asking, name), schemas(contract)[schema]
    assert get_type_hints(kind).keys() == told["properties"].keys()
    extras = get_type_hints(kind, include_extras=True)
    required = {member for member, hint in extras.items() if get_origin(hint) is Required or kind.__total__}
    assert required == set(told.get("required", ()))
    for member, hint in get_type_hints(kind).items():
        choice = told["properties"][member].get("enum")
        if choice:
            allowed = {each for option in (get_args(hint) if is_union(hint) else [hint]) for each in get_args(option)}
            assert allowed == {each for each in choice if each is not None}, member


def test_every_problem_has_its_meaning() -> None:
    assert KINDS.keys() == CATALOGUE.keys()
