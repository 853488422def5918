"""The document as a judge: whether an answer is one that the document tells of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from flask import Flask
from jsonschema_rs import Draft202012Validator, Registry, ValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

METHODS = ("get", "put", "post", "delete", "patch")
PROBLEM = "application/problem+json"
NAME = "urn:document"
Document = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One operation of the document."""

    id: str
    method: str
    path: str
    told: Document
    names: tuple[str, ...]

    @property
    def guarded(self) -> bool:
        return self.path.startswith("/api/v1/")


class Contract:
    """A document with its references followed once and its validators compiled when first used."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.operations = {operation.id: operation for operation in _operations(document)}
        self._registry = Registry([(NAME, _closed(document))])
        self._validators: dict[str, Draft202012Validator] = {}

    def responses(self, operation: Operation) -> Mapping[str, Document]:
        return {status: self.follow(response) for status, response in operation.told["responses"].items()}

    def codes(self, operation: Operation, status: int) -> list[str]:
        """The problem codes that the document tells of for this status."""
        content = self.responses(operation)[str(status)].get("content", {})
        codes: list[str] = content[PROBLEM]["schema"]["allOf"][1]["properties"]["code"]["enum"] if PROBLEM in content else []
        return codes

    def follow(self, node: Document) -> Document:
        while "$ref" in node:
            node = _at(self.document, node["$ref"])
        return node

    def faults(self, pointer: str, value: Any) -> list[str]:
        """What is wrong with a value by the schema at this place of the document."""
        if pointer not in self._validators:
            schema = {"$ref": f"{NAME}#{quote(pointer)}"}
            self._validators[pointer] = Draft202012Validator(schema, registry=self._registry, validate_formats=True)
        return [_told(error) for error in self._validators[pointer].iter_errors(value)]

    def check(self, operation: Operation, answer: TestResponse) -> None:
        """AssertionError when the document does not tell of this answer."""
        where = f"{operation.id} {answer.status_code}"
        responses = self.responses(operation)
        assert str(answer.status_code) in responses, f"{where} is not documented: {answer.text[:300]}"
        response = responses[str(answer.status_code)]
        self._check_headers(where, response, answer)
        self._check_body(where, operation, response, answer)

    def _check_headers(self, where: str, response: Document, answer: TestResponse) -> None:
        for name, header in response.get("headers", {}).items():
            told = self.follow(header)
            assert name in answer.headers or not told.get("required"), f"{where} lacks the header {name}"
            if name in answer.headers:
                given: Any = answer.headers[name]
                value = int(given) if told["schema"]["type"] == "integer" else given
                assert Draft202012Validator(told["schema"]).is_valid(value), f"{where}: {name}: {given}"

    def _check_body(self, where: str, operation: Operation, response: Document, answer: TestResponse) -> None:
        content = response.get("content", {})
        if not content:
            assert answer.data == b"", f"{where} has a body that is not documented"
            return
        assert answer.mimetype in content, f"{where} is {answer.mimetype}, which is not documented"
        if answer.mimetype.endswith("json") and answer.mimetype != "application/x-ndjson":
            wrong = self.faults(self.place(operation, str(answer.status_code), answer.mimetype), answer.json)
            assert not wrong, f"{where}: {'; '.join(wrong[:5])}"

    def place(self, operation: Operation, status: str, mimetype: str) -> str:
        """Pointer to the schema of a body."""
        response = operation.told["responses"][status]
        here = response.get("$ref", f"#/paths/{_escaped(operation.path)}/{operation.method}/responses/{status}").removeprefix("#")
        return f"{here}/content/{_escaped(mimetype)}/schema"

    def place_of_event(self, operation: Operation, event: str) -> str:
        """Pointer to the schema of the data of an event, which has to be one that is told of."""
        assert event in operation.told["x-events"], f"{operation.id}: the event {event} is not documented"
        return f"/paths/{_escaped(operation.path)}/{operation.method}/x-events/{event}"

    def check_event(self, operation: Operation, event: str, data: Any) -> None:
        """AssertionError when the document does not tell of this event."""
        wrong = self.faults(self.place_of_event(operation, event), data)
        assert not wrong, f"{operation.id} {event}: {'; '.join(wrong[:5])}"

    def place_of_request(self, operation: Operation, mimetype: str) -> str:
        return f"/paths/{_escaped(operation.path)}/{operation.method}/requestBody/content/{_escaped(mimetype)}/schema"


def require_documented(app: Flask, answer: TestResponse) -> None:
    """AssertionError when the document does not tell of this answer to its request."""
    told, request = contract_of(app), answer.request
    if request.method.lower() in METHODS:
        found = operation_of(app, request.method, request.path)
        if found is None:
            check_unknown(answer)
        else:
            told.check(told.operations[found], answer)


#: The document is the same in every app of this checkout: what it tells comes from the code alone.
_KNOWN: list[Contract] = []


def contract_of(app: Flask) -> Contract:
    if not _KNOWN:
        _KNOWN.append(Contract(app.test_client().get("/openapi.json").json))
    return _KNOWN[0]


def operation_of(app: Flask, method: str, path: str) -> str | None:
    """Id of the operation that this request is for; None where there is none."""
    try:
        endpoint, _ = app.url_map.bind("localhost").match(path, method)
    except HTTPException:
        return None
    return str(endpoint).rpartition(".")[2]


def check_unknown(answer: TestResponse) -> None:
    """An answer to what is no operation: the guard's, or that there is none."""
    assert answer.mimetype == PROBLEM, answer.mimetype
    assert answer.json["code"] in ("not_found", "method_not_allowed", "unauthenticated", "forbidden_scope", "rate_limited"), answer.text


def _operations(document: Document) -> Iterator[Operation]:
    for path, item in document["paths"].items():
        names = tuple(parameter["name"] for parameter in item.get("parameters", ()))
        for method in METHODS:
            if method in item:
                yield Operation(item[method]["operationId"], method, path, item[method], names)


def _closed(document: Document) -> Document:
    """The document for tests: what goes out has no member that is not told. Clients must not read it so: answers may get more."""
    closed = deepcopy(document)
    for schema in closed["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return closed


def _at(document: Document, reference: str) -> Document:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step.replace("~1", "/").replace("~0", "~")]
    result: Document = found
    return result


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def _told(error: ValidationError) -> str:
    deepest = _deepest(error)
    return f"/{'/'.join(map(str, deepest.instance_path))}: {deepest.message[:200]}"


def _deepest(error: ValidationError) -> ValidationError:
    """Of several schemas none of which holds, what is wrong by the one that was nearest."""
    within = [_deepest(each) for branch in getattr(error.kind, "context", ()) for each in branch]
    return max(within, key=lambda each: len(each.instance_path), default=error)
