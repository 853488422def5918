"""Looking for secrets in whatever a house has written or said: as they are, in part, and as programs write them for one another."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote_to_bytes

import redis

#: A part of a secret that is shorter may stand anywhere by chance.
LEAST = 8


def leaked(secrets: Mapping[str, str], content: bytes) -> list[str]:
    """The names of those secrets of which the content tells at least half, in any guise."""
    readings = (content, unquote_to_bytes(content)) if b"%" in content else (content,)
    return [name for name, secret in secrets.items() if any(guise in reading for guise in guises(secret) for reading in readings)]


def guises(secret: str) -> set[bytes]:
    """How either half of the secret may be written. A secret too short to be told from chance is refused with ValueError."""
    middle = len(secret) // 2
    if middle < LEAST:
        raise ValueError(f"{len(secret)} characters are too few to look for")
    return {guise for half in (secret[:middle], secret[middle:]) for guise in _guises(half)}


def _guises(text: str) -> Iterator[bytes]:
    plain = text.encode()
    yield plain
    yield plain.hex().encode()
    yield plain.hex().upper().encode()
    yield json.dumps(text)[1:-1].encode()
    yield quote(text, safe="").encode()
    yield quote_plus(text).encode()
    for before in range(3):
        encoded = _base64_within(plain, before)
        yield encoded
        yield encoded.translate(bytes.maketrans(b"+/", b"-_"))


def _base64_within(plain: bytes, before: int) -> bytes:
    """The part of base64 that tells these bytes alone, where `before` bytes of another thing, modulo 3, stand before them."""
    first, last = -(-before * 8 // 6), (before + len(plain)) * 8 // 6
    return base64.b64encode(b"\0" * before + plain)[first:last]


def kept_in_redis(client: redis.Redis) -> Iterator[tuple[str, bytes]]:
    """Every key with all it holds, and what Redis knows of its clients and their slow commands. `client` must not decode."""
    for key in client.scan_iter(count=1000):
        yield f"redis {key!r}", key + b" " + repr(_value(client, key)).encode()
    yield "redis CLIENT LIST", repr(client.client_list()).encode()
    yield "redis SLOWLOG", repr(client.slowlog_get(1000)).encode()


def _value(client: redis.Redis, key: bytes) -> object:
    readers: dict[Any, Callable[[bytes], object]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda name: client.lrange(name, 0, -1),
        b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1),
        b"stream": client.xrange,
        b"none": lambda _: None,
    }
    return readers[client.type(key)](key)


def files(folder: Path) -> Iterator[Path]:
    """Every file below the folder, links not followed."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
