"""What of a migration processes of the release before could not live with, read from the SQL that it would run."""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

#: What is refused unless it is declared, by what old code did that it can do no longer.
FORBIDDEN = {
    r"\bDROP TABLE\b": "reads or writes the table",
    r"\bDROP COLUMN\b": "reads or writes the column",
    r"\bDROP CONSTRAINT\b": "names the constraint, or relies on it",
    r"\bDROP INDEX\b": "relies on it, in ON CONFLICT or for its speed",
    r"\bDROP (FUNCTION|TRIGGER|SEQUENCE|TYPE|VIEW)\b": "calls it",
    r"\bRENAME\b": "knows the old name",
    r"\bALTER COLUMN \S+ (SET DATA )?TYPE\b": "writes the old type",
    r"\bALTER COLUMN \S+ SET NOT NULL\b": "writes null, or leaves the column out",
    r"\bALTER COLUMN \S+ DROP DEFAULT\b": "leaves the column out",
    r"\bADD COLUMN (?!.*\bDEFAULT\b).*\bNOT NULL\b": "leaves the column out",
    r"\bADD CONSTRAINT\b": "writes what it refuses",
    r"\bCREATE UNIQUE INDEX\b": "writes what it refuses",
    r"\bCREATE OR REPLACE FUNCTION\b": "expects what it did before",
    r"\bCREATE (CONSTRAINT )?TRIGGER\b": "writes what it refuses",
    r"^(UPDATE|DELETE|TRUNCATE)\b": "holds rows that the statement locks or takes",
    r"\bCREATE INDEX (?!CONCURRENTLY)": "writes meanwhile, and would wait: make it CONCURRENTLY, in an autocommit_block",
}
_TABLE = r'"?(\w+)"?'


def load(path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def statements(migration: ModuleType) -> list[str]:
    """The SQL of its way up, a statement on a line of its own."""
    written = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": written, "transaction_per_migration": True}
    )
    with Operations.context(context):
        migration.upgrade()
    return [" ".join(statement.split()) for statement in written.getvalue().split(";\n") if statement.strip()]


def contractions(migration: ModuleType) -> Iterator[str]:
    """What has to be declared, and why. What a migration makes itself is nobody's yet."""
    found = statements(migration)
    ours = {name for line in found for name in re.findall(rf"^CREATE TABLE (?:IF NOT EXISTS )?{_TABLE}", line)}
    made = {name for line in found for name in re.findall(rf"^CREATE (?:UNIQUE )?INDEX CONCURRENTLY {_TABLE}", line)}
    for line in found:
        again = re.fullmatch(rf"DROP INDEX CONCURRENTLY IF EXISTS {_TABLE}", line)  # what a try that gave up left behind
        if again and again[1] in made:
            continue
        if not ours & set(re.findall(rf"(?:ALTER TABLE|ON) {_TABLE}", line)):
            for pattern, does in FORBIDDEN.items():
                if re.search(pattern, line, re.IGNORECASE):
                    yield f"{line[:100]}: old code {does}"
