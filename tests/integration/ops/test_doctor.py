"""What the doctor finds, on real servers in health and in sickness; each ill says how to mend it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from db import ledger, migrate
from db.session import make_engine
from ops import children, doctor, house
from ops.house import House
from tests.integration.ops.conftest import Command
from tests.support.servers import Servers, database

AWAY = "127.0.0.1:1"


def found(fleetcast: Command, folder: Path, **changes: str) -> dict[str, dict[str, Any]]:
    """By name; the exit status says whether all is well."""
    told = fleetcast("doctor", "--json", "--folder", str(folder), **changes)
    findings = {finding["name"]: finding for finding in map(json.loads, told.stdout.splitlines())}
    assert told.exit_code == (0 if all(finding["well"] for finding in findings.values()) else 1)
    return findings


def ill(fleetcast: Command, folder: Path, **changes: str) -> dict[str, str]:
    return {name: finding["detail"] for name, finding in found(fleetcast, folder, **changes).items() if not finding["well"]}


def test_all_is_well(fleetcast: Command, tmp_path: Path) -> None:
    findings = found(fleetcast, tmp_path)
    assert list(findings) == ["postgres", "migrations", "ledger", "redis", "models"]
    assert all(finding["well"] for finding in findings.values()), findings


def test_people_are_told_the_same_in_lines(fleetcast: Command, tmp_path: Path) -> None:
    told = fleetcast("doctor", "--folder", str(tmp_path))
    assert told.exit_code == 0
    assert [line.split()[:2] for line in told.output.splitlines()] == [
        ["well", name] for name in ("postgres", "migrations", "ledger", "redis", "models")
    ]


def test_a_schema_behind_this_version(fleetcast: Command, live: Servers, tmp_path: Path) -> None:
    with database(live.database_url) as url:
        assert ill(fleetcast, tmp_path, DATABASE_URL=url) == {"migrations": "behind this version; run `fleetcast migrate`"}
        assert fleetcast("migrate", DATABASE_URL=url).output == "The database is at the newest migration.\n"
        assert ill(fleetcast, tmp_path, DATABASE_URL=url) == {}
        engine = make_engine(url)
        migrate.downgrade(engine, "base")
        engine.dispose()
        assert "`fleetcast migrate`" in ill(fleetcast, tmp_path, DATABASE_URL=url)["migrations"]


def test_a_postgres_that_is_away(fleetcast: Command, tmp_path: Path) -> None:
    told = ill(fleetcast, tmp_path, DATABASE_URL=f"postgresql+psycopg://x@{AWAY}/x")
    assert list(told) == ["postgres"]
    assert told["postgres"].endswith("check DATABASE_URL and that the server runs")
    assert "\n" not in told["postgres"]


def test_a_postgres_too_old(fleetcast: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OLDEST_POSTGRES", 99)
    assert ill(fleetcast, tmp_path)["postgres"].endswith("bring it to 99 or newer")


@pytest.mark.parametrize(("variable", "name"), [("REDIS_URL", "redis"), ("CACHE_URL", "cache")])
def test_a_redis_that_is_away(fleetcast: Command, tmp_path: Path, variable: str, name: str) -> None:
    told = ill(fleetcast, tmp_path, **{variable: f"redis://{AWAY}/0"})
    assert list(told) == [name]
    assert told[name].endswith(f"check {variable} and that the server runs")
    assert f"check {variable}" in ill(fleetcast, tmp_path, **{variable: "no url at all"})[name]


@contextmanager
def evicting(url: str) -> Iterator[None]:
    with redis.Redis.from_url(url) as client:
        before = client.config_get("maxmemory-policy")["maxmemory-policy"]
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            yield
        finally:
            client.config_set("maxmemory-policy", before)


def test_a_broker_that_evicts(fleetcast: Command, redis_url: str, tmp_path: Path) -> None:
    with evicting(redis_url):
        told = ill(fleetcast, tmp_path)
    assert list(told) == ["redis"]
    assert told["redis"].startswith("its maxmemory-policy is allkeys-lru, and a broker must not evict; run `CONFIG SET")


def test_a_folder_of_models_that_cannot_be_written(fleetcast: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = ill(fleetcast, tmp_path, MODEL_DIR=str(tmp_path / "file" / "models"))
    assert told["models"].endswith("set MODEL_DIR, or give this user the right to write there")


def test_a_look_leaves_nothing_behind(fleetcast: Command, tmp_path: Path) -> None:
    findings = found(fleetcast, tmp_path / "new", MODEL_DIR="deep/models")
    assert findings["models"]["well"]
    assert "deep/models is not there yet and can be made, " in findings["models"]["detail"]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "models").mkdir()
    assert "models is writable, " in found(fleetcast, tmp_path, MODEL_DIR="models")["models"]["detail"]
    assert [*tmp_path.rglob("*")] == [tmp_path / "models"]


def test_a_full_disk(fleetcast: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 98, 2 * 2**20))
    assert ill(fleetcast, tmp_path)["models"].endswith("has 2 MiB left, 500 are needed; make room, or set MODEL_DIR")


def test_a_broken_invariant(fleetcast: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "violations", lambda _: {"two_active": 3, "none": 0})
    assert ill(fleetcast, tmp_path)["ledger"].startswith("broken invariants: {'two_active': 3}")


def test_nothing_named_and_nothing_running(fleetcast: Command, tmp_path: Path) -> None:
    told = ill(fleetcast, tmp_path, DATABASE_URL="", REDIS_URL="")
    assert list(told) == ["house"]
    assert "start it with `fleetcast up`, or name servers in DATABASE_URL and REDIS_URL" in told["house"]
    assert "name servers in REDIS_URL" in ill(fleetcast, tmp_path, REDIS_URL="")["house"]


def test_the_servers_of_a_running_house_are_examined(fleetcast: Command, migrated_url: str, redis_url: str, tmp_path: Path) -> None:
    here = House("http://h:1", "fk_1", "", "", "", "", migrated_url, redis_url, str(tmp_path), {"web": 2**22 + 1})
    with house.keeping(tmp_path):
        house.note(tmp_path, here)
        findings = found(fleetcast, tmp_path, DATABASE_URL="", REDIS_URL="")
    assert [name for name, finding in findings.items() if finding["well"]] == ["postgres", "migrations", "ledger", "redis", "models"]
    assert findings["house"]["detail"].startswith("web died and waits to be started again; see")


def test_what_a_killed_up_has_left(fleetcast: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "orphans", lambda _: {"train": 4711})
    assert ill(fleetcast, tmp_path)["house"].endswith("left train behind; end them with `fleetcast down`")
