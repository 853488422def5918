"""The role that deploy/postgres/10-role.sh makes: no superuser, and the house's whole life is open to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg import errors, sql
from sqlalchemy import URL

from db import ledger
from ops import healthcheck
from ops.cli import main
from ops.processes import wait_until
from tasks import submit
from tasks.dispatcher import Dispatcher
from tasks.orders import PredictOrder, TrainOrder
from tasks.placing import Asker
from tasks.reconcile import tidy_once
from tasks.runtime import open_runtime
from tasks.settings import Settings
from tasks.workshop import Workshop
from tests.support.road import SMALL, ingest, job, settings_for, tenant, wave, work_off, workshop
from tests.support.role import Apart, apart, make_role, text_of
from tests.support.scrape import scrape
from webapp.app import create_app

CHANNELS = wave(300)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    with apart(tmp_path_factory.mktemp("role")) as made:
        yield made


@contextmanager
def connected(url: URL) -> Iterator[psycopg.Connection]:
    with psycopg.connect(text_of(url.set(drivername="postgresql")), autocommit=True) as connection:
        yield connection


def test_the_role_owns_the_database_and_may_do_nothing_outside_it(servers: Apart) -> None:
    with connected(servers.role) as mine:
        rights = "rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
        assert mine.execute(f"SELECT {rights} FROM pg_roles WHERE rolname = current_user").fetchone() == (True, *[False] * 5)
        owners = "SELECT pg_get_userbyid(datdba), pg_get_userbyid(nspowner) FROM pg_database, pg_namespace"
        found = mine.execute(f"{owners} WHERE datname = current_database() AND nspname = 'public'").fetchone()
        assert found == ("fleetcast", "fleetcast")
        for forbidden in (
            "CREATE ROLE another",
            "CREATE DATABASE another",
            "ALTER ROLE fleetcast SUPERUSER",
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT rolpassword FROM pg_authid",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                mine.execute(forbidden)


def test_the_script_tells_what_it_cannot_do(servers: Apart, tmp_path: Path) -> None:
    without = make_role(servers.superuser, tmp_path, "")
    assert (without.returncode, "must name a file that holds a password" in without.stderr) == (1, True)
    again = make_role(servers.superuser, tmp_path, "another")
    assert again.returncode != 0
    assert 'role "fleetcast" already exists' in again.stderr
    with connected(servers.role) as mine:
        assert mine.execute("SELECT current_user").fetchone() == ("fleetcast",), "by the first password"


def test_the_house_lives_under_the_role(servers: Apart, tmp_path: Path) -> None:
    """Migrations, a training, a forecast, tidying, the dispatcher and its health, the metrics; then there and back."""
    settings = replace(settings_for(servers.database_url, servers.redis_url, tmp_path / "models"), dispatch_poll_s=0.1)
    assert fleetcast(settings, "migrate").exit_code == 0
    with workshop(settings) as shop:
        acme = tenant(shop)
        _work(shop, acme)
        tidy_once(shop.runtime)
        _dispatcher_is_well(settings)
        seen = scrape(create_app(shop.runtime).test_client())
        assert seen["fleetcast_postgres_up",] == 1
        assert seen["fleetcast_database_bytes",] > 0
        assert seen["fleetcast_table_bytes", "jobs"] > 0
    told = fleetcast(settings, "backup", str(tmp_path / "house.tar"))
    assert told.exit_code == 0, told.output
    with connected(servers.superuser) as superuser:
        superuser.execute(sql.SQL("CREATE DATABASE restored OWNER {}").format(sql.Identifier("fleetcast")))
    elsewhere = replace(settings, database_url=text_of(servers.role.set(database="restored")), model_dir=tmp_path / "restored")
    told = fleetcast(elsewhere, "restore", str(tmp_path / "house.tar"))
    assert told.exit_code == 0, told.output
    with workshop(elsewhere) as shop:
        _forecast(shop, acme, horizon=2)
        with shop.sessions() as session:
            assert ledger.violations(session, lease_s=3.0) == {}


def fleetcast(settings: Settings, *words: str) -> Result:
    given = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url, "MODEL_DIR": str(settings.model_dir)}
    return CliRunner().invoke(main, words, env=given, prog_name="fleetcast")


def _work(shop: Workshop, acme: Asker) -> None:
    ingest(shop, acme, "dev-1", CHANNELS)
    order = TrainOrder("device-metric", ("dev-1",), target="cpu", overrides=SMALL, look_back_hours=9999, activation="always")
    trained = submit.train(shop.runtime, acme, order).job.id
    work_off(shop)
    assert job(shop, acme, trained).state == "succeeded"
    _forecast(shop, acme, horizon=3)


def _forecast(shop: Workshop, acme: Asker, horizon: int) -> None:
    asked = submit.predict(shop.runtime, acme, PredictOrder(("dev-1",), ("cpu",), horizon=horizon)).job
    assert asked is not None
    work_off(shop)
    assert job(shop, acme, asked.id).state == "succeeded"


def _dispatcher_is_well(settings: Settings) -> None:
    """Asked from a session of its own, of the same role."""
    runtime, stop = open_runtime(settings, "dispatcher", connections=4), threading.Event()
    loop = threading.Thread(target=Dispatcher(runtime).run, args=(stop,))
    loop.start()
    try:
        assert wait_until(lambda: _is_well(settings), 10, pause=0.1)
    finally:
        stop.set()
        loop.join()
        runtime.close()


def _is_well(settings: Settings) -> bool:
    try:
        healthcheck.dispatcher(settings)
    except healthcheck.Ill:
        return False
    return True
