"""A lint over the migrations: what processes of the release before could not live with is declared, and comes a release later."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import sqlalchemy as sa
from alembic import op
from alembic.script import ScriptDirectory

from db import migrate
from tests.support.contractions import contractions

#: The last migration before the first release: up to it there was no release whose processes could run beside the next one's.
BASELINE = "0007"

SCRIPTS = list(ScriptDirectory.from_config(migrate.config()).walk_revisions("base", "heads"))[::-1]
MIGRATIONS = {script.revision: script.module for script in SCRIPTS}
RELEASED = [revision for revision in MIGRATIONS if revision > BASELINE]


def undeclared(migration: ModuleType, earlier: dict[str, ModuleType]) -> list[str]:
    """What is wrong with it, in words; nothing for one that may be run beside the release before."""
    after = getattr(migration, "contracts", None)
    if after is not None:
        return [] if after in earlier else [f"contracts = {after!r} names no migration before it"]
    if getattr(migration, "expands", False):
        return [] if migration.__doc__ and "old code" in migration.__doc__ else ["its docstring has to say why old code can live with it"]
    return list(contractions(migration))


def test_the_migrations_are_one_line_in_order() -> None:
    assert list(MIGRATIONS) == sorted(MIGRATIONS)
    assert BASELINE in MIGRATIONS


def test_no_released_migration_takes_away_what_the_release_before_needs() -> None:
    found = {revision: undeclared(MIGRATIONS[revision], _before(revision)) for revision in RELEASED}
    assert {revision: wrong for revision, wrong in found.items() if wrong} == {}, "see docs/decisions/0024-expand-then-contract.md"


def _before(revision: str) -> dict[str, ModuleType]:
    return {name: module for name, module in MIGRATIONS.items() if name < revision}


def test_the_lint_sees_what_was_done_before_the_first_release() -> None:
    """What makes the test above one of migrations, and not of a lint that sees nothing."""
    seen = {revision for revision, module in MIGRATIONS.items() if revision <= BASELINE and undeclared(module, {})}
    assert seen == {"0004", "0007"}


def migration(upgrade: Callable[[], object], **attributes: object) -> ModuleType:
    made = ModuleType("made", attributes.pop("doc", None))  # type: ignore[arg-type]
    made.__dict__.update(attributes, upgrade=upgrade)
    return made


def own_table() -> None:
    op.create_table("new", sa.Column("id", sa.Integer, nullable=False), sa.UniqueConstraint("id", name="u"))
    op.create_index("i", "new", ["id"], unique=True)
    op.create_check_constraint("c", "new", "id > 0")


def apart() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS i")
        op.create_index("i", "jobs", ["label"], postgresql_concurrently=True)


EXPANDS: dict[str, Callable[[], object]] = {
    "a column that may be null": lambda: op.add_column("jobs", sa.Column("x", sa.Text)),
    "a column with a default": lambda: op.add_column("jobs", sa.Column("x", sa.Text, server_default="", nullable=False)),
    "a table of its own, with whatever it likes": own_table,
    "a column that may now be null": lambda: op.alter_column("versions", "data_from", nullable=True),
    "a function": lambda: op.execute("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$"),
    "an index made while others write": apart,
}
CONTRACTS: dict[str, Callable[[], object]] = {
    "drops a table": lambda: op.drop_table("erasures"),
    "drops a column": lambda: op.drop_column("jobs", "label"),
    "drops a constraint": lambda: op.drop_constraint("versions_one_per_job", "versions"),
    "drops an index": lambda: op.drop_index("jobs_due", table_name="jobs"),
    "drops another's index": lambda: op.execute("DROP INDEX CONCURRENTLY IF EXISTS jobs_due"),
    "drops a function": lambda: op.execute("DROP FUNCTION room_for_jobs"),
    "renames a table": lambda: op.rename_table("jobs", "tasks"),
    "renames a column": lambda: op.alter_column("jobs", "label", new_column_name="name"),
    "changes a type": lambda: op.alter_column("jobs", "rev", type_=sa.Integer),
    "refuses null": lambda: op.alter_column("jobs", "error", nullable=False),
    "takes a default away": lambda: op.alter_column("jobs", "rev", server_default=None),
    "a column that old code does not fill": lambda: op.add_column("jobs", sa.Column("x", sa.Text, nullable=False)),
    "a check": lambda: op.create_check_constraint("c", "jobs", "attempt < 9"),
    "a foreign key": lambda: op.create_foreign_key("f", "jobs", "tenants", ["label"], ["id"]),
    "uniqueness": lambda: op.create_unique_constraint("u", "jobs", ["label"]),
    "a unique index": lambda: op.create_index("u", "jobs", ["label"], unique=True),
    "an index that stops writers": lambda: op.create_index("i", "jobs", ["label"]),
    "in plain SQL": lambda: op.execute("alter table jobs\n  drop column label"),
    "all rows at once": lambda: op.execute("UPDATE jobs SET label = ''"),
}


@pytest.mark.parametrize("what", EXPANDS)
def test_what_old_code_can_live_with_needs_no_word(what: str) -> None:
    assert undeclared(migration(EXPANDS[what]), {}) == []


@pytest.mark.parametrize("what", CONTRACTS)
def test_what_old_code_cannot_live_with_has_to_be_declared(what: str) -> None:
    assert undeclared(migration(CONTRACTS[what]), MIGRATIONS), "undeclared"
    assert undeclared(migration(CONTRACTS[what], contracts="0007"), MIGRATIONS) == []
    assert undeclared(migration(CONTRACTS[what], contracts="0815"), MIGRATIONS), "names nothing"
    assert undeclared(migration(CONTRACTS[what], expands=True), MIGRATIONS), "says no reason"
    assert undeclared(migration(CONTRACTS[what], expands=True, doc="It is wider: old code writes less."), MIGRATIONS) == []
