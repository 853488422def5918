"""The forecast cache in Redis: an answer given once is given again without a worker. It may be wiped at any time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import cast

import redis

from db.board import Breaker
from db.forecasts import Question
from db.models import Json

DAY_S = 24 * 3600


class ForecastCache:
    """Answers by question. The version and the data's revision are part of the key: a rollback or new data need no invalidation."""

    def __init__(self, client: redis.Redis, breaker: Breaker | None = None) -> None:
        self._redis = client
        self._breaker = breaker or Breaker()
        self.hits = 0
        self.misses = 0

    def get(self, tenant: str, question: Question) -> Json | None:
        held = self._breaker.ask(lambda: self._redis.get(key(tenant, question)), None)
        if held is None:
            self.misses += 1
            return None
        self.hits += 1
        return cast("Json", json.loads(cast("str", held)))

    def put(self, tenant: str, question: Question, body: Json, ttl_s: float = DAY_S) -> bool:
        """Whether it was kept."""
        value, milliseconds = json.dumps(body), int(ttl_s * 1000)
        return self._breaker.ask(lambda: bool(self._redis.set(key(tenant, question), value, px=milliseconds)), False)

    def forget(self, tenant: str, questions: Iterable[Question]) -> bool:
        """Remove answers before their time, as when their entity is erased. Whether Redis was there to do it."""
        keys = [key(tenant, question) for question in questions]
        return not keys or self._breaker.ask(lambda: self._redis.unlink(*keys), None) is not None


def key(tenant: str, question: Question) -> str:
    q = question
    return f"fleetcast:{tenant}:forecast:{q.version_id}:{q.target}:{q.data_rev}:{q.horizon}:{q.level}"
