"""The ground that the tables stand on: one metadata, how constraints are named, which type a column has, and ids."""

from __future__ import annotations

import secrets
from base64 import b32encode
from datetime import datetime
from typing import Any

from sqlalchemy import DDL, DateTime, Double, FromClause, LargeBinary, MetaData, Text, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase
from ulid import ULID

Json = dict[str, Any]


def new_id(prefix: str) -> str:
    """A public id such as `job_01J9…`: a ULID, so ids sort by time and cannot be guessed."""
    return f"{prefix}_{ULID()}"


def new_ids(prefix: str, count: int) -> list[str]:
    """So many at once, of one moment and in order: for the thousands of a batch, in a tenth of the time that they take one by one."""
    moment = str(ULID())[:_OF_MOMENT]
    drawn = b32encode(secrets.token_bytes(10 * count)).translate(_CROCKFORD).decode()
    return sorted(f"{prefix}_{moment}{drawn[at : at + _OF_CHANCE]}" for at in range(0, len(drawn), _OF_CHANCE))


#: Of a ULID's letters, ten tell the millisecond and sixteen are 80 random bits, in an alphabet that keeps the order of the numbers.
_OF_MOMENT, _OF_CHANCE = 10, 16
_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: DateTime(timezone=True), Json: JSONB, list[Json]: JSONB, str: Text, float: Double, bytes: LargeBinary}  # noqa: RUF012


def made_with(table: FromClause, *statements: str) -> None:
    """Functions and triggers that are made with the table, where it is made from here and not by the migrations."""
    for statement in statements:
        event.listen(table, "after_create", DDL(statement.replace("%", "%%")))  # type: ignore[no-untyped-call]
