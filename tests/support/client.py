"""How a mobile backend would speak to the API: submit, poll, read. No imports of the product."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import httpx

Body = dict[str, Any]


@dataclass(frozen=True)
class House:
    """What `fleetcast status --json` tells."""

    url: str
    key: str
    docs: str
    flower: str
    flower_user: str
    flower_password: str
    database_url: str
    redis_url: str
    folder: str
    pids: dict[str, int]


class Api:
    def __init__(self, url: str, key: str) -> None:
        self.http = httpx.Client(base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def send(self, entity: str, channels: Mapping[str, Sequence[tuple[str, float]]]) -> Body:
        """Observations as JSON, in bodies a phone might send."""
        rows = [{"channel": name, "at": at, "value": value} for name, points in channels.items() for at, value in points]
        answer: Body = {}
        for start in range(0, len(rows), 20_000):
            path = f"/entities/{quote(entity, safe='')}/observations"
            answer = self.ok(self.http.post(path, json={"observations": rows[start : start + 20_000]}))
        return answer

    def post(self, path: str, body: Body, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers=headers)

    def get(self, path: str, **query: Any) -> Body:
        return self.ok(self.http.get(path, params=query))

    def submit(self, path: str, body: Body) -> Body:
        """Accepted, or the answer in hand."""
        answer = self.post(path, body)
        assert answer.status_code in (200, 202), answer.text
        found: Body = answer.json()
        if answer.status_code == 202:
            assert answer.headers["Location"] == f"/api/v1/jobs/{found['id']}"
        return found

    def wait(self, job: Body, *, seconds: float = 120) -> Body:
        """Poll a job to its end; it must never go back from one."""
        deadline, rev = time.monotonic() + seconds, -1
        while time.monotonic() < deadline:
            found = self.get(f"/jobs/{job['id']}")
            assert found["rev"] >= rev, "a job's revision went back"
            rev = found["rev"]
            if found["terminal"]:
                return found
            time.sleep(0.1)
        raise AssertionError(f"job {job['id']} did not end within {seconds:g} s: {found}")

    def done(self, path: str, body: Body, *, seconds: float = 120) -> Body:
        """Submit, wait, and have it succeed."""
        found = self.wait(self.submit(path, body), seconds=seconds)
        assert found["state"] == "succeeded", found["error"]
        return found

    @staticmethod
    def ok(answer: httpx.Response) -> Body:
        assert answer.status_code < 300, answer.text
        found: Body = answer.json()
        return found
