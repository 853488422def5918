"""No table is forgotten when an entity is erased: each leaves with it, or it is said why it stays."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from db.models import Base
from db.receipts import STAYING, hashed, leaving


def test_every_table_leaves_with_an_entity_or_says_why_not() -> None:
    """A new table whose foreign keys do not lead to an entity by ON DELETE CASCADE fails here, until somebody has thought of it."""
    left, tables = set(leaving(1)), set(Base.metadata.tables)
    assert left.isdisjoint(STAYING)
    assert left | set(STAYING) == tables


def test_whatever_names_an_entity_leaves_with_it_or_is_scrubbed() -> None:
    naming = {name for name, table in Base.metadata.tables.items() if {"entity_id", "entity"} & set(table.columns.keys())}
    assert naming - set(leaving(1)) == {"jobs"}


def test_the_way_to_an_entity_is_read_from_the_keys() -> None:
    def written(name: str) -> str:
        compiled = (
            sa.select(sa.func.count()).where(leaving(7)[name]).compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
        )
        return " ".join(str(compiled).split())

    assert written("channels").endswith("channels.entity_id = 7")
    assert "channels.entity_id = 7" in written("observations")
    assert "models.entity_id = 7" in written("versions")


def test_the_hash_of_a_name_is_each_receipts_own() -> None:
    assert hashed("ers_1", "alice") != hashed("ers_2", "alice")
    assert hashed("ers_1", "alice") == hashed("ers_1", "alice")
