"""Each role's Redis user, on a Valkey started by the words of docker-compose.yml: what it may do, what it seldom does, what it may not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.support.compose import Host, until

ROLES = ("web", "dispatcher", "worker", "flower")
EVERYBODY = (*ROLES, "tools", "operator")
STATUS, FORECAST = "fleetcast:tnt_1:job:job_1", "fleetcast:tnt_1:forecast:ver_1:rhr:1:7:0.9"
#: A queue's own lists for priorities, as kombu names them.
THIRD = "train\x06\x163"
REPLY = "b1946ac9-0001-4b4d-9d4c-000000000000.reply.celery.pidbox"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    made = Host(tmp_path_factory.mktemp("redis"), "postgresql+psycopg://nobody@127.0.0.1:1/none")
    made.prepare()
    with made.redis():
        with redis.Redis.from_url(made.redis_url("onlooker")) as client:
            until(lambda: answers(client), "Redis answers", 10)
        yield made


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture(scope="module")
def onlooker(host: Host) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(host.redis_url("onlooker"), decode_responses=True) as client:
        yield client


def may(onlooker: redis.Redis, user: str, *words: str) -> bool:
    """Whether Redis would let this user do it, without doing it."""
    return bool(onlooker.acl_dryrun(user, *words) == "OK")


FORBIDDEN = {
    "FLUSHALL": (),
    "FLUSHDB": (),
    "KEYS": ("*",),
    "RANDOMKEY": (),
    "CONFIG|GET": ("CONFIG", "GET", "*"),
    "CONFIG|SET": ("CONFIG", "SET", "dir", "/tmp"),
    "SHUTDOWN": (),
    "DEBUG": ("SLEEP", "1"),
    "MODULE": ("LOAD", "x.so"),
    "REPLICAOF": ("evil.example", "6379"),
    "MONITOR": (),
    "ACL|SETUSER": ("ACL", "SETUSER", "web", "allkeys"),
    "ACL|LIST": ("ACL", "LIST"),
    "CLIENT|KILL": ("CLIENT", "KILL", "TYPE", "normal"),
    "SCRIPT|FLUSH": ("SCRIPT", "FLUSH"),
    "FUNCTION|LOAD": ("FUNCTION", "LOAD", "x"),
    "SAVE": (),
    "BGREWRITEAOF": (),
    "SWAPDB": ("0", "1"),
    "MIGRATE": ("h", "1", "k", "0", "1"),
}


@pytest.mark.parametrize("user", EVERYBODY)
@pytest.mark.parametrize("command", FORBIDDEN)
def test_nobody_may_do_what_concerns_the_server_or_everything_in_it(onlooker: redis.Redis, user: str, command: str) -> None:
    words = FORBIDDEN[command] if "|" in command else (command, *FORBIDDEN[command])
    assert not may(onlooker, user, *words)


#: A command and those of the four roles that may do it; everybody else is refused.
ALLOWED: dict[tuple[str, ...], set[str]] = {
    ("HGET", STATUS, "body"): {"web", "dispatcher", "worker"},
    ("HMGET", STATUS, "rev", "seq"): {"web", "dispatcher", "worker"},
    ("SET", FORECAST, "{}", "PX", "1"): {"web", "dispatcher", "worker"},
    ("UNLINK", STATUS, FORECAST): {"web", "dispatcher", "worker"},
    ("XADD", f"{STATUS}:events", "MAXLEN", "~", "2000", "*", "a", "b"): {"web", "dispatcher", "worker"},
    ("XREAD", "BLOCK", "200", "STREAMS", f"{STATUS}:events", "0"): {"web", "dispatcher", "worker"},
    ("HINCRBYFLOAT", "fleetcast:metrics", "f", "1"): {"web", "dispatcher", "worker"},
    ("RENAME", "fleetcast:rate:{x}", "fleetcast:rate:{x}/-1"): {"web", "dispatcher", "worker"},
    ("SCAN", "0"): set(),
    ("GET", "other:key"): set(),
    ("SET", "other:key", "1"): set(),
    ("RENAME", STATUS, "other:key"): set(),
    ("GET", "fleetcast"): set(),
    # Putting a message on a queue, also on its lists for priorities.
    ("LPUSH", "train", "m"): {"dispatcher", "worker"},
    ("LPUSH", THIRD, "m"): {"dispatcher", "worker"},
    ("LPUSH", "trainings", "m"): set(),
    ("LPUSH", "train:backup", "m"): set(),
    ("LPUSH", "celery", "m"): set(),
    # Looking at one, taking one off, and throwing them all away.
    ("LLEN", "train"): {"dispatcher", "worker", "flower"},
    ("LRANGE", "train", "0", "-1"): {"dispatcher"},
    ("BRPOP", "train", "interactive", THIRD, "1"): {"worker"},
    ("SADD", "_kombu.binding.interactive", "train"): {"dispatcher", "worker"},
    # A message left in hands by a worker that died, put back an hour later.
    ("SET", "unacked_mutex", "1", "NX", "PX", "300000"): {"worker", "flower"},
    ("ZRANGE", "unacked_index", "0", "1", "BYSCORE"): {"worker", "flower"},
    ("HGET", "unacked", "tag"): {"worker", "flower"},
    ("ZREM", "unacked_index", "tag"): {"worker"},
    ("HDEL", "unacked", "tag"): {"worker"},
    ("RPUSH", "train", "m"): {"worker"},
    # Questions to workers and their answers; the events that Flower lives on.
    ("PUBLISH", "/0.celery.pidbox", "m"): {"worker", "flower"},
    ("LPUSH", REPLY, "m"): {"worker"},
    ("BRPOP", REPLY, "1"): {"worker", "flower"},
    ("PSUBSCRIBE", "/0.celeryev/*"): {"worker", "flower"},
    ("PSUBSCRIBE", "*"): set(),
    ("SUBSCRIBE", "__keyspace@0__:fleetcast"): set(),
    ("PUBLISH", "elsewhere", "m"): set(),
}


@pytest.mark.parametrize("words", ALLOWED, ids=" ".join)
def test_each_role_may_do_its_own_work_and_no_other(onlooker: redis.Redis, words: tuple[str, ...]) -> None:
    assert {user for user in ROLES if may(onlooker, user, *words)} == ALLOWED[words]


def test_a_restore_finds_what_is_remembered_and_removes_it(onlooker: redis.Redis) -> None:
    for allowed in (("SCAN", "0"), ("UNLINK", STATUS, FORECAST), ("PING",)):
        assert may(onlooker, "tools", *allowed)
    for refused in (("UNLINK", "train"), ("LPUSH", "train", "m"), ("PUBLISH", "/0.celery.pidbox", "m")):
        assert not may(onlooker, "tools", *refused)


@pytest.mark.parametrize(
    "words", [("GET", STATUS), ("HGETALL", STATUS), ("LRANGE", "train", "0", "-1"), ("DEL", "train"), ("LPUSH", "train", "m")]
)
def test_the_operator_reads_figures_and_no_value(onlooker: redis.Redis, words: tuple[str, ...]) -> None:
    assert not may(onlooker, "operator", *words)
    for allowed in (("INFO",), ("ACL", "LOG"), ("LLEN", "train"), ("DBSIZE",), ("CLIENT", "LIST")):
        assert may(onlooker, "operator", *allowed)


@pytest.mark.parametrize("url", ["redis://{}/0", "redis://:guess@{}/0", "redis://default:@{}/0", "redis://web:guess@{}/0"])
def test_nobody_comes_in_without_a_password(host: Host, url: str) -> None:
    with redis.Redis.from_url(url.format(f"127.0.0.1:{host.redis_port}")) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


@pytest.mark.parametrize("user", ROLES)
def test_each_role_comes_in_with_its_own(host: Host, user: str) -> None:
    with redis.Redis.from_url(host.redis_url(user)) as client:
        assert client.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.flushall()


def test_the_server_keeps_what_it_is_given(host: Host, onlooker: redis.Redis) -> None:
    """A broker that evicts loses messages, and one that forgets at a restart rings everything anew."""
    held = onlooker.config_get("maxmemory*") | onlooker.config_get("append*")
    assert (held["maxmemory-policy"], held["appendonly"]) == ("noeviction", "yes")
    assert int(held["maxmemory"]) > 0, "it says no before the container is killed"
