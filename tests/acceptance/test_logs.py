"""The logs of a whole house: JSON alone, in which a job is followed from process to process and nobody's name or secret stands."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from tests.support.client import Api, Body, House
from tests.support.real import devices

NAME = "Jana Muster 4711"
ORDER = {"entity": NAME, "recipe": "device-metric", "target": "system.cpuUsage", "spec": {"epochs": 1, "hidden_size": 8}}
PROCESSES = ("web", "dispatcher", "interactive", "train", "flower")


def written(house: House) -> dict[str, str]:
    return {file.stem: file.read_text() for file in (Path(house.folder) / "logs").glob("*.log")}


def lines(house: House, process: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(house)[process].splitlines()]


@pytest.fixture(scope="module")
def job(api: Api, house: House) -> Body:
    """A training, and what else makes a log talk: requests refused by us, by gunicorn and by Flower."""
    api.send(NAME, next(iter(devices().values())))
    made: Body = api.post("/models/train", ORDER, **{"X-Request-Id": "followed-1"}).json()
    assert api.wait(made)["state"] == "succeeded"
    assert api.post("/models/train", {**ORDER, "target": "nothing"}, **{"X-Request-Id": "refused-1"}).status_code == 422
    assert api.http.get(f"/entities/{NAME} II").status_code == 404
    assert httpx.get(f"{house.flower}/tasks?search={quote(NAME)}").status_code == 401
    assert b"400 Bad Request" in no_header(house, f"/api/v1/entities/{quote(NAME)}")
    until(lambda: [line for line in lines(house, "train") if line["event"] == "attempt_ended" and line["job"] == made["id"]])
    return made


def no_header(house: House, path: str) -> bytes:
    """A key in what is no header: gunicorn refuses it before our app is asked."""
    url = urlsplit(house.url)
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=10) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\nAuthorization Bearer {house.key}\r\n\r\n".encode())
        return line.recv(65_536)


def until(met: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("process", PROCESSES)
def test_every_line_of_every_process_is_an_object(house: House, job: Body, process: str) -> None:
    told = lines(house, process)
    assert told or process in ("dispatcher", "flower"), "it has something to say"
    for line in told:
        assert isinstance(line, dict)
        assert {"event", "level", "timestamp"} <= set(line), line


def test_there_are_no_other_logs(house: House, job: Body) -> None:
    assert set(written(house)) == set(PROCESSES)


def test_what_gunicorn_and_celery_say_stands_among_ours(house: House, job: Body) -> None:
    assert "Starting gunicorn" in lines(house, "web")[0]["event"]
    assert any(line["event"].startswith("Invalid request from ip=127.0.0.1: InvalidHeader") for line in lines(house, "web"))
    assert any(line["event"].startswith(f"Task train[{job['id']}:") for line in lines(house, "train"))


def test_a_job_is_followed_by_its_id_and_its_tenant(house: House, job: Body) -> None:
    asked = [line for line in lines(house, "web") if line.get("request_id") == "followed-1"]
    worked = [line for line in lines(house, "train") if line.get("job") == job["id"]]
    assert [(line["event"], line["job"], line["status"]) for line in asked] == [("request", job["id"], 202)]
    assert [(line["event"], line["outcome"]) for line in worked] == [("attempt_ended", "succeeded")]
    assert len({line["tenant"] for line in asked + worked}) == 1


def test_a_refusal_is_found_by_its_request(house: House, job: Body) -> None:
    [line] = [line for line in lines(house, "web") if line.get("request_id") == "refused-1"]
    assert (line["event"], line["status"], line["route"]) == ("request", 422, "/api/v1/models/train")


def test_no_secret_and_nobodys_name_is_in_any_log(house: House, job: Body) -> None:
    servers = [urlsplit(url).password or "" for url in (house.database_url, house.redis_url)]
    private = [house.key.rpartition("_")[2], house.flower_password, *servers, NAME, quote(NAME), NAME.replace(" ", "+")]
    assert all(len(each) > 8 for each in private), "none is empty or so short that it stands anywhere"
    for process, text in written(house).items():
        assert not [each for each in private if each in text], process
