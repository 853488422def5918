"""Hostile input, field by field, on every write route and in every query, path and header: a 4xx that says where, and nothing written."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import islice, product
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support import hostile
from tests.support.hostile import PARAMETER, WRITES, Steps, Write
from tests.support.tables import contents
from tests.support.watched import learn
from tests.support.web import API, START, Caller, House, days, make_house, make_runtime
from webapp.pages import encode
from webapp.problems import pointer

JSON = "application/json"
WITH_BODIES = [key for key, write in WRITES.items() if write.bodies]


@pytest.fixture
def ids(house: House, trained: Caller) -> dict[str, str]:
    """What the paths of WRITES name. `u` has all that their bodies name."""
    trained.post("/entities/v/observations", {"observations": days(60)})
    for entity in ("u", "v"):
        assert trained.put(f"/entities/{entity}", {"kind": "user", "attributes": hostile.OWN}).status_code == 200
    more = [{"channel": "hrv", "at": f"2026-01-{day:02}T00:00:00Z", "value": 40 + day % 5} for day in range(1, 32)]
    since = days(5, start=START + timedelta(days=61))  # the versions: a backtest has something to forecast
    assert trained.post("/entities/u/observations", {"observations": more + since}).status_code == 200
    known_ahead = {"entity": "u", "recipe": "health-daily", "spec": {"seed": 3, "future_covariates": ["day_off"]}}
    house.publish(trained, trained.post("/models/train", known_ahead).json["id"])
    shared = {"name": "hearts", "entities": ["u", "v"], "recipe": "health-daily"}
    house.publish(trained, trained.post("/models/pretrain", shared).json["id"])
    busy = [{"at": (START + timedelta(days=31, hours=n)).isoformat(), "cpu_usage": 40 + n % 7} for n in range(120)]
    assert trained.post("/entities/u/observations", {"rows": busy}).status_code == 200
    learn(house, trained, trained.post("/anomalies/train", {"entity": "u"}).json["id"])
    job = trained.post("/predict", {"entity": "u", "target": "rhr"}).json["id"]
    webhook = trained.post("/webhooks", {"url": "https://backend.example/", "types": ["job.succeeded"]}).json["id"]
    news = {"webhook": webhook, "delivery": trained.post(f"/webhooks/{webhook}/test").json["id"]}
    asked = {"name": "daily", "every_s": 86_400, "template": {"anomaly_detect": {"entity": "u"}}}
    schedule = trained.post("/schedules", asked).json["id"]
    return {"model": trained.get("/models").json["data"][0]["id"], "job": job, "schedule": schedule} | news


class Watch:
    """Sends what is to be refused, and sees to it that nothing is written."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held = contents(engine)

    def refused(self, caller: Caller, method: str, path: str, body: Any = None, **about: Any) -> Any:
        """The problem that answers this request."""
        answer = caller.call(method, path, body, **about)
        told = (method, path[:200], str(body)[:300], str(about)[:300], answer.status_code, answer.text[:500])
        assert 400 <= answer.status_code < 500, told
        assert answer.content_type == "application/problem+json", told
        assert answer.json["status"] == answer.status_code, told
        assert answer.json["instance"] == answer.headers["X-Request-Id"], told
        assert contents(self._engine) == self._held, told
        return answer.json


@pytest.fixture
def watch(engine: Engine, ids: dict[str, str]) -> Watch:
    """Of a house with all that WRITES names."""
    return Watch(engine)


def points_at(problem: Mapping[str, Any], steps: Steps) -> bool:
    """At the field, at something in it, or at what it is in."""
    here = pointer(*steps)
    found = [fault["pointer"] for fault in problem.get("errors", ())]
    return any(there and (there == here or there.startswith(here + "/") or here.startswith(there + "/")) for there in found)


# Every route and every parameter


def rules(house: House, below: str = "") -> Iterator[tuple[str, str]]:
    """Every method of every rule; those below a prefix without it."""
    for rule in house.app.url_map.iter_rules():
        if rule.rule.startswith(below):
            yield from ((method, rule.rule.removeprefix(below)) for method in rule.methods or ())


def filled(rule: str, names: Mapping[str, str]) -> str:
    """A path of the rule; parameters without a name are `u`."""
    return re.sub(PARAMETER, lambda found: names.get(found[1], "u"), rule)


#: Forms of browsers, which test_dashboard.py fills in wrongly.
FORMS = {("POST", "/login"), ("POST", "/logout")}


def test_every_write_route_is_in_the_table(house: House) -> None:
    written = {(method, rule.removeprefix(API)) for method, rule in rules(house) if method not in ("GET", "HEAD", "OPTIONS")}
    assert written == WRITES.keys() | FORMS


def test_every_field_is_in_the_good_bodies(house: House) -> None:
    """By the OpenAPI document: a new field without a value to break fails here."""
    document = house.app.test_client().get("/openapi.json").json
    for method, rule in WITH_BODIES:
        operation = document["paths"][API + re.sub(PARAMETER, r"{\1}", rule)][method.lower()]
        known = set(_fields(document, operation["requestBody"]["content"][JSON]["schema"]))
        bodies, free = WRITES[method, rule].bodies, WRITES[method, rule].free
        known = {steps for steps in known if not free & set(steps[:-1])}
        ours = {tuple(step for step in steps if isinstance(step, str)) for body in bodies for steps, _ in _inside(body)}
        assert known <= ours, (method, rule, known - ours)


def _inside(body: Any) -> Iterator[tuple[Steps, Any]]:
    return hostile.nodes(body, frozenset())


def _fields(document: Any, schema: Any, steps: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for choice in (*schema.get("oneOf", ()), *schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _fields(document, choice, steps)
    if "items" in schema:
        yield from _fields(document, schema["items"], steps)
    for name, inner in schema.get("properties", {}).items():
        yield (*steps, name)
        yield from _fields(document, inner, (*steps, name))


def test_the_good_bodies_are_good(trained: Caller, ids: dict[str, str]) -> None:
    for (method, _), write in WRITES.items():
        for body in bodies(write, ids):
            answer = trained.call(method, write.path.format(**ids), body)
            assert answer.status_code in (200, 201, 202), (write.path, body, answer.text)


# Bodies


def bodies(write: Write, ids: Mapping[str, str]) -> list[Any]:
    return [hostile.about(body, ids) for body in write.bodies]


def places(ids: dict[str, str]) -> Iterator[tuple[str, str, Write, Mapping[str, Any], Steps, Any]]:
    """Every place in every good body: method, path, the route, the body, the steps to the place, and the good value."""
    for (method, _), write in WRITES.items():
        for body in bodies(write, ids):
            yield from ((method, write.path.format(**ids), write, body, steps, good) for steps, good in hostile.nodes(body, write.free))


#: Of what a test could send, everything, or each seventh: every place and every value has its turn, though not with each other.
ONE_IN = pytest.mark.parametrize("one_in", [pytest.param(7, id="sample"), pytest.param(1, id="whole", marks=pytest.mark.slow)])


@ONE_IN
def test_texts_that_are_refused_wherever_they_stand(watch: Watch, trained: Caller, ids: dict[str, str], one_in: int) -> None:
    for (method, path, _, body, steps, _), (name, (raw, status)) in islice(product(places(ids), hostile.ANYWHERE.items()), 0, None, one_in):
        problem = watch.refused(trained, method, path, data=hostile.written(body, steps, raw), content_type=JSON)
        assert problem["status"] == status, (path, name, steps, problem)
        assert status == 400 or points_at(problem, steps), (path, name, steps, problem)


#: No shares of one's own are a choice like any other.
SENSE: tuple[tuple[str | int, Any], ...] = (("split", {}),)


@ONE_IN
def test_values_of_another_type(watch: Watch, trained: Caller, ids: dict[str, str], one_in: int) -> None:
    sent = ((place, value) for place in places(ids) for value in hostile.OTHERS[type(place[-1])])
    for (method, path, write, body, steps, _), value in islice(sent, 0, None, one_in):
        if (steps[-1], value) not in SENSE and not (steps[-1] in write.free and value == {}):
            problem = watch.refused(trained, method, path, hostile.replaced(body, steps, value))
            assert problem["code"] == "validation_failed", (path, steps, value, problem)
            assert points_at(problem, steps), (path, steps, value, problem)


def test_null_is_taken_or_refused_at_its_place(engine: Engine, trained: Caller, ids: dict[str, str]) -> None:
    for method, path, _, body, steps, _ in places(ids):
        before = contents(engine)
        answer = trained.call(method, path, hostile.replaced(body, steps, None))
        if answer.status_code not in (200, 201, 202) and "schedule_exists" not in answer.text:  # which a body before has made
            assert (answer.status_code, points_at(answer.json, steps)) == (422, True), (path, steps, answer.text)
            assert contents(engine) == before


def test_unknown_fields_at_every_level(watch: Watch, trained: Caller, ids: dict[str, str]) -> None:
    for (method, _), write in WRITES.items():
        for body in bodies(write, ids):
            for steps, inside in [((), body), *hostile.nodes(body, write.free)]:
                if isinstance(inside, Mapping) and not write.free & set(steps):
                    wrong = hostile.replaced(body, steps, {**inside, "surprise": 1})
                    problem = watch.refused(trained, method, write.path.format(**ids), wrong)
                    assert points_at(problem, (*steps, "surprise")), problem


@pytest.mark.parametrize("mimetype", [JSON, "application/x-ndjson", "text/csv"])
def test_moments_in_rows(watch: Watch, trained: Caller, mimetype: str) -> None:
    for text in hostile.NO_MOMENTS:
        row = {"channel": "rhr", "at": text, "value": 1}
        body = {JSON: json.dumps({"observations": [row]}), "application/x-ndjson": json.dumps(row), "text/csv": f"at,rhr\n{text},1\n"}
        data = body[mimetype].encode(errors="surrogatepass")
        problem = watch.refused(trained, "POST", "/entities/new/observations", data=data, content_type=mimetype)
        assert problem["status"] == 400 or problem["errors"][0]["pointer"].endswith("/at"), problem


TOO_LONG: list[tuple[tuple[str, str], Steps, Any]] = [
    (("PUT", "/entities/<name:entity>"), ("channels",), [{"name": f"c{n}"} for n in range(1001)]),
    (("PUT", "/entities/<name:entity>"), ("attributes",), {f"a{n}": n for n in range(65)}),
    (("POST", "/models/train"), ("spec", "covariates"), [f"c{n}" for n in range(64)]),
    (("POST", "/models/train"), ("spec", "future_covariates"), [f"c{n}" for n in range(64)]),
    (("POST", "/models/train"), ("spec", "rolling"), [7] * 5),
    (("POST", "/models/pretrain"), ("entities",), [f"e{n}" for n in range(100_001)]),
    (("POST", "/models/pretrain"), ("entities",), ["u"]),
    (("POST", "/predict"), ("future",), {f"c{n}": [1] for n in range(65)}),
    (("POST", "/predict"), ("future",), {"day_off": [1] * 169}),
    (("POST", "/models/train"), ("metadata",), {f"a{n}": n for n in range(17)}),
    (("POST", "/anomalies/train"), ("channels",), [f"c{n}" for n in range(33)]),
    (("POST", "/predict/batch"), ("entities",), [f"e{n}" for n in range(100_001)]),
    (("POST", "/predict/batch"), ("targets",), [f"t{n}" for n in range(51)]),
    (("POST", "/predict/what-if"), ("scenarios",), [{"name": f"s{n}", "changes": [hostile.CHANGE]} for n in range(21)]),
    (("POST", "/predict/what-if"), ("scenarios",), [{"name": "s", "changes": [hostile.CHANGE] * 51}]),
]


def test_lists_beyond_their_limits(watch: Watch, trained: Caller, ids: dict[str, str]) -> None:
    for key, steps, value in TOO_LONG:
        wrong = hostile.replaced(WRITES[key].bodies[0], steps, value)
        assert points_at(watch.refused(trained, key[0], WRITES[key].path.format(**ids), wrong), steps)


def test_unsorted_and_repeated_moments_are_taken_and_the_last_value_stands(me: Caller) -> None:
    moments = ["2026-01-03T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-03T02:00:00+02:00", "2026-01-02", "2026-01-01T00:00:00"]
    rows = [{"channel": "rhr", "at": at, "value": n} for n, at in enumerate(moments)]
    told = me.post("/entities/u/observations", {"observations": rows}).json
    assert (told["accepted"], told["replaced"], told["rejected"]) == (5, 0, 0)
    held = [(row["at"][:10], row["value"]) for row in me.get("/entities/u/observations").json["data"]]
    assert held == [("2026-01-01", 4.0), ("2026-01-02", 3.0), ("2026-01-03", 2.0)]


# How long a body is


@pytest.fixture
def narrow(engine: Engine, redis_url: str) -> Caller:
    """A caller of an app that takes small bodies."""
    return make_house(make_runtime(engine, redis_url, max_body_bytes=2048)).caller("mine")


def test_bodies_beyond_the_limit(engine: Engine, narrow: Caller) -> None:
    watch = Watch(engine)
    for key in WITH_BODIES:
        path, data = WRITES[key].path.format(model="m", job="j", schedule="s"), b" " * 2049
        for environ in ({}, {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}):
            problem = watch.refused(narrow, key[0], path, data=data, content_type=JSON, environ_overrides=environ)
            assert problem["code"] == "body_too_large", (key, environ, problem)


def test_lengths_that_lie(engine: Engine, narrow: Caller) -> None:
    """A body cut off is not JSON. (Without a body, PUT makes an entity of which nothing is told.)"""
    watch = Watch(engine)
    for length in ("-1", "x", "1.5", "99999999999999999999", "\xb2", "0", "1", "2000"):
        for key in (key for key in WITH_BODIES if key[0] == "POST"):
            path, data = WRITES[key].path.format(model="m", job="j", schedule="s"), json.dumps(WRITES[key].bodies[0])[:-1]
            watch.refused(narrow, key[0], path, data=data, content_type=JSON, environ_overrides={"CONTENT_LENGTH": length})


#: Bodies of some megabytes that used to take half a minute, or were sent back whole: path, type, body.
FLOODS: Mapping[str, tuple[str, str, bytes]] = {
    "a name that never ends": ("/models/train", JSON, b'{"entity": "u", "recipe": "' + b"x" * 8_000_000 + b'"}'),
    "a key that never ends": ("/models/train", JSON, b'{"' + b"x" * 8_000_000 + b'": 1}'),
    "a million keys": ("/models/train", JSON, b"{" + b",".join(b'"%d": 1' % n for n in range(1_000_000)) + b"}"),
    "a million names": ("/models/train", JSON, b'{"recipe": "health-daily", "entities": [' + b'"",' * 1_000_000 + b'""]}'),
    "wrong names": ("/models/train", JSON, b'{"recipe": "health-daily", "entities": [' + b'"",' * 99_999 + b'""]}'),
    "a million lists": ("/models/train", JSON, b'{"recipe": "r", "metadata": {"a": [' + b"[]," * 1_000_000 + b"1]}}"),
    "more lists": ("/models/train", JSON, b"[" + b"[]," * 4_000_000 + b"1]"),
    "a wide future": (
        "/predict",
        JSON,
        b'{"entity": "u", "target": "rhr", "future": {' + b",".join(b'"%d": 1' % n for n in range(500_000)) + b"}}",
    ),
    "a long future": ("/predict", JSON, b'{"entity": "u", "target": "rhr", "future": {"a": [' + b"1," * 4_000_000 + b"1]}}"),
    "a wide row": ("/entities/u/observations", JSON, b'{"rows": [{' + b",".join(b'"%d": 1' % n for n in range(500_000)) + b"}]}"),
    "long names": ("/entities/u/observations", "application/x-ndjson", (b'{"' + b"x" * 100_000 + b'": 1}\n') * 100),
    "empty lines": ("/entities/u/observations", "application/x-ndjson", b"{}" + b"\n" * 8_000_000),
    "commas": ("/entities/u/observations", "text/csv", b"," * 8_000_000),
    "lines": ("/entities/u/observations", "text/csv", b"at,rhr\n" + b"x,1\n" * 2_000_000),
}


def test_floods_are_stemmed(watch: Watch, trained: Caller) -> None:
    """Little time is spent on them, and little is said."""
    for name, (path, mimetype, data) in FLOODS.items():
        begun = time.process_time()
        problem = watch.refused(trained, "POST", path, data=data, content_type=mimetype)
        assert time.process_time() - begun < 5, name
        assert len(json.dumps(problem)) < 20_000, name


# Queries

NO_NAMES = ("", "%00", "%0A", "%7F", "%C2%85", "x" * 201)
NO_WORDS = ("", "x", "TRAIN", "%00", "train,predict", "\u2067train", "%FF")
NO_NUMBERS = ("", "x", "NaN", "inf", "-Infinity", "1e400", "1_0", "\u0663", "0x10", "-1", "9" * 5000, "%00", "true", "null", "%205", "5%0A")
#: By the name of a parameter: what it refuses. A parameter of any route that is missing here fails its test.
QUERIES: Mapping[str, tuple[str, ...]] = {
    "limit": (*NO_NUMBERS, "0", "201", "1e1", "5.0"),
    "wait": (*NO_NUMBERS, "3601"),
    "cursor": ("", "x", "%00", "A" * 1001, "AAAA", "W10", "bnVsbA", "\u00e9", "WyJhIiwgMV0", "eyJhIjoxLCJiIjoyfQ", "%F0%9F%A6%8A"),
    "from": tuple(text.encode(errors="surrogatepass").decode("latin-1") for text in hostile.NO_MOMENTS),
    "to": tuple(text.encode(errors="surrogatepass").decode("latin-1") for text in hostile.NO_MOMENTS),
    "kind": NO_WORDS,
    "state": NO_WORDS,
    "entity": NO_NAMES,
    "name": NO_NAMES,
    "channel": NO_NAMES,
    "recipe": NO_NAMES,
    "severity": NO_WORDS,
    "target": NO_NAMES,
    "source": NO_NAMES,
    "actor": ("", "%00", "%0A", "x" * 101),
    "action": NO_WORDS,
}
#: An entity's kind is any text.
OPEN_KIND = ("", "%00", "%0A", "x" * 51)


def queries(house: House) -> Iterator[tuple[str, str]]:
    """Every path with a query parameter of its, by the OpenAPI document."""
    for path, item in house.app.test_client().get("/openapi.json").json["paths"].items():
        for parameter in (*item.get("parameters", ()), *item.get("get", {}).get("parameters", ())):
            if parameter.get("in") == "query":
                yield path.removeprefix(API), parameter["name"]


def _real(ids: dict[str, str]) -> dict[str, str]:
    """What stands in the paths of reads."""
    named = {f"{name}_id": ids[name] for name in ("model", "job", "schedule", "webhook")}
    return named | {"entity": "u", "target": "rhr", "semver": "1.0.0"}


def test_every_query_parameter(watch: Watch, house: House, trained: Caller, ids: dict[str, str]) -> None:
    asked = list(queries(house))
    assert {name for _, name in asked} <= QUERIES.keys()
    real = _real(ids)
    for path, name in asked:
        needed = {"recipe": "health-daily"} if path.endswith("/readiness") else {}
        for value in OPEN_KIND if (path, name) == ("/entities", "kind") else QUERIES[name]:
            query = "&".join(f"{n}={v}" for n, v in (needed | {name: value}).items())
            problem = watch.refused(trained, "GET", path.format(**real) + "?" + query)
            assert problem["status"] == 422, (path, name, value, problem)
            assert points_at(problem, ("query", name)), (path, name, value, problem)


def test_unknown_and_repeated_query_parameters(watch: Watch, house: House, trained: Caller, ids: dict[str, str]) -> None:
    real = _real(ids)
    for path, name in queries(house):
        needed = "recipe=health-daily&" if path.endswith("/readiness") and name != "recipe" else ""
        value = {"limit": "5", "wait": "0", "recipe": "health-daily"}.get(name, "x")
        problem = watch.refused(trained, "GET", f"{path.format(**real)}?{needed}surprise=1")
        assert points_at(problem, ("query", "surprise")), problem
        problem = watch.refused(trained, "GET", f"{path.format(**real)}?{needed}{name}={value}&{name}={value}")
        assert points_at(problem, ("query", name)), problem


def test_cursors_of_other_lists_and_filters(engine: Engine, trained: Caller, ids: dict[str, str]) -> None:
    for number in range(3):
        trained.put(f"/entities/x{number}", {"kind": "user"})
    lists = [
        "/entities",
        "/entities?kind=user",
        "/entities/u/observations",
        "/entities/u/observations?channel=rhr",
        "/jobs",
        "/jobs?kind=train",
    ]
    lists += [f"/models/{ids['model']}/versions", f"/models/{ids['model']}/activations"]
    given = {path: trained.get(f"{path}{'&' if '?' in path else '?'}limit=1").json["next_cursor"] for path in lists}
    assert all(given.values())
    watch = Watch(engine)
    for path in lists:
        for origin, cursor in given.items():
            asked = f"{path}{'&' if '?' in path else '?'}cursor={cursor}"
            if origin == path:
                assert trained.get(asked).status_code == 200
            else:
                assert watch.refused(trained, "GET", asked)["errors"][0]["code"] == "unknown_cursor"


MARKS: tuple[Any, ...] = (
    *(None, True, -1, 1.5, float("nan"), 2**63, 10**30, "", "x", "\0", "\ud800", "x" * 300, [], {}, [None, None], [1, 2], ["a", "b", "c"]),
    *(["\0", "2026-01-01"], ["rhr", "\0"], ["rhr", "0001-01-01T00:00:00+14:00"], ["9999-12-31T23:59:59-14:00", "job_1"]),
    *("1.0", "1.0.0.0", "1.x.0", "-1.0.0", "1.0.-1", "01.0.0", "\u0661.0.0", f"{2**40}.0.0", f"{2**70}.0.0", "9" * 199),
)


def test_cursors_that_were_forged(house: House, trained: Caller, ids: dict[str, str]) -> None:
    """A cursor is not signed: whoever reads the source can write one for the right list. It shows a page of that list or is refused."""
    lists: dict[str, dict[str, Any]] = {
        "/entities": {"list": "entities", "kind": None},
        "/entities/u/observations": {"list": "observations", "entity": "u", "channel": None, "since": None, "until": None},
        "/jobs": {"list": "jobs", "kind": None, "state": None, "entity": None},
        "/models": {"list": "models", "entity": None, "name": None, "kind": None},
        f"/models/{ids['model']}/versions": {"list": "versions", "model": ids["model"]},
        f"/models/{ids['model']}/activations": {"list": "activations", "model": ids["model"]},
        f"/jobs/{ids['job']}/items": {"list": "items", "job": ids["job"], "state": None},
    }
    for path, filters in lists.items():
        for mark in MARKS:
            answer = trained.get(f"{path}?cursor={encode(mark, filters)}")
            assert answer.status_code in (200, 422), (path, mark, answer.text)


# Paths, headers, methods

NO_PATHS = ("%00", "a%00b", "%0A", "a%0Ab", "a%0D%0Ab", "%7F", "%C2%85", "%FF", "%ED%A0%80", "%C0%AE", "x" * 201, "x" * 7000)


def test_names_in_paths(watch: Watch, house: House, trained: Caller) -> None:
    for method, rule in rules(house, below=API):
        for name in re.findall(PARAMETER, rule) if method not in ("HEAD", "OPTIONS") else ():
            for value in NO_PATHS:
                problem = watch.refused(trained, method, filled(rule, {name: value}))
                assert points_at(problem, ("path", name)), (method, rule, value, problem)


UNMAKEABLE = (
    ".",
    "..",
    "%2e%2e",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "a/../b",
    "a%2F..%2Fb",
    "a/./b",
    "a//b",
    "/a",
    "a/",
    "%2F",
    "a/observations/b",
)


def test_names_that_paths_cannot_carry(engine: Engine, me: Caller) -> None:
    watch = Watch(engine)
    for name in UNMAKEABLE:
        for method, path, body in (
            ("PUT", f"/entities/{name}", {}),
            ("POST", f"/entities/{name}/observations", {"rows": [{"at": "2026-01-01", "a": 1}]}),
        ):
            problem = watch.refused(me, method, path, body=body)
            assert problem["status"] in (404, 405, 422), (method, path, problem)


ODD_NAMES = (
    *("*", "**", "%", "_", "'; DROP TABLE jobs; --", "a\\b", "C:\\x", "~", "-", "null", "None", "0", " ", "...", "a..b", "{entity}", "%s"),
    *("<b>", "a&b", "a=b", "a;b", "a,b", '"', "#", "?", "+", "@", "[", "\u00e9", "e\u0301", "\ufeff", "\u202eabc", "\u200d", "\u00a0"),
    *("\U0010ffff", "\ufffe", "👩‍👩‍👧", "ﬁ", "fi", "ſ", "s", "İ", "i̇", "ＡＢＣ", "ABC", "abc"),
)


def test_odd_names_come_back_as_they_were_given(me: Caller) -> None:
    """No name is normalised, so é in one code point and in two are two entities."""
    for name in ODD_NAMES:
        path = "/entities/" + "".join(f"%{byte:02X}" for byte in name.encode())
        assert me.put(path).json["entity"] == name
        assert me.get(path).json["entity"] == name
    held = [row["entity"] for row in me.get("/entities?limit=200").json["data"]]
    assert held == list(ODD_NAMES)


HEADERS = (
    *(
        "If-Match",
        "If-None-Match",
        "If-Modified-Since",
        "Prefer",
        "Accept",
        "Accept-Encoding",
        "Content-Encoding",
        "Last-Event-ID",
        "Range",
    ),
    *("Cookie", "X-Request-Id", "X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "Expect", "Connection", "Origin"),
)
GARBAGE = (
    *("", "x", '"', '"a', "W/", 'W/"', "*, *", ",,,", ";;;", "\xff\xfe", "\x00", "\x7f", "-1", "9" * 5000, "=", "a=b=c", "{", "%00"),
    *("wait=-1", "wait=1e9", "wait=\u0663".encode().decode("latin-1")),
)


def test_headers_that_mean_nothing(engine: Engine, trained: Caller, ids: dict[str, str]) -> None:
    """Some are refused (If-Match, Accept), most are passed over; none is stumbled over."""
    before = contents(engine)
    for header, value in product(HEADERS, GARBAGE):
        answer = trained.get(f"/jobs/{ids['job']}", headers={header: value})
        assert answer.status_code in (200, 304, 406, 422), (header, value, answer.text)
        answer = trained.post(f"/models/{ids['model']}/activate", {"version": "9.9.9"}, headers={header: value})
        assert answer.status_code in (404, 406, 412, 422), (header, value, answer.text)
        assert answer.content_type == "application/problem+json"
    assert contents(engine) == before


def test_types_that_nothing_answers_in(watch: Watch, trained: Caller, ids: dict[str, str]) -> None:
    """Refused before anything is done."""
    for accept in ("x", "image/png", "application/json;q=0", "*/*;q=0", "text/csv;q=x, image/*", "x" * 5000):
        for (method, _), write in WRITES.items():
            body = dict(write.bodies[0]) if write.bodies else None
            problem = watch.refused(trained, method, write.path.format(**ids), body, headers={"Accept": accept})
            assert problem["code"] == "not_acceptable", (accept, method, write.path, problem)


def test_tags_that_do_not_match(watch: Watch, trained: Caller, ids: dict[str, str]) -> None:
    path = f"/models/{ids['model']}/activate"
    for tag in ('"1.0.0", "1.1.0"', 'W/"1.0.0"', '"9.9.9"', "1", '"\xff"'):
        problem = watch.refused(trained, "POST", path, body={"version": "1.0.0"}, headers={"If-Match": tag})
        assert problem["code"] == "precondition_failed" or points_at(problem, ("headers", "If-Match")), problem


def test_idempotency_keys(watch: Watch, trained: Caller, ids: dict[str, str]) -> None:
    for key in ("", "x" * 256, "\xe9", "a\x00b", "a\x7f", "\t"):
        rules = ("/models/train", "/predict", "/predict/batch", "/predict/what-if", "/backtests")
        for rule in (("POST", path) for path in rules):
            problem = watch.refused(trained, "POST", rule[1], body=WRITES[rule].bodies[0], headers={"Idempotency-Key": key})
            assert points_at(problem, ("headers", "Idempotency-Key")), problem


CREDENTIALS = (
    *("", " ", "Bearer", "Bearer ", "Basic dTpw", "bearer x", "Bearer fk_", "Bearer \xff\xfe", "Bearer \x00", "Digest a=b"),
    *("Bearer " + "x" * 8000, "Bearer fk_000000000000_" + "0" * 64, "Bearer fk_' OR 1=1 --_x", "Bearer fk_a_b, Bearer fk_c_d"),
)


def test_credentials(engine: Engine, me: Caller) -> None:
    before = contents(engine)
    for value in CREDENTIALS:
        for (method, _), write in WRITES.items():
            path, body = (
                API + write.path.format(model="m", job="j", schedule="s", webhook="w", delivery="d"),
                dict(write.bodies[0]) if write.bodies else None,
            )
            answer = me.client.open(path, method=method, headers={"Authorization": value}, json=body)
            assert (answer.status_code, answer.json["code"]) == (401, "unauthenticated"), (method, path, answer.text)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert contents(engine) == before


def test_other_methods(watch: Watch, house: House, trained: Caller) -> None:
    """405, or 404 where another rule takes the rest of the path for a name. (A name with /forecasts/ in it cannot be made.)"""
    known: dict[str, set[str]] = {}
    for method, rule in rules(house, below=API):
        known.setdefault(rule, set()).add(method)
    for rule, methods in known.items():
        for method in {"GET", "PUT", "POST", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW"} - methods:
            problem = watch.refused(trained, method, filled(rule, {"entity": "none"}))
            assert problem["status"] in (404, 405, 422), (method, rule, problem)


def test_head_and_options(engine: Engine, house: House, trained: Caller) -> None:
    before = contents(engine)
    for method, rule in rules(house):
        asked: dict[str, Any] = {"path": filled(rule, {}), "headers": {"Authorization": f"Bearer {trained.key}"}}
        if method == "HEAD":
            head, got = (trained.client.open(method=m, **asked) for m in ("HEAD", "GET"))
            assert (head.status_code, head.data) == (got.status_code, b""), rule
        if method == "OPTIONS":
            answer = trained.client.open(method="OPTIONS", **asked)
            assert (answer.status_code, "OPTIONS" in answer.headers["Allow"]) == (200, True), rule
    assert contents(engine) == before
