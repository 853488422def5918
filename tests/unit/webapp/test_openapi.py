"""The OpenAPI document: complete, consistent, and true to the routes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import validate
from sqlalchemy import create_engine

from db.models import TERMINAL, UNFINISHED
from ml.baselines import NAIVE
from ml.blend import BLEND
from ml.errors import ModelError
from ml.spec import CHOICES
from tasks.problems import CATALOGUE, problem
from tests.support.contract import contract_of
from tests.support.web import make_house, make_runtime
from webapp.contract import Blueprint
from webapp.examples import EXAMPLES
from webapp.examples.example import Example
from webapp.problems import _FAULTS
from webapp.schemas import jobs, problems, shapes

METHODS = ("get", "put", "post", "delete", "patch")
#: For people and browsers: no part of the contract.
PAGES = {("get", "/openapi.json"), ("get", "/docs"), ("get", "/redoc"), ("get", "/assets/{name}")}
PAGES |= {
    ("get", path) for path in ("/", "/login", "/entities/{entity}", "/charts/{entity}", "/accuracy/{entity}", "/jobs", "/jobs/{job_id}")
}
PAGES |= {("post", "/login"), ("post", "/logout")}


@pytest.fixture(scope="module")
def app() -> Flask:
    return make_house(make_runtime(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"), "redis://127.0.0.1:1/0")).app


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    found: dict[str, Any] = app.test_client().get("/openapi.json").json
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item, item[method]


def nodes(value: Any) -> Iterator[Any]:
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(inner)


def at(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found


def follow(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = at(document, node["$ref"]) if "$ref" in node else node
    return found


def references(value: Any) -> set[str]:
    return {node["$ref"] for node in nodes(value) if isinstance(node, dict) and isinstance(node.get("$ref"), str)}


def test_the_frame(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert {"title", "version"} <= document["info"].keys()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    assert references(document)
    for reference in references(document):
        assert at(document, reference)


def test_every_path_parameter_is_declared(document: dict[str, Any]) -> None:
    for _, path, item, operation in operations(document):
        declared = {p["name"] for p in item.get("parameters", []) + operation.get("parameters", []) if p["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path)), path


def test_parameters_are_told_once_and_apart(document: dict[str, Any]) -> None:
    for _, path, item, operation in operations(document):
        told = [(p["in"], p["name"]) for p in item.get("parameters", []) + operation.get("parameters", [])]
        assert len(set(told)) == len(told), path


def test_it_is_a_valid_document(document: dict[str, Any]) -> None:
    validate(document)


def test_every_operation_is_told_in_full(document: dict[str, Any]) -> None:
    for method, path, _, operation in operations(document):
        where = (method, path)
        assert operation["summary"].count("\n") == 0, where
        assert not operation["summary"].endswith("."), where
        assert operation["tags"], where
        assert operation["operationId"], where
        assert "default" not in operation["responses"], where
        assert [status for status in operation["responses"] if status.startswith("2")], where
    ids = [operation["operationId"] for _, _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)


def test_every_parameter_and_tag_says_what_it_is(document: dict[str, Any]) -> None:
    for _, path, item, operation in operations(document):
        for parameter in item.get("parameters", []) + operation.get("parameters", []):
            assert parameter.get("description"), (path, parameter["name"])
            assert "null" not in str(parameter["schema"].get("type")), (path, parameter["name"])
    assert {tag for _, _, _, operation in operations(document) for tag in operation["tags"]} == {tag["name"] for tag in document["tags"]}
    assert all(tag["description"] for tag in document["tags"])


def test_every_response_says_what_it_is(document: dict[str, Any]) -> None:
    for _, path, _, operation in operations(document):
        for status, response in operation["responses"].items():
            told = follow(document, response)
            assert told["description"], (path, status)
            assert follow(document, told["headers"]["X-Request-Id"])["required"], (path, status)
            assert ("content" in told) == (status not in ("204", "304")), (path, status)
            assert all("schema" in content for content in told.get("content", {}).values()), (path, status)


def test_errors_are_problems_with_known_codes(document: dict[str, Any]) -> None:
    for _, path, _, operation in operations(document):
        for status, response in operation["responses"].items():
            content = follow(document, response).get("content", {})
            if int(status) >= 400 and path != "/readyz":
                [(media_type, body)] = content.items()
                codes = body["schema"]["allOf"][1]["properties"]["code"]["enum"]
                assert media_type == "application/problem+json"
                assert set(codes) <= CATALOGUE.keys(), (path, status)
                assert set(codes) == body["examples"].keys(), (path, status)
                assert path.endswith("/result") or {CATALOGUE[code].status for code in codes} == {int(status)}, (path, status)


def test_examples_of_problems_are_problems(app: Flask, document: dict[str, Any]) -> None:
    assert document["components"]["examples"].keys() <= CATALOGUE.keys()
    told = contract_of(app)
    for code, example in document["components"]["examples"].items():
        assert example["value"]["code"] == code
        assert told.faults("/components/schemas/Problem", example["value"]) == []


def test_what_a_problem_brings_besides_is_shown(document: dict[str, Any]) -> None:
    """Members that the schema tells of only some codes, and those of every error that carries numbers."""
    shown = {code: example["value"].keys() - problem("internal", "") for code, example in document["components"]["examples"].items()}
    besides = {code: members - {"instance"} for code, members in shown.items() if members > {"instance"}}
    optional = {name for name, field in problems.Problem().fields.items() if not field.required} - {"instance", "hint"}
    assert set().union(*besides.values()) >= optional
    assert besides.keys() == {"validation_failed", *(kind.code for kind in carriers(ModelError))}


def carriers(kind: type[ModelError]) -> Iterator[type[ModelError]]:
    """The leaves of the tree of errors: what is raised."""
    below = kind.__subclasses__()
    for each in below:
        yield from carriers(each)
    if not below:
        yield kind


def test_nothing_is_told_that_is_not_used(document: dict[str, Any]) -> None:
    used, fresh = set[str](), set(references(document["paths"]))
    while fresh:
        used |= fresh
        fresh = {found for reference in fresh for found in references(at(document, reference))} - used
    kept = {"securitySchemes"}
    held = {f"#/components/{kind}/{name}" for kind, named in document["components"].items() if kind not in kept for name in named}
    assert held == used


def test_every_operation_has_its_examples(document: dict[str, Any]) -> None:
    shown = {example.operation for example in EXAMPLES}
    for method, path, item, operation in operations(document):
        assert operation["operationId"] in shown, (method, path)
        for parameter in item.get("parameters", []):
            assert "example" in parameter, (path, parameter["name"])
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert content["examples"], (method, path)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.operation}: {example.summary}")
def test_an_example_sends_only_what_is_told(document: dict[str, Any], example: Example) -> None:
    [(item, operation)] = [(item, told) for _, _, item, told in operations(document) if told["operationId"] == example.operation]
    told = {(each["in"], each["name"]) for each in item.get("parameters", []) + operation.get("parameters", [])}
    sent = {("path", name) for name in example.path} | {("query", name) for name in example.query}
    sent |= {("header", name) for name in example.headers if name != "Accept"}  # which the types of the answers tell
    assert sent <= told


def test_schemas_say_what_they_are(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description") or name.endswith("Page"), name


def test_answers_are_told_strictly(document: dict[str, Any]) -> None:
    """What goes out: every member has a type, and all but a few are always there."""
    for name, schema in document["components"]["schemas"].items():
        if not name.endswith("In") and name != "Selector":
            for member, told in schema["properties"].items():
                assert told.keys() & {"type", "$ref", "anyOf", "allOf", "enum"}, (name, member)
            assert schema.get("additionalProperties") is not False, name


def test_the_words_agree_with_those_who_speak_them() -> None:
    """The document's closed vocabularies are written down apart from the code that uses them, some of which web processes cannot import."""
    source = "".join(path.read_text() for room in ("ml", "tasks") for path in (Path(__file__).parents[3] / room).rglob("*.py"))
    assert set(re.findall(r"notice\(\s*\"(\w+)\"", source)) == set(shapes.NOTICES)
    assert set(shapes.FORECASTERS) == {BLEND, *CHOICES["network"], *NAIVE}
    assert set(jobs.STATES) == {*UNFINISHED, *TERMINAL}
    edge = "".join(path.read_text() for path in (Path(__file__).parents[3] / "webapp").glob("*.py"))
    said = re.findall(r'(?:\bfault\(|\bWrong\().*?, "(\w+)", ', edge)
    assert {*said, *(code for _, code in _FAULTS)} == {*problems.FAULTS}


def test_what_comes_in_takes_no_unknown_field(document: dict[str, Any]) -> None:
    incoming = {name: schema for name, schema in document["components"]["schemas"].items() if name.endswith("In") or name == "Selector"}
    assert len(incoming) > 8
    assert all(schema["additionalProperties"] is False for schema in incoming.values())


def test_what_comes_in_is_bounded(document: dict[str, Any]) -> None:
    """Every text and every list has a greatest length."""
    for name, schema in document["components"]["schemas"].items():
        if name.endswith("In") or name == "Selector":
            for node in nodes(schema):
                kinds = node.get("type") if isinstance(node, dict) else None
                if kinds == "array":
                    assert "maxItems" in node, (name, node)
                if kinds == "string" or (isinstance(kinds, list) and "string" in kinds):
                    assert "maxLength" in node or "enum" in node or node.get("format") == "date-time", (name, node)


def test_the_document_knows_every_route(app: Flask, document: dict[str, Any]) -> None:
    """And tells of none that is not there."""
    there = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method.lower() in METHODS
    }
    assert {(method, path) for method, path, _, _ in operations(document)} | PAGES == there


def test_every_operation_names_the_scope_it_needs(document: dict[str, Any]) -> None:
    for method, path, _, operation in operations(document):
        if path.startswith("/api/v1/"):
            [[scope]] = [requirement["key"] for requirement in operation["security"]]
            assert (scope == "read") == (method == "get" and path != "/api/v1/audit"), path
        else:
            assert operation["security"] == [], path


def test_a_mistyped_code_is_an_error() -> None:
    with pytest.raises(ValueError, match="entity_not_fuond"):
        Blueprint.refuses("entity_not_found", "entity_not_fuond")


def test_who_has_the_document_is_told_so(app: Flask) -> None:
    first = app.test_client().get("/openapi.json")
    assert (first.status_code, first.mimetype) == (200, "application/json")
    again = app.test_client().get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
