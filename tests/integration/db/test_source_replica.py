"""A follower that follows: a real standby of Postgres, seconds behind, read as a source."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import make_url

from db.errors import SourceLagging, SourceUnavailable
from db.sources.catalogue import read
from db.sources.configs import SqlConfig
from db.sources.source import Limits, Whom
from db.sources.sql import SqlSource
from ops.ground import choose_ground, servers_account, settle
from ops.postgres import ENDINGS, FLEETING, OPTIONS, find_program, settings
from ops.processes import LOCALHOST, command_line, end, read_pid, run, spawn, usable_port, wait_until
from tests.support.follower import Follower, follower
from tests.support.servers import Servers

#: Seconds for which a standby holds back what was committed.
DELAY_S = 4
START = datetime(2026, 1, 1, tzinfo=UTC)
ROOM = Whom("room")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def primary(live: Servers) -> Iterator[Follower]:
    with follower(live.database_url) as made:
        yield made


@pytest.fixture(scope="module")
def standby(primary: Follower, live: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Its port."""
    account = servers_account()
    program, _ = settle(find_program(), account)
    ground = choose_ground(tmp_path_factory.mktemp("standby"), account)
    data, port = ground / "data", usable_port(0)
    data.mkdir(mode=0o700)
    account.own(data)
    owner = make_url(live.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    run([program.with_name("pg_basebackup"), "-D", data, "-d", owner, "-R", "-X", "stream", "-c", "fast", "--no-sync"], account)
    told = settings(OPTIONS | FLEETING | {"recovery_min_apply_delay": f"{DELAY_S}s"}, durable=True)
    spawn([str(program), "-D", str(data), "-p", str(port), *told], account, data, ground / "standby.log")
    try:
        yield port
    finally:
        pid = read_pid(data / "postmaster.pid")
        assert pid is None or end(pid, lambda each: str(data) in command_line(each), ENDINGS)
        shutil.rmtree(ground, ignore_errors=True)


def source(primary: Follower, port: int, more: str = "") -> SqlSource:
    """Read by the role that may do nothing else, as the standby has it from its primary."""
    there = Follower(make_url(primary.url).set(host=LOCALHOST, port=port).render_as_string(hide_password=False), "")
    config = read(there.toml("follower", more))["follower"]
    assert isinstance(config, SqlConfig)
    return SqlSource(config, Limits(1_000, 5.0))


def rows(there: SqlSource) -> int:
    try:
        return len(there.fetch(ROOM, ["temperature"])["temperature"][0])
    except SourceUnavailable:  # it still recovers
        return -1


def test_a_standby_tells_how_far_it_is_behind_and_is_not_read_beyond_its_limit(primary: Follower, standby: int) -> None:
    there, strict = source(primary, standby), source(primary, standby, "lag_limit_s = 1")
    assert wait_until(lambda: rows(there) == 0, 60, pause=0.1)
    primary.write({"room": [(START, 68.0, 40.0)]})
    assert wait_until(lambda: rows(there) == 1, 60, pause=0.1)
    assert wait_until(lambda: there.health().lag_s == 0, 30, pause=0.1), "all that came is there"
    assert rows(strict) == 1
    primary.write({"room": [(START + timedelta(hours=1), 69.0, 41.0)]})
    assert wait_until(lambda: (there.health().lag_s or 0) > 1, DELAY_S, pause=0.05), "what is held back counts"
    assert rows(there) == 1, "a follower without a limit is read as it is"
    with pytest.raises(SourceLagging, match="behind what it follows; it is read up to 1 s behind"):
        strict.fetch(ROOM, ["temperature"])
    assert wait_until(lambda: rows(strict) == 2, 60, pause=0.1), "and read again once it has caught up"
    for each in (there, strict):
        each.close()
