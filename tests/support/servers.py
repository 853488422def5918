"""Real servers for tests: those named by TEST_DATABASE_URL and TEST_REDIS_URL, else embedded ones started once per run."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis
from psycopg import sql
from sqlalchemy import make_url

from ops import stack


@dataclass(frozen=True)
class Servers:
    database_url: str
    redis_url: str


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Yields the servers. Embedded ones are started in `folder` without fsync (a test's data need not survive a power cut) and stopped."""
    given = os.environ.get("TEST_DATABASE_URL"), os.environ.get("TEST_REDIS_URL")
    if all(given):
        yield Servers(str(given[0]), str(given[1]))
        return
    running = stack.start(folder, durable=False)
    try:
        yield Servers(running.database_url, running.redis_url)
    finally:
        stack.remove(folder)


@contextmanager
def database(server_url: str, template: str | None = None) -> Iterator[str]:
    """A database of its own, dropped afterwards. Yields its URL."""
    name = f"test_{secrets.token_hex(6)}"
    admin = make_url(server_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        copy = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + copy)
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def empty_redis(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushdb()
