"""The forecast cache in Redis: an answer given once is given again without a worker. It may be wiped at any time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import redis

from db.breaker import Breaker, Call, called, in_parts
from db.forecasts import Question
from db.models import Json

DAY_S = 24 * 3600
#: For so long nobody can give an answer that was forgotten: whoever had made one, or was reading it from Postgres, is through by then.
FORGOTTEN_S = 600

# KEYS: the answer. ARGV: the body, milliseconds. An empty body stands where an answer was forgotten.
_PUT = """
if redis.call('GET', KEYS[1]) == '' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


class ForecastCache:
    """Answers by question. The version and the data's revision are part of the key: a rollback or new data need no invalidation."""

    def __init__(self, client: redis.Redis, breaker: Breaker | None = None) -> None:
        self._redis = client
        self._breaker = breaker or Breaker()
        self._put = client.register_script(_PUT)
        self.hits = 0
        self.misses = 0

    def get(self, tenant: str, question: Question) -> Json | None:
        held = self._breaker.ask(lambda: self._redis.get(key(tenant, question)), None)
        if not held:
            self.misses += 1
            return None
        self.hits += 1
        return cast("Json", json.loads(cast("str", held)))

    def put(self, tenant: str, question: Question, body: Json, ttl_s: float = DAY_S) -> bool:
        """Whether it was kept. One that was forgotten is not: it was made before that, and comes late."""
        return bool(self.put_all(tenant, {question: body}, ttl_s)[question])

    def put_all(self, tenant: str, answers: Mapping[Question, Json], ttl_s: float = DAY_S) -> dict[Question, bool]:
        """The same of many, in few round trips."""
        if ttl_s <= 0:  # nothing is kept for no time, and Redis refuses to
            return dict.fromkeys(answers, False)
        calls: list[Call] = [([key(tenant, question)], [json.dumps(body), int(ttl_s * 1000)]) for question, body in answers.items()]
        kept = [bool(each) for some in in_parts(calls) for each in self._put_some(some)]
        return dict(zip(answers, kept, strict=True))

    def _put_some(self, calls: Sequence[Call]) -> list[Any]:
        return self._breaker.ask(lambda: called(self._redis, self._put, calls), [False] * len(calls))

    def forget(self, tenant: str, questions: Sequence[Question]) -> bool:
        """Remove answers for good, as when their entity is erased. Whether Redis was there to do it."""
        keys = [key(tenant, question) for question in questions]
        return all(self._forget(some) for some in in_parts(keys))

    def _forget(self, keys: Sequence[str]) -> bool:
        def blank() -> bool:
            with self._redis.pipeline(transaction=False) as pipe:
                for each in keys:
                    pipe.set(each, "", ex=FORGOTTEN_S)
                return all(pipe.execute())

        return self._breaker.insist(blank, False)


def key(tenant: str, question: Question) -> str:
    q = question
    return f"fleetcast:{tenant}:forecast:{q.version_id}:{q.target}:{q.data_rev}:{q.horizon}:{q.level}"
