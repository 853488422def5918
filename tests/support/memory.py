"""All that Redis holds, as text: keys, and values of every type."""

from __future__ import annotations

from typing import Any

import redis


def texts(client: redis.Redis) -> list[str]:
    """One for each key: its name and its value."""
    readers: dict[str, Any] = {
        "string": client.get,
        "hash": client.hgetall,
        "stream": client.xrange,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": client.smembers,
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    return [f"{key} {readers[str(client.type(key))](key)}" for key in client.scan_iter("*")]
