"""Every operation of the OpenAPI document, asked for what the document allows and for what it forbids, thousands of times if you like.

make fuzz [MINUTES=30] [FUZZ_SEED=…]      the sample that `make test` takes is the same, with few examples and one seed
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode, Response
from schemathesis.checks import CheckContext, not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import create_engine

from db import ledger
from tests.fuzz.world import World
from tests.support.hostile import PARAMETER, WRITES
from tests.support.tables import contents
from tests.support.web import API, make_house, make_runtime
from webapp.examples.bases import ELSEWHERE

pytestmark = pytest.mark.fuzz

#: Minutes for all operations together; 0: the sample.
MINUTES = float(os.environ.get("FUZZ_MINUTES") or 0)
SEED = int(os.environ.get("FUZZ_SEED") or (random.SystemRandom().randrange(2**32) if MINUTES else 1))
#: Of each operation, in the sample and in one round of a long run.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES") or (50 if MINUTES else 2))
METHODS = ("get", "put", "post", "delete", "patch")


def labels() -> list[str]:
    """The operations, from the document of an app that has no servers."""
    dead = make_house(make_runtime(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"), "redis://127.0.0.1:1/0")).app
    paths = dead.test_client().get("/openapi.json").json["paths"]
    return [f"{method.upper()} {path}" for path, item in paths.items() for method in item if method in METHODS]


LABELS = labels()
#: Good bodies by operation: of those made up from the document few name one entity, with data enough, by one of three ways.
GOOD = {method + " " + API + re.sub(PARAMETER, r"{\1}", rule): write.bodies for (method, rule), write in WRITES.items()}


def problems_are_problems(_: CheckContext, response: Response, case: Case) -> None:
    if response.status_code >= 400 and not (case.operation.path == "/readyz" and response.status_code == 503):
        assert response.headers["content-type"] == ["application/problem+json"], response.headers
        body = response.json()
        assert (body["status"], body["instance"]) == (response.status_code, response.headers["x-request-id"][0])
        assert body["code"]
        assert body["detail"]


def every_answer_has_an_id(_: CheckContext, response: Response, case: Case) -> None:
    assert response.headers.get("x-request-id")


def nothing_of_the_inside_is_told(_: CheckContext, response: Response, case: Case) -> None:
    told = [word for word in ("Traceback", "psycopg", "sqlalchemy", 'File "/') if word.encode() in response.content]
    assert all(word in case.as_curl_command() for word in told), told  # unless the request itself said so


def bodies_conform(ctx: CheckContext, response: Response, case: Case) -> bool | None:
    """The document tells of an event stream as one text; schemathesis would hold each event of it against that."""
    if response.headers.get("content-type", [""])[0].startswith("text/event-stream"):
        return None
    return response_schema_conformance(ctx, response, case)


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    bodies_conform,
    problems_are_problems,
    every_answer_has_an_id,
    nothing_of_the_inside_is_told,
]


def with_real_names(value: Any, real: dict[str, tuple[Any, ...]], draw: Callable[..., Any], name: str = "") -> Any:
    """Most names become those of things that exist; otherwise every answer would be 404."""
    if name in real and draw(st.integers(0, 9)) > 0:
        return draw(st.sampled_from(real[name]))
    if isinstance(value, dict):
        return {key: with_real_names(inner, real, draw, key) for key, inner in value.items()}
    return [with_real_names(inner, real, draw) for inner in value] if isinstance(value, list) else value


def aim(case: Case, world: World, draw: Callable[..., Any], *, body: bool) -> None:
    """Point a generated request at things that exist, and let half of the good bodies be good ones with some generated members."""
    if body and case.operation.label.endswith("/models/import") and draw(st.booleans()):
        case.body = ELSEWHERE
    good = GOOD.get(case.operation.label)
    if body and good and isinstance(case.body, dict) and draw(st.booleans()):
        mixed = {name: value for name, value in case.body.items() if draw(st.integers(0, 3)) == 0}
        case.body = {**draw(st.sampled_from(good)), **mixed}
    for part in ("path_parameters", "query", "headers", *(("body",) if body else ())):
        setattr(case, part, with_real_names(getattr(case, part), dict(world.real), draw))


def ask(case: Case, world: World) -> None:
    """Send it and check the answer; a refused or a reading request changes nothing."""
    engine = world.house.runtime.engine
    before = contents(engine)
    response = case.call(headers={"Authorization": f"Bearer {world.me.key}"})
    case.validate_response(response, checks=CHECKS)
    if response.status_code >= 400 or case.method in ("GET", "HEAD"):
        assert contents(engine) == before, f"{response.status_code}, and yet something was written"


def fuzz(operation: APIOperation[Any, Any, Any], mode: GenerationMode, world: World, examples: int, seed: int) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck)
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def run(case: Case, data: Any) -> None:
        world.bring_back()
        aim(case, world, data.draw, body=mode is GenerationMode.POSITIVE)
        ask(case, world)

    run()


@pytest.mark.parametrize("label", LABELS)
def test_operation(schema: BaseSchema, world: World, label: str) -> None:
    sys.stdout.write(f"FUZZ_SEED={SEED}\n")
    operation = schema.find_operation_by_label(label)
    assert operation is not None
    until = time.monotonic() + MINUTES * 60 / len(LABELS)
    seed = SEED
    while True:
        fuzz(operation, GenerationMode.POSITIVE, world, EXAMPLES, seed)
        with contextlib.suppress(Unsatisfiable):  # a document that asks nothing of a request forbids nothing
            fuzz(operation, GenerationMode.NEGATIVE, world, EXAMPLES, seed)
        seed += 1
        if time.monotonic() > until:
            break
    with world.house.runtime.sessions() as session:
        assert ledger.violations(session) == {}


def test_every_path_parameter_has_real_values(schema: BaseSchema, world: World) -> None:
    named = {name for operation in schema.get_all_operations() for name in re.findall(r"{(\w+)}", operation.ok().path)}
    assert named <= world.real.keys()
