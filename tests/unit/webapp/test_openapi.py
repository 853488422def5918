"""The OpenAPI document: complete, consistent, and true to the routes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import create_engine

from tests.support.web import make_house, make_runtime

METHODS = ("get", "put", "post", "delete", "patch")


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


def test_the_frame(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert {"title", "version"} <= document["info"].keys()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    references = [node["$ref"] for node in nodes(document) if isinstance(node, dict) and "$ref" in node]
    assert references
    for reference in references:
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_every_path_parameter_is_declared(document: dict[str, Any]) -> None:
    for _, path, item, operation in operations(document):
        declared = {p["name"] for p in item.get("parameters", []) + operation.get("parameters", []) if p["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path)), path


def test_parameters_are_told_once_and_apart(document: dict[str, Any]) -> None:
    for _, path, item, operation in operations(document):
        told = [(p["in"], p["name"]) for p in item.get("parameters", []) + operation.get("parameters", [])]
        assert len(set(told)) == len(told), path


def test_every_operation_says_what_it_answers(document: dict[str, Any]) -> None:
    for method, path, _, operation in operations(document):
        assert operation.get("summary"), (method, path)
        assert [status for status in operation["responses"] if status.startswith("2")], (method, path)
        assert operation["responses"]["default"] == {"$ref": "#/components/responses/DEFAULT_ERROR"}


def test_errors_are_problems(document: dict[str, Any]) -> None:
    for response in document["components"]["responses"].values():
        assert list(response["content"]) == ["application/problem+json"]
        assert response["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}


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
    told = {(method, path) for method, path, _, _ in operations(document)}
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        if path not in ("/openapi.json", "/docs"):
            assert {(method.lower(), path) for method in rule.methods or () if method.lower() in METHODS} <= told


def test_only_what_needs_no_key_says_so(document: dict[str, Any]) -> None:
    assert document["security"] == [{"key": []}]
    for _, path, _, operation in operations(document):
        assert (operation.get("security") == []) == (not path.startswith("/api/v1/")), path


def test_the_page_for_people(app: Flask) -> None:
    page = app.test_client().get("/docs")
    assert page.content_type.startswith("text/html")
    assert "/api/v1/predict/what-if" in page.text
    assert "<script" not in page.text
    assert "http" not in page.text
