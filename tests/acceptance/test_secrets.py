"""Nothing secret anywhere: keys come where they do not belong, and then all that the house wrote, keeps and answers is searched."""

from __future__ import annotations

import base64
import json
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import psycopg
import pytest
import redis
from psycopg import sql
from sqlalchemy import make_url

from ops.processes import PROC
from tests.acceptance.conftest import command
from tests.support.client import Api, Body, House
from tests.support.leaks import files, kept_in_redis, leaked
from tests.support.real import devices

ENTITY = "kept-quiet"
ORDER = {"entity": ENTITY, "recipe": "device-metric", "target": "system.cpuUsage", "spec": {"epochs": 1, "hidden_size": 8}}

#: The one place of each secret, and all that may be done with the file: by its owner, and by nobody else. What `up` starts is told the
#: rest by its environment, which the kernel shows to the same user alone.
PLACES: Mapping[str, frozenset[str]] = {
    "up.json": frozenset({"the key", "Postgres' password", "Redis' password", "Flower's password"}),
    "development.key": frozenset({"the key"}),
    "state.json": frozenset({"Postgres' password", "Redis' password"}),
    "valkey.conf": frozenset({"Redis' password"}),
    "flower-state/cookie-secret": frozenset({"Flower's cookies"}),
}
#: A page of Flower's for each kind that it has; none of them needs to be told a secret.
FLOWER = ("/", "/workers", "/tasks", "/broker", "/metrics", "/healthcheck")
FLOWER_API = ("/api/workers?refresh=1", "/api/workers?status=1", "/api/tasks", "/api/queues/length", "/api/task/types")


@pytest.fixture(scope="module")
def secrets(house: House) -> dict[str, str]:
    return {
        "the key": house.key.rpartition("_")[2],
        "Postgres' password": make_url(house.database_url).password or "",
        "Redis' password": urlsplit(house.redis_url).password or "",
        "Flower's password": house.flower_password,
        "Flower's cookies": (Path(house.folder) / "flower-state" / "cookie-secret").read_text(),
    }


@pytest.fixture(scope="module")
def run(house: House, api: Api) -> list[httpx.Response]:
    """What is to be searched happens: work that succeeds, work that fails, faults of the house's own, and keys in wrong places."""
    api.send(ENTITY, next(iter(devices().values())))
    trained = api.done("/models/train", ORDER)
    failed = api.wait(api.submit("/models/train", {"entities": [ENTITY], "recipe": "device-metric", "target": "nothing"}))
    assert failed["state"] == "failed"
    forecast = api.post("/predict", {"entity": ENTITY, "target": "system.cpuUsage"}, Prefer="wait=30")
    answers = [forecast, api.http.get(f"/jobs/{trained['id']}"), api.http.get(f"/jobs/{failed['id']}")]
    with httpx.Client(base_url=house.url, timeout=60) as stranger:
        answers += [*misplaced(stranger, house.key), *refused(stranger, house.key), *faults(house, api)]
    answers += [httpx.get(f"{house.url}{path}") for path in ("/metrics", "/readyz", "/queues", "/healthz", "/openapi.json", "/docs")]
    assert raw(house, f"GET /api/v1/jobs HTTP/1.1\r\nHost: here\r\nAuthorization Bearer {house.key}\r\n\r\n").startswith(b"HTTP/1.1 400")
    raw(house, f"GET /api/v1/jobs?{house.key * 200} HTTP/1.1\r\nHost: here\r\n\r\n")
    time.sleep(3)  # the meter sends, Flower hears
    return answers


def misplaced(http: httpx.Client, key: str) -> Iterator[httpx.Response]:
    """The key where it does not belong, without any in its place."""
    basic = base64.b64encode(f"key:{key}".encode()).decode()
    for headers in (
        {"X-Api-Key": key},
        {"Authorization": key},
        {"Authorization": f"Token {key}"},
        {"Authorization": f"Basic {basic}"},
        {"Authorization": f"Bearer Bearer {key}"},
        {"Proxy-Authorization": f"Bearer {key}"},
        {"Cookie": f"session={key}"},
    ):
        yield http.get("/api/v1/jobs", headers=headers)
    for path in (f"/api/v1/jobs?api_key={key}", f"/api/v1/jobs/{key}", f"/{key}", f"/api/v1/entities/{quote(key)}?access_token={key}"):
        yield http.get(path)
    yield http.post("/api/v1/models/train", json={"api_key": key})


def refused(http: httpx.Client, key: str) -> Iterator[httpx.Response]:
    """A right key, and once more in what is refused: a header that we read, the query, a field."""
    http.headers["Authorization"] = f"Bearer {key}"
    for name in ("X-Request-Id", "User-Agent", "Referer", "Prefer", "If-None-Match", "Last-Event-ID", "X-Forwarded-For"):
        yield http.get("/api/v1/jobs/job_none", headers={name: key})
    yield http.get("/api/v1/jobs", params={"api_key": key})
    yield http.get("/api/v1/jobs", params={"limit": key})
    yield http.get("/api/v1/jobs", params={"cursor": key})
    yield http.post("/api/v1/models/train", json={**ORDER, "api_key": key})
    yield http.post("/api/v1/models/train", json={**ORDER, key: 1})
    yield http.post("/api/v1/models/train", json={**ORDER, "recipe": key})
    yield http.post("/api/v1/models/train", json={**ORDER, "spec": {"epochs": key}})
    yield http.post("/api/v1/models/train", content=f"{{not json {key}".encode(), headers={"Content-Type": "application/json"})
    yield http.post("/api/v1/models/train", content=key.encode(), headers={"Content-Type": key})
    http.headers["Authorization"] = f"Bearer {key[:-4]}{'0000' if not key.endswith('0000') else '1111'}"
    yield http.get("/api/v1/jobs")


def faults(house: House, api: Api) -> Iterator[httpx.Response]:
    """A fault of ours (a table is missing) and one of Postgres' (a lock does not come in time)."""
    url = make_url(house.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE anomalies RENAME TO anomalies_away")
        try:
            broken = api.http.get(f"/entities/{ENTITY}/anomalies")
        finally:
            connection.execute("ALTER TABLE anomalies_away RENAME TO anomalies")
        assert broken.status_code == 500, broken.text
        yield broken
        with connection.transaction():
            connection.execute("LOCK TABLE channels IN ACCESS EXCLUSIVE MODE")
            late = api.http.get(f"/entities/{ENTITY}")
        assert late.status_code == 503, late.text
        yield late


def raw(house: House, request: str) -> bytes:
    """What our client would not send."""
    url = urlsplit(house.url)
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=10) as line:
        line.sendall(request.encode())
        return line.recv(65_536)


def found(secrets: Mapping[str, str], where: Iterator[tuple[str, bytes]]) -> dict[str, list[str]]:
    return {place: names for place, content in where if (names := leaked(secrets, content))}


def test_no_answer_tells_one(run: list[httpx.Response], secrets: dict[str, str]) -> None:
    statuses = {answer.status_code for answer in run}
    assert {200, 401, 404, 422, 500, 503} <= statuses, "all that was to be provoked was"
    told = ((f"{number}: {each}", each.content + repr(each.headers).encode()) for number, each in enumerate(run))
    assert found(secrets, told) == {}


def test_no_log_tells_one(house: House, run: list[httpx.Response], secrets: dict[str, str]) -> None:
    logs = [path for path in files(Path(house.folder)) if path.suffix == ".log"]
    assert {"up.log", "web.log", "dispatcher.log", "train.log", "interactive.log", "flower.log"} <= {path.name for path in logs}
    written = "".join(path.read_text(errors="replace") for path in logs)
    assert "UndefinedTable" in written, "the fault of ours was logged"
    assert found(secrets, ((path.name, path.read_bytes()) for path in logs)) == {}


def test_each_lies_in_its_places_alone_and_nobody_else_can_read_them(
    house: House, run: list[httpx.Response], secrets: dict[str, str]
) -> None:
    """The whole folder: Postgres' files and the log of Valkey's changes among it."""
    folder, ground = Path(house.folder), Path(json.loads((Path(house.folder) / "state.json").read_text())["ground"])
    seen: dict[str, set[str]] = {}
    for root in {folder, ground}:
        for path in files(root):
            for name in leaked(secrets, path.read_bytes()):
                seen.setdefault(path.relative_to(root).as_posix(), set()).add(name)
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert {place: frozenset(names) for place, names in seen.items()} == PLACES


def test_redis_knows_none(house: House, run: list[httpx.Response], secrets: dict[str, str]) -> None:
    with redis.Redis.from_url(house.redis_url) as client:
        kept = dict(kept_in_redis(client))
    assert [place for place in kept if ":events" in place], "streams are among it"
    assert found(secrets, iter(kept.items())) == {}


def test_no_table_holds_one(house: House, run: list[httpx.Response], secrets: dict[str, str]) -> None:
    tables = dict(rows_of(house))
    assert ENTITY in tables["jobs"].decode()
    assert found(secrets, iter(tables.items())) == {}


def test_a_webhooks_secret_is_told_once_and_lies_in_its_row_alone(house: House, api: Api) -> None:
    """It signs, so it is kept; and its receiver is not there, so its tries fail and are told of."""
    made = api.ok(api.post("/webhooks", {"url": "https://nowhere.example/", "types": ["job.succeeded"]}))
    here, theirs = f"/webhooks/{made['id']}", {"the webhook's": made["secret"].removeprefix("whsec_")}
    api.ok(api.http.post(f"{here}/test"))
    deadline = time.monotonic() + 30
    while not (listed := api.get(f"{here}/deliveries")["data"])[0]["error"]:
        assert time.monotonic() < deadline, listed
        time.sleep(0.3)
    answers = [str(api.get(path)).encode() for path in ("/webhooks", here, f"{here}/deliveries")]
    refused = api.http.post("/webhooks", json={"url": f"https://127.0.0.1/{made['secret']}", "types": []})
    assert refused.status_code == 422
    logs = ((path.name, path.read_bytes()) for path in files(Path(house.folder)) if path.suffix == ".log")
    assert found(theirs, (("answer", each) for each in answers)) == {}
    assert found(theirs, logs) == {}
    with redis.Redis.from_url(house.redis_url) as client:
        assert found(theirs, kept_in_redis(client)) == {}
    assert found(theirs, rows_of(house)) == {"webhooks": ["the webhook's"]}
    api.http.delete(here)


def rows_of(house: House) -> Iterator[tuple[str, bytes]]:
    """The text of every table."""
    url = make_url(house.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        for (table,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
            whole = sql.SQL("SELECT coalesce(string_agg(t::text, ' '), '') FROM {} AS t").format(sql.Identifier(table))
            [(text,)] = connection.execute(whole).fetchall()
            yield table, text.encode()


def test_flower_shows_none(house: House, run: list[httpx.Response], secrets: dict[str, str]) -> None:
    shown: dict[str, bytes] = {}
    with httpx.Client(base_url=house.flower, auth=(house.flower_user, house.flower_password), timeout=30) as flower:
        for path in (*FLOWER, *FLOWER_API):
            shown[path] = flower.get(path).raise_for_status().content
        workers: Body = flower.get("/api/workers").json()
        tasks: Body = flower.get("/api/tasks").json()
        assert workers
        assert tasks
        for path in (*(f"/worker/{quote(name)}" for name in workers), *(f"/task/{quote(name)}" for name in list(tasks)[:5])):
            shown[path] = flower.get(path).raise_for_status().content
    assert httpx.get(f"{house.flower}/api/tasks").status_code == 401
    assert found(secrets, iter(shown.items())) == {}


def test_no_command_line_tells_one(run: list[httpx.Response], secrets: dict[str, str]) -> None:
    def lines() -> Iterator[tuple[str, bytes]]:
        for file in PROC.glob("[0-9]*/cmdline"):
            try:
                yield file.parent.name, file.read_bytes()
            except OSError:
                continue  # it has ended

    assert any(b"webapp.wsgi:app" in line for _, line in lines())
    assert found(secrets, lines()) == {}


@pytest.mark.parametrize(
    "words", [("migrate",), ("doctor",), ("jobs", "ls"), ("keys", "list", "acme"), ("up",)], ids=lambda words: " ".join(words)
)
def test_no_command_tells_one_of_a_server_that_is_away(words: tuple[str, ...], tmp_path: Path) -> None:
    away = {"one": "one-that-no-server-knows-1", "other": "other-that-no-server-knows-2"}
    servers = {
        "DATABASE_URL": f"postgresql+psycopg://me:{away['one']}@127.0.0.1:1/x",
        "REDIS_URL": f"redis://:{away['other']}@127.0.0.1:1/0",
    }
    done = command(*words, FLEETCAST_FOLDER=str(tmp_path), **servers)
    assert done.returncode != 0
    assert done.stderr or done.stdout
    assert leaked(away, (done.stdout + done.stderr).encode()) == []
