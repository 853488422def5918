"""The document, completed: what each operation answers, and how it is used, by what it is and what its view says of itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask

from tasks.problems import CATALOGUE, problem
from webapp.auth import BELOW, scope_of
from webapp.contract import READS, REFUSES
from webapp.examples import EXAMPLES
from webapp.examples.example import Example
from webapp.examples.problems import PROBLEMS
from webapp.problems import MEDIA_TYPE, RETRY_AFTER
from webapp.schemas.parameters import HEADERS, IDEMPOTENCY_KEY, PATHS, always, sometimes

Document = dict[str, Any]

_METHODS = ("get", "put", "post", "delete", "patch")
#: What everything below PREFIX can answer, whatever it is.
_BEHIND_THE_DOOR = ("unauthenticated", "forbidden_scope", "not_acceptable", "rate_limited", "internal", "unavailable")
#: Codes whose answers say when to come again.
_LATER = frozenset(RETRY_AFTER) | {"rate_limited"}
#: Headers of every answer.
_ALWAYS = ("X-Request-Id",)
_REQUEST_ID = "req_01KAG2Z5X8Q0V7M4R3T6W9Y1B2"


@dataclass(frozen=True)
class Operation:
    """One operation of the document, and what the app knows of it."""

    endpoint: str
    method: str
    path: str
    told: Document
    #: Parameters of its path.
    names: list[Document]

    @property
    def id(self) -> str:
        return self.endpoint.rpartition(".")[2]

    @property
    def guarded(self) -> bool:
        return self.path.startswith(BELOW)

    def parameters(self, place: str) -> list[Document]:
        return [each for each in self.told.get("parameters", ()) if each["in"] == place]


def complete(app: Flask, document: Document) -> Document:
    """Add to flask-smorest's document all that follows from what an operation is. Works in place."""
    document["components"]["headers"] = {name: {**HEADERS[name], "required": True} for name in _ALWAYS}
    document["components"] |= {"responses": {}, "examples": {}}
    for operation in _operations(app, document):
        _name(operation)
        _mend_parameters(operation)
        _tell_problems(operation, document["components"])
        _tell_headers(operation)
        _show_examples(operation)
    return document


def _operations(app: Flask, document: Document) -> Iterator[Operation]:
    endpoints = _endpoints(app)
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield Operation(endpoints[method, path], method, path, item[method], item.get("parameters", []))


def _endpoints(app: Flask) -> Mapping[tuple[str, str], str]:
    return {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)): rule.endpoint
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }


def _name(operation: Operation) -> None:
    """Its id, and the scope that a key needs."""
    operation.told["operationId"] = operation.id
    operation.told["security"] = [{"key": [scope_of(operation.endpoint, operation.method.upper())]}] if operation.guarded else []


def _mend_parameters(operation: Operation) -> None:
    headers = operation.told.pop(READS, [])
    if headers:
        operation.told["parameters"] = operation.told.get("parameters", []) + headers
    for parameter in operation.names:
        parameter |= PATHS[parameter["name"]]
    for parameter in operation.parameters("query"):
        schema = parameter["schema"]
        if schema.get("default", ...) is None:  # marshmallow's way to say: left out. A query cannot hold a null.
            del schema["default"]
            schema["type"] = next(kind for kind in schema["type"] if kind != "null")
            schema |= {"enum": [word for word in schema["enum"] if word is not None]} if "enum" in schema else {}


def _tell_problems(operation: Operation, shared: Document) -> None:
    """Its problems by status. A status with a single code is the same answer everywhere, and stands in the components."""
    answers = operation.told["responses"]
    for status, codes in sorted(_codes(operation).items()):
        shared["examples"] |= {code: {"summary": CATALOGUE[code].title, "value": _example(code)} for code in codes}
        if len(codes) == 1 and status not in answers and CATALOGUE[codes[0]].status == int(status):
            shared["responses"].setdefault(codes[0], _refusal(codes))
            answers[status] = {"$ref": f"#/components/responses/{codes[0]}"}
        else:
            answers[status] = _joined(answers.get(status, {}), _refusal(codes))


def _codes(operation: Operation) -> dict[str, list[str]]:
    """By status: what its view declared, and what follows from its having a key, a body, arguments or names in its path."""
    told = set(operation.told.pop(REFUSES, ())) | {f"{CATALOGUE[code].status} {code}" for code in _implied(operation)}
    found: dict[str, list[str]] = {}
    for code in CATALOGUE:
        for status in {each.partition(" ")[0] for each in told if each.endswith(f" {code}")}:
            found.setdefault(status, []).append(code)
    return found


def _implied(operation: Operation) -> Iterator[str]:
    if operation.guarded:
        yield from (*_BEHIND_THE_DOOR, "validation_failed")
    if "requestBody" in operation.told:
        yield from ("malformed_request", "body_too_large", "unsupported_media_type", "validation_failed")
    if operation.names:
        yield "validation_failed"
    if IDEMPOTENCY_KEY in operation.parameters("header"):
        yield from ("body_too_large", "idempotency_key_reused")


def _refusal(codes: list[str]) -> Document:
    """The answer of one status: a problem with one of these codes."""
    headers = always if all(code in _LATER for code in codes) else sometimes
    wait = headers("Retry-After") if any(code in _LATER for code in codes) else {}
    challenge = always("WWW-Authenticate") if codes == ["unauthenticated"] else {}
    limit = sometimes("RateLimit", "RateLimit-Policy") if "rate_limited" in codes else {}
    schema = {"allOf": [{"$ref": "#/components/schemas/Problem"}, {"properties": {"code": {"enum": codes}}, "required": ["instance"]}]}
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    return {
        "description": "\n".join(f"* `{code}`: {CATALOGUE[code].cause}" for code in codes),
        "headers": {**wait, **challenge, **limit, **_frame()},
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }


def _example(code: str) -> Document:
    return {**PROBLEMS.get(code, problem(code, CATALOGUE[code].cause)), "instance": _REQUEST_ID}


def _joined(one: Document, other: Document) -> Document:
    """Two answers of one status, told apart by their types."""
    return {
        "description": "\n".join(each["description"] for each in (one, other) if "description" in each),
        "headers": one.get("headers", {}) | other["headers"],
        "content": one.get("content", {}) | other["content"],
    }


def _tell_headers(operation: Operation) -> None:
    for response in operation.told["responses"].values():
        if "$ref" not in response:
            response["headers"] = response.get("headers", {}) | _frame()


def _frame() -> Document:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in _ALWAYS}


def _show_examples(operation: Operation) -> None:
    for number, example in enumerate(each for each in EXAMPLES if each.operation == operation.id):
        if number == 0:
            _show_parameters(operation, example)
        name = f"{operation.id}_{number + 1}"
        if example.body is not None:
            content = operation.told["requestBody"]["content"][example.media_type]
            value = {} if isinstance(example.body, bytes) else {"value": example.body}  # what is no text cannot be shown
            content.setdefault("examples", {})[name] = {"summary": example.summary, **value}
        if example.answer is not None:
            content = operation.told["responses"][str(example.status)]["content"][example.answer_type]
            content.setdefault("examples", {})[name] = {"summary": example.summary, "value": example.answer}


def _show_parameters(operation: Operation, example: Example) -> None:
    given = {"path": example.path, "query": example.query, "header": example.headers}
    for parameter in (*operation.names, *operation.told.get("parameters", ())):
        if parameter["name"] in given[parameter["in"]]:
            parameter["example"] = given[parameter["in"]][parameter["name"]]
