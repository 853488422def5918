"""The migrations make what the models say, and take it all away again; and the schema itself keeps tenants apart."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from db import migrate
from db.errors import MigrationBlocked
from db.migrate import Standing
from db.models import (
    ABOUT_ENTITY,
    Activation,
    Attempt,
    Base,
    Channel,
    Drift,
    Forecast,
    IdempotencyKey,
    Model,
    Observation,
    ScheduleEntity,
    ScheduleRun,
    Version,
    audit_trigger,
    transition_trigger,
)
from db.session import Sessions, make_engine
from tests.support import rows
from tests.support.servers import Servers, database

FIRST = migrate.FOLDER / "versions" / "0001_the_first_tables.py"


@pytest.fixture
def fresh(live: Servers) -> Iterator[Engine]:
    """An empty database."""
    with database(live.database_url) as url:
        engine = make_engine(url)
        yield engine
        engine.dispose()


def things(engine: Engine) -> dict[str, set[str]]:
    """Tables, sequences of their own, functions and triggers."""
    queries = {
        "tables": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
        "sequences": "SELECT relname FROM pg_class s WHERE relkind = 'S' AND NOT EXISTS "
        "(SELECT FROM pg_depend d WHERE d.objid = s.oid AND d.deptype = 'i')",  # not those of identity columns
        "functions": "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
        "triggers": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    }
    with engine.connect() as connection:
        return {name: set(connection.scalars(text(query))) for name, query in queries.items()}


def test_up_down_and_up_again(fresh: Engine) -> None:
    assert migrate.standing(fresh) is Standing.BEHIND
    migrate.upgrade(fresh)
    full = things(fresh)
    assert full["tables"] == {*Base.metadata.tables, "alembic_version"}
    assert full["sequences"] == {"fence_seq"}
    assert (full["functions"], full["triggers"]) == (
        {"job_transition", "room_for_jobs", "audit_stands"},
        {"job_transition", "audit_stands"},
    )
    assert migrate.standing(fresh) is Standing.LEVEL
    migrate.downgrade(fresh, "base")
    assert things(fresh) == {"tables": {"alembic_version"}, "sequences": set(), "functions": set(), "triggers": set()}
    assert migrate.standing(fresh) is Standing.BEHIND
    migrate.upgrade(fresh)
    assert things(fresh) == full


def test_migrating_what_is_migrated_changes_nothing(fresh: Engine) -> None:
    migrate.upgrade(fresh)
    migrate.upgrade(fresh)
    assert migrate.standing(fresh) is Standing.LEVEL


def test_what_is_missing_is_counted_and_made_one_by_one(fresh: Engine) -> None:
    names = migrate.missing(fresh)
    assert (names[0], len(names)) == ("0001", len(list((migrate.FOLDER / "versions").glob("*.py"))))
    migrate.upgrade(fresh, names[0])
    assert migrate.missing(fresh) == names[1:]
    migrate.upgrade(fresh)
    assert migrate.missing(fresh) == []
    migrate.upgrade(fresh, names[0])  # as one that began earlier would
    assert migrate.standing(fresh) is Standing.LEVEL


def test_many_that_migrate_at_once_do_it_once(fresh: Engine) -> None:
    rows.at_once(*[lambda: migrate.upgrade(fresh)] * 3)
    assert migrate.standing(fresh) is Standing.LEVEL


# Beside processes that work


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Adds a migration, of this body, to those of this release; locks are waited for only for an instant."""
    folder = tmp_path / "alembic"
    shutil.copytree(migrate.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrate, "FOLDER", folder)
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_S", 0.1)
    monkeypatch.setattr(migrate, "PAUSE_S", 0.1)

    def add(revision: str, body: str) -> None:
        before = ScriptDirectory.from_config(migrate.config()).get_current_head()
        head = f"from alembic import op\nrevision, down_revision = {revision!r}, {before!r}\nbranch_labels = depends_on = None\n"
        text = f"{head}\n\ndef upgrade():\n    {body}\n\n\ndef downgrade():\n    pass\n"
        (folder / "versions" / f"{revision}_next.py").write_text(text)

    return add


def revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


Add = Callable[[str, str], None]


def test_a_migration_that_fails_leaves_those_before_it(fresh: Engine, next_release: Add) -> None:
    next_release("9001", "op.execute('CREATE TABLE one ()')")
    next_release("9002", "op.execute('CREATE TABLE two (); SELECT 1/0')")
    with pytest.raises(DBAPIError, match="division by zero"):
        migrate.upgrade(fresh)
    assert revision(fresh) == "9001"
    assert {"one", "two"} & things(fresh)["tables"] == {"one"}


def test_an_index_is_made_while_others_write_and_wait_to_migrate(fresh: Engine, next_release: Add) -> None:
    next_release("9001", "with op.get_context().autocommit_block(): op.create_index('i', 'jobs', ['label'], postgresql_concurrently=True)")
    rows.at_once(*[lambda: migrate.upgrade(fresh)] * 3)
    assert migrate.standing(fresh) is Standing.LEVEL


def test_a_migration_gives_way_to_who_holds_the_table_and_is_tried_again(fresh: Engine, next_release: Add) -> None:
    migrate.upgrade(fresh)
    next_release("9001", "op.execute('CREATE TABLE one ()')")
    next_release("9002", "op.execute('ALTER TABLE jobs ADD COLUMN note text')")
    with fresh.connect() as reader, ThreadPoolExecutor() as others:
        reader.execute(text("SELECT count(*) FROM jobs"))  # and stays in its transaction
        migrating = others.submit(migrate.upgrade, fresh)
        while revision(fresh) != "9001":
            assert not migrating.done()
        with fresh.begin() as writer:  # it would wait behind the migration, were that to wait
            writer.execute(text("LOCK TABLE jobs IN ROW EXCLUSIVE MODE"))
        assert not migrating.done()
        reader.rollback()
        migrating.result(30)
    assert migrate.standing(fresh) is Standing.LEVEL


def test_a_migration_that_never_gets_its_lock_says_what_to_do(fresh: Engine, next_release: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate.upgrade(fresh)
    before = revision(fresh)
    next_release("9001", "op.execute('ALTER TABLE jobs ADD COLUMN note text')")
    monkeypatch.setattr(migrate, "TRIES", 2)
    with fresh.connect() as reader:
        reader.execute(text("SELECT count(*) FROM jobs"))
        with pytest.raises(MigrationBlocked, match=r"gave way 2 times .* run `fleetcast migrate` again"):
            migrate.upgrade(fresh)
    assert revision(fresh) == before
    migrate.upgrade(fresh)
    assert migrate.standing(fresh) is Standing.LEVEL


def test_a_database_of_a_newer_release_is_left_as_it_is(fresh: Engine) -> None:
    migrate.upgrade(fresh)
    with fresh.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert migrate.standing(fresh) is Standing.AHEAD
    before = things(fresh)
    migrate.upgrade(fresh)
    assert (revision(fresh), things(fresh)) == ("9999", before)


def test_a_release_behind_by_one_is_behind(fresh: Engine) -> None:
    migrate.upgrade(fresh)
    migrate.downgrade(fresh, "-1")
    assert migrate.standing(fresh) is Standing.BEHIND


def test_the_models_and_the_migrations_say_the_same(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_checks_and_indexes_are_those_of_the_models(fresh: Engine, live: Servers) -> None:
    """Autogenerate does not compare check constraints, nor the conditions of partial indexes."""
    migrate.upgrade(fresh)
    with database(live.database_url) as url:
        made = make_engine(url)
        Base.metadata.create_all(made)
        try:
            assert _definitions(fresh) == _definitions(made)
        finally:
            made.dispose()


def _definitions(engine: Engine) -> set[str]:
    constraints = "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE contype <> 'n'"
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
    columns = (
        "SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default) FROM information_schema.columns "
        "WHERE table_schema = 'public'"
    )
    functions = "SELECT prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    with engine.connect() as connection:
        found = {line for query in (constraints, indexes, columns, functions) for line in connection.scalars(text(query))}
    return {line for line in found if "alembic_version" not in line}


def test_the_migrations_triggers_are_the_models_triggers() -> None:
    migration, audit = _load(FIRST), _load(next(FIRST.parent.glob("*_audit.py")))
    assert transition_trigger() == (migration.TRANSITION_FUNCTION, migration.TRANSITION_TRIGGER)
    assert audit_trigger() == (audit.AUDIT_FUNCTION, audit.AUDIT_TRIGGER)


def _load(path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_what_erasure_takes_are_columns_of_jobs(engine: Engine) -> None:
    columns = {column["name"] for column in inspect(engine).get_columns("jobs")}
    assert set(ABOUT_ENTITY) <= columns


# Tenants stay apart


class Two:
    """Two tenants, and all the rows of the first that something could refer to."""

    def __init__(self, session: Session) -> None:
        self.model = rows.model(session)
        self.ours, self.theirs = self.model.tenant_id, rows.tenant(session, "theirs").id
        self.version = rows.publish(session, self.model)
        self.channel = Channel(tenant_id=self.ours, entity_id=self.model.entity_id, name="rhr")
        session.add(self.channel)
        self.job = rows.job(session, self.ours)
        self.schedule = rows.schedule(session, self.ours)
        session.flush()

    def row(self, table: type[Base], tenant_id: str) -> Base:
        """A row of that tenant that refers to something of the first."""
        made = rows.new_version()
        fields: dict[type[Base], dict[str, Any]] = {
            Channel: {"entity_id": self.model.entity_id, "name": "hrv"},
            Observation: {"channel_id": self.channel.id, "at": rows.START, "value": 1.0},
            Model: {"entity_id": self.model.entity_id, "kind": "forecast", "name": "hrv"},
            Version: {"model_id": self.model.id, "major": 9, "minor": 0, "patch": 0, **{f: getattr(made, f) for f in made.__slots__}},
            Activation: {"model_id": self.model.id, "kind": "activate", "to_version": "1.0.0", "actor": "ops"},
            Attempt: {"fence": 5, "job_id": self.job.id, "number": 1, "worker": "w"},
            IdempotencyKey: {"route": "train", "key": "k", "request_sha256": "x", "job_id": self.job.id},
            Forecast: {
                "entity_id": self.model.entity_id,
                "version_id": self.version.id,
                "job_id": "job",
                "target": "rhr",
                "horizon": 7,
                "level": 0.9,
                "data_rev": 1,
                "data_until": rows.START + timedelta(days=1),
                "body": {},
            },
            Drift: {"model_id": self.model.id, "version_id": self.version.id, "data_rev": 1, "verdict": "steady", "findings": {}},
        }
        fields |= {
            ScheduleEntity: {"schedule_id": self.schedule.id, "entity_id": self.model.entity_id, "place": 0},
            ScheduleRun: {"schedule_id": self.schedule.id, "due_at": rows.START, "state": "fired", "job_id": self.job.id},
        }
        return table(tenant_id=tenant_id, **fields[table])


def check(session: Session) -> None:
    """Have all references looked at now, those too that wait for the commit."""
    session.flush()
    session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


@pytest.mark.parametrize(
    "table", [Channel, Observation, Model, Version, Activation, Attempt, IdempotencyKey, Forecast, Drift, ScheduleEntity, ScheduleRun]
)
def test_a_row_cannot_refer_to_another_tenants(sessions: Sessions, table: type[Base]) -> None:
    with sessions.begin() as session:
        two = Two(session)
        session.add(two.row(table, two.theirs))
        with pytest.raises(IntegrityError, match="foreign key"):
            check(session)


@pytest.mark.parametrize(
    "table", [Channel, Observation, Model, Version, Activation, Attempt, IdempotencyKey, Forecast, Drift, ScheduleEntity, ScheduleRun]
)
def test_the_same_row_of_its_own_tenant_is_taken(sessions: Sessions, table: type[Base]) -> None:
    with sessions.begin() as session:
        two = Two(session)
        session.add(two.row(table, two.ours))
        check(session)


@pytest.mark.parametrize("reference", ["entity_id", "model_id", "parent_id"])
def test_a_job_cannot_refer_to_another_tenants(sessions: Sessions, reference: str) -> None:
    def refer(tenant: str) -> None:
        with sessions() as session:
            two = Two(session)
            target = {"entity_id": two.model.entity_id, "model_id": two.model.id, "parent_id": two.job.id}[reference]
            rows.job(session, getattr(two, tenant), **{reference: target})
            session.rollback()

    refer("ours")
    with pytest.raises(IntegrityError, match="foreign key"):
        refer("theirs")


def test_a_forecast_needs_both_its_entity_and_its_version_from_its_tenant(sessions: Sessions) -> None:
    with sessions.begin() as session:
        two = Two(session)
        forecast = two.row(Forecast, two.theirs)
        forecast.entity_id = rows.entity(session, two.theirs).id  # type: ignore[attr-defined]
        session.add(forecast)
        with pytest.raises(IntegrityError, match="version"):
            check(session)


def test_every_reference_carries_the_tenant() -> None:
    """A table added later cannot forget it."""
    for table in Base.metadata.tables.values():
        for key in table.foreign_key_constraints:
            if key.referred_table.name != "tenants":
                assert key.column_keys[0] == "tenant_id", f"{table.name}: {key.name}"


def test_two_active_versions_cannot_exist(sessions: Sessions) -> None:
    with sessions.begin() as session:
        model = rows.model(session)
        rows.publish(session, model)
        rows.publish(session, model, "never").active = True
        with pytest.raises(IntegrityError, match="one_active"):
            session.flush()


def test_an_active_version_cannot_be_pruned(sessions: Sessions) -> None:
    with sessions.begin() as session:
        rows.publish(session, rows.model(session)).pruned_at = rows.START
        with pytest.raises(IntegrityError, match="active_is_kept"):
            session.flush()
