"""The clients: backends that submit jobs of every kind, keep asking until each is accepted, and read each to its end."""

from __future__ import annotations

import http.client
import json
import math
import random
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from tests.chaos.book import Body, Book
from tests.chaos.points import POISON

#: Small enough that a training takes a fraction of a second, and all of one shape, so that they make cohorts.
SMALL = {"hidden_size": 8, "num_layers": 1, "epochs": 2, "patience": 2, "window": 12, "horizon": 3}
ENTITIES = [f"device-{n}" for n in range(8)]
POISONED = [f"{POISON}-{n}" for n in range(3)]
CHANNEL = "cpu"
#: Pauses between two looks at a job.
FIRST_S, LONGEST_S = 0.3, 3.0
#: Pause after an answer that says to come again, or after none.
AGAIN_S = 0.25


@dataclass(frozen=True)
class Order:
    """One request for work."""

    kind: str
    entity: str
    path: str
    body: Body
    #: Whether to ask for its end again: at once, or when it is seen to run.
    cancel: Literal["at once", "as it runs"] | None = None


@dataclass
class Mix:
    """What clients ask for, by weight."""

    dice: random.Random
    weights: Mapping[str, int] = field(
        default_factory=lambda: {"predict": 62, "what_if": 8, "detect": 8, "train": 12, "batch": 3, "watch": 1, "backtest": 1, "cancel": 3}
    )

    def __iter__(self) -> Iterator[Order]:
        """Without end."""
        while True:
            yield self.next()

    def next(self) -> Order:
        kind = self.dice.choices(list(self.weights), list(self.weights.values()))[0]
        made: Order = getattr(self, kind)(self.dice.choice(ENTITIES))
        return made

    def predict(self, entity: str) -> Order:
        """Another level each time, so that nobody has asked before."""
        return Order("predict", entity, "/predict", {"entity": entity, "target": CHANNEL, "level": self._level()})

    def what_if(self, entity: str) -> Order:
        scenarios = [{"name": "more", "changes": [{"channel": "load", "op": "multiply", "value": round(self.dice.uniform(1, 2), 6)}]}]
        return Order("what_if", entity, "/predict/what-if", {"entity": entity, "target": CHANNEL, "scenarios": scenarios})

    def train(self, entity: str) -> Order:
        body = {"entity": entity, "recipe": "device-metric", "target": CHANNEL}
        return Order("train", entity, "/models/train", body | {"spec": self._spec()})

    def batch(self, entity: str) -> Order:
        chosen = self.dice.sample(ENTITIES, 5)
        return Order("batch", entity, "/predict/batch", {"entities": chosen, "targets": [CHANNEL], "level": self._level()})

    def watch(self, entity: str) -> Order:
        return Order(
            "watch",
            entity,
            "/anomalies/train",
            {"entity": entity, "channels": [CHANNEL, "load"], "spec": {"seed": self._seed(), "trees": 20}},
        )

    def detect(self, entity: str) -> Order:
        start = START + timedelta(hours=self.dice.randrange(HOURS - 60), seconds=self.dice.randrange(3600))
        return Order("detect", entity, "/anomalies/detect", {"entity": entity, "from": start.isoformat()})

    def backtest(self, entity: str) -> Order:
        body = {"entity": entity, "recipe": "device-metric", "target": CHANNEL, "folds": 1}
        return Order("backtest", entity, "/backtests", body | {"spec": self._spec()})

    def cancel(self, entity: str) -> Order:
        """Of a training long enough to be caught at it."""
        made = self.train(entity)
        longer = made.body["spec"] | {"epochs": 1000, "patience": 200, "hidden_size": 64}
        return Order("train", entity, made.path, made.body | {"spec": longer}, cancel=self.dice.choice(("at once", "as it runs")))

    def poison(self, entity: str) -> Order:
        made = self.train(entity)
        return Order("poison", entity, made.path, made.body)

    def _spec(self) -> Body:
        return SMALL | {"covariates": ["load"], "seed": self._seed()}

    def _level(self) -> float:
        return round(self.dice.uniform(0.5, 0.99), 9)

    def _seed(self) -> int:
        return self.dice.randrange(2**31)


START = datetime(2026, 9, 1, tzinfo=UTC)
HOURS = 240


def rows(phase: float) -> list[Body]:
    """Ten days of a device, hour by hour, with a daily rhythm and a channel that drives it."""
    made = []
    for hour in range(HOURS):
        at, load = (START + timedelta(hours=hour)).isoformat(), math.sin(2 * math.pi * hour / 24 + phase) + 0.1 * math.sin(hour * 12.9898)
        made += [
            {"channel": "load", "at": at, "value": load},
            {"channel": CHANNEL, "at": at, "value": 20 + 5 * load + math.cos(hour * 39.4)},
        ]
    return made


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client(threading.Thread):
    """One backend. `told`, or out of orders: it submits no more, and reads what is under way to its end."""

    def __init__(
        self, url: str, key: str, book: Book, orders: Iterator[Order], *, most: int, every_s: float, told: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self._http = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._book, self._orders, self._most, self._every_s, self._told = book, orders, most, every_s, told
        #: Jobs under way: the next look at each, and the pause after it.
        self._open: dict[str, tuple[float, float]] = {}
        #: Those of them whose end is to be asked for when they run.
        self._doomed: set[str] = set()
        #: What was last seen of each, as the API wishes to be told by whoever polls.
        self._etags: dict[str, str] = {}
        self.idle = threading.Event()

    def run(self) -> None:
        due, order = time.monotonic(), next(self._orders, None)
        while (more := order is not None and not self._told.is_set()) or self._open:
            now = time.monotonic()
            if more and order is not None and len(self._open) < self._most and now >= due:
                due = max(due + self._every_s, now - self._every_s)
                self._submit(order)
                order = next(self._orders, None)
            elif not self._look(now):
                time.sleep(0.01)
        self.close()
        self.idle.set()

    def _submit(self, order: Order) -> None:
        found = self.order(order)
        if found is None:
            return
        self._open[found["id"]] = (time.monotonic() + FIRST_S, FIRST_S)
        if order.cancel == "at once":
            self._cancel(found["id"])
        elif order.cancel == "as it runs":
            self._doomed.add(found["id"])

    def _cancel(self, job_id: str) -> None:
        self._doomed.discard(job_id)
        self._book.jobs[job_id].cancelled = True
        self.ask("POST", f"/jobs/{job_id}/cancel", {})

    def order(self, order: Order) -> Body | None:
        """Ask, with one key, until the answer is a 202; its job. None where it is refused for good."""
        began, at, key = time.monotonic(), time.time(), secrets.token_hex(8)
        answer = self.ask("POST", order.path, order.body, {"Idempotency-Key": key})
        if answer.status != 202:
            self._book.refused(f"{order.kind}: {answer.status} {answer.body[:400].decode()}")
            return None
        found: Body = answer.json()
        self._book.accepted(found, order.kind, order.entity, at, time.monotonic() - began)
        return found

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}) -> Answer:
        """Until there is an answer that is not to be asked for again."""
        while True:
            try:
                answer = self._ask(method, path, None if body is None else json.dumps(body), headers)
            except (OSError, http.client.HTTPException) as error:
                self._http.close()
                self._book.refused(type(error).__name__)
            else:
                if answer.status < 500 and answer.status != 429:
                    return answer
                self._book.refused(str(answer.status))
            time.sleep(AGAIN_S)

    def _ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        self._http.request(method, f"/api/v1{path}", body=body, headers=self._headers | dict(headers))
        answer = self._http.getresponse()
        return Answer(answer.status, dict(answer.headers), answer.read())

    def close(self) -> None:
        self._http.close()

    def _look(self, now: float) -> bool:
        """Read one job whose time has come; False when there is none."""
        job_id = min(self._open, key=lambda each: self._open[each][0], default=None)
        if job_id is None or self._open[job_id][0] > now:
            return False
        answer = self.ask("GET", f"/jobs/{job_id}", headers={"If-None-Match": self._etags.get(job_id, '"0.0"')})
        self._etags[job_id] = answer.headers.get("ETag", "")
        if answer.status not in (200, 304):
            self._book.contradictions.append(f"{job_id} was accepted and then answered {answer.status}")
            del self._open[job_id]
        elif answer.status == 200 and self._book.read(answer.json()):
            del self._open[job_id]
        else:
            if job_id in self._doomed and answer.status == 200 and answer.json()["state"] == "running":
                self._cancel(job_id)
            pause = min(self._open[job_id][1] * 1.5, LONGEST_S)
            self._open[job_id] = (time.monotonic() + pause, pause)
        return True
