"""What turns naive services into 500s: here always a 4xx problem, and nothing half-written."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from db.models import Channel, Entity, IdempotencyKey, Job, Model, Observation
from tests.support.hostile import WRITES
from tests.support.web import Caller, House

JSON = "application/json"
ROUTES = [
    (method, write.path.format(model="mdl_1", job="job_1", schedule="sch_1")) for (method, _), write in WRITES.items() if write.bodies
]
#: Bodies that cannot be read, or are no object; with the status they get on every route.
BODIES: dict[str, tuple[bytes, str, set[int]]] = {
    "cut off": (b'{"entity": "u', JSON, {400}),
    "NaN": (b'{"entity": NaN}', JSON, {400}),
    "Infinity": (b'{"entity": -Infinity}', JSON, {400}),
    "long integer": (b'{"entity": ' + b"9" * 5000 + b"}", JSON, {400}),
    "deep list": (b"[" * 10_000 + b"]" * 10_000, JSON, {400}),
    "deep object": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, JSON, {400}),
    "deep inside": (b'{"metadata": ' + b'{"a":' * 900 + b"1" + b"}" * 901, JSON, {400, 422}),
    "the same key twice": (b'{"entity": "u", "entity": "v"}', JSON, {400}),
    "not UTF-8": (b'{"entity": "\xff"}', JSON, {400}),
    "UTF-16": ('{"entity": "u"}'.encode("utf-16"), JSON, {400}),
    "array": (b"[]", JSON, {422}),
    "null": (b"null", JSON, {422}),
    "string": (b'"u"', JSON, {422}),
    "number": (b"1e400", JSON, {422}),
    "unknown field": (b'{"surprise": 1}', JSON, {422}),
    "NUL in a field name": (b'{"a\\u0000": 1}', JSON, {422}),
    "lone surrogate in a field name": (b'{"\\ud800": 1}', JSON, {422}),
    "text": (b"hello", "text/plain", {415}),
    "form": (b"entity=u", "application/x-www-form-urlencoded", {415}),
    "multipart": (b"--x\r\n\r\n\r\n--x--", "multipart/form-data; boundary=x", {415}),
    "no type": (b'{"entity": "u"}', "", {415}),
    "gzip": (b"\x1f\x8b\x08\x00", JSON, {400}),
}


def rows_held(house: House) -> list[int]:
    with house.runtime.sessions() as session:
        return [
            session.scalar(select(func.count()).select_from(t)) or 0 for t in (Entity, Channel, Observation, Model, Job, IdempotencyKey)
        ]


def is_problem(answer: Any) -> bool:
    return (
        400 <= answer.status_code < 500
        and answer.content_type == "application/problem+json"
        and answer.json["status"] == answer.status_code
    )


@pytest.mark.parametrize(("content", "mimetype", "statuses"), BODIES.values(), ids=BODIES.keys())
def test_bodies(house: House, ready: Caller, content: bytes, mimetype: str, statuses: set[int]) -> None:
    before = rows_held(house)
    for method, path in ROUTES:
        answer = ready.call(method, path, data=content, content_type=mimetype, headers={"Idempotency-Key": "k"})
        assert is_problem(answer), (path, answer.text)
        assert answer.status_code in statuses, (path, answer.text)
    assert rows_held(house) == before


def test_empty_bodies(house: House, ready: Caller) -> None:
    before = rows_held(house)
    for path in (path for method, path in ROUTES if method == "POST"):
        for about in ({}, {"content_type": JSON}, {"data": b"", "content_type": JSON}):
            assert is_problem(ready.post(path, **about)), path
    assert rows_held(house) == before


TRAIN = {"entity": "u", "recipe": "health-daily"}
PREDICT = {"entity": "u", "target": "rhr"}


def what_if(**change: Any) -> dict[str, Any]:
    return PREDICT | {"scenarios": [{"name": "s", "changes": [{"channel": "rhr", "op": "add", "value": 1} | change]}]}


SPEC_FIELDS = ("window", "epochs", "seed", "split", "covariates", "loss", "targets")
NONSENSE: tuple[Any, ...] = (True, "5", 1.5, None, [], {}, 10**19, -1, "\0", "\ud800")
#: No covariates, and the default shares, are choices like any other.
SENSE: tuple[tuple[str, Any], ...] = (("covariates", []), ("split", {}))


@pytest.mark.parametrize("field", SPEC_FIELDS)
def test_values_of_a_spec(house: House, ready: Caller, field: str) -> None:
    before = rows_held(house)
    for value in (v for v in NONSENSE if (field, v) not in SENSE):
        answer = ready.post("/models/train", TRAIN | {"spec": {field: value}})
        assert (is_problem(answer), answer.status_code) == (True, 422), (value, answer.text)
    assert rows_held(house) == before


VALUES: list[tuple[str, Any]] = [
    ("/models/train", TRAIN | {"entity": "\0"}),
    ("/models/train", TRAIN | {"entity": "\ud800"}),
    ("/models/train", TRAIN | {"recipe": "\ud800"}),
    ("/models/train", TRAIN | {"target": "a\0b"}),
    ("/models/train", TRAIN | {"model": "x" * 201}),
    ("/models/train", TRAIN | {"metadata": {"a": "\0"}}),
    ("/models/train", TRAIN | {"metadata": {"\0": 1}}),
    ("/models/train", TRAIN | {"metadata": {"a": 10**30}}),
    ("/models/train", TRAIN | {"metadata": {"a": "x" * 10_000}}),
    ("/models/train", {"recipe": "health-daily", "entities": ["u"] * 100_001}),
    ("/models/train", {"recipe": "health-daily", "selector": {"attributes": {"a": "\0"}}}),
    ("/predict", PREDICT | {"target": "\ud800"}),
    ("/predict", PREDICT | {"horizon": True}),
    ("/predict", PREDICT | {"horizon": 10**400}),
    ("/predict", PREDICT | {"level": "0.9"}),
    ("/predict", PREDICT | {"version": "\0"}),
    ("/predict/batch", {"entities": ["u"], "targets": ["rhr"] * 51}),
    ("/predict/what-if", what_if(value=10**400)),
    ("/predict/what-if", what_if(value=True)),
    ("/predict/what-if", what_if(channel="\0")),
    ("/predict/what-if", PREDICT | {"scenarios": [{"name": "\ud800", "changes": []}]}),
]


def test_values(house: House, trained: Caller) -> None:
    before = rows_held(house)
    for path, body in VALUES:
        answer = trained.post(path, body)
        assert is_problem(answer), (path, body, answer.text)
    assert rows_held(house) == before


def test_numbers_beyond_all_numbers(house: House, trained: Caller) -> None:
    body = b'{"entity": "u", "target": "rhr", "level": 1e400}'
    answer = trained.post("/predict", data=body, content_type=JSON)
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/level")


PATHS = [
    "/entities/%00",
    "/entities/%ED%A0%80",
    "/entities/" + "x" * 5000,
    "/entities/u/observations?channel=%00",
    "/entities/u/observations?from=0000-01-01&to=10000-01-01",
    "/entities/u/observations?from=0001-01-01T00:00:00%2B14:00",
    "/entities/u/forecasts/%00",
    "/models/%00",
    "/models/%00/versions/1.0.0",
    "/models?name=%00",
    "/models?cursor=%00",
    "/jobs/%00",
    "/jobs/%ED%A0%80/items",
    "/jobs?entity=%F0%28%8C%28",
    "/jobs?cursor=" + "A" * 5000,
    "/jobs?limit=1e3",
]


def test_paths_and_queries(ready: Caller) -> None:
    for path in PATHS:
        assert is_problem(ready.get(path)), path


def test_headers(ready: Caller) -> None:
    headers = {"Prefer": "wait=" + "9" * 5000, "If-None-Match": "\x7f" * 100, "X-Request-Id": "<script>"}
    answer = ready.post("/models/train", TRAIN, headers=headers)
    assert answer.status_code == 202
    assert answer.headers["X-Request-Id"].startswith("req_")
