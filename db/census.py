"""The census: how much Postgres holds, as operators want to know it. No tenant's name is among what it tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, text
from sqlalchemy.orm import Session

from db.deliveries import BACKLOG, Backlog
from db.models import Base
from db.session import LIVELY

#: Our own tables.
TABLES = tuple(sorted(Base.metadata.tables))
#: Longest that one statement of a look may take, and that a silent Postgres is waited for.
PATIENCE_S = 3


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The unfinished jobs of one kind, queue and state. `batch`: they are parents, which are in no queue."""

    kind: str
    queue: str
    state: str
    batch: bool
    jobs: int
    #: How long the oldest due one has waited, in seconds; None when nothing is due.
    oldest_due_s: float | None
    #: Seconds until the first of their leases runs out; None without a lease.
    lease_left_s: float | None
    #: Leases that have run out.
    lapsed: int


@dataclass(frozen=True, slots=True)
class Census:
    unfinished: Sequence[Unfinished]
    #: How long the schedule has waited that is due longest.
    schedules_behind_s: float
    database_bytes: int
    #: With their indexes, by table.
    table_bytes: Mapping[str, int]
    deliveries: Backlog
    #: By the name that each connection gives itself.
    connections: Mapping[str, int]
    max_connections: int


@dataclass(frozen=True, slots=True)
class Stock:
    """What is kept."""

    tenants: int
    entities: int
    #: Versions that have their artefact, and the bytes of these artefacts on disk.
    versions: int
    artefact_bytes: int


# Reads unfinished rows only, by the index `jobs_unfinished`: the history, however long, costs nothing.
_UNFINISHED = text("""
SELECT kind, queue, state, pending_children IS NOT NULL AS batch, count(*) AS jobs,
  CAST(extract(epoch FROM now() - min(available_at) FILTER (WHERE state = 'queued' AND available_at <= now())) AS double precision),
  CAST(extract(epoch FROM min(lease_until) - now()) AS double precision),
  count(*) FILTER (WHERE lease_until < now())
FROM jobs WHERE state IN ('queued', 'running') GROUP BY kind, queue, state, batch
""")

_BEHIND = text("""
SELECT CAST(coalesce(extract(epoch FROM now() - min(next_at)), 0) AS double precision) FROM schedules WHERE next_at <= now()
""")

_SIZES = text("""
SELECT relname, pg_total_relation_size(oid) FROM pg_class
WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname = ANY(:tables)
""")

_CONNECTIONS = text("""
SELECT coalesce(application_name, ''), count(*) FROM pg_stat_activity WHERE datname = current_database() GROUP BY 1
""")

_WHOLE = text("SELECT pg_database_size(current_database()), CAST(current_setting('max_connections') AS int)")

# Equal artefacts lie on disk once.
_STOCK = text("""
WITH artefacts AS (
  SELECT count(*) AS versions, max(artefact_bytes) AS bytes FROM versions WHERE pruned_at IS NULL GROUP BY artefact_sha256
)
SELECT (SELECT count(*) FROM tenants), (SELECT count(*) FROM entities), coalesce(sum(versions), 0), coalesce(sum(bytes), 0) FROM artefacts
""")


def side_door(url: URL) -> Engine:
    """A connection for each look, closed after it: a pool that is used up is just what an operator wants to be told of."""
    options = f"-c statement_timeout={PATIENCE_S}s -c default_transaction_read_only=on -c timezone=UTC"
    patience = {"connect_timeout": PATIENCE_S, "tcp_user_timeout": PATIENCE_S * 1000}
    told = LIVELY | patience | {"application_name": "fleetcast-metrics", "options": options}
    return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=told)


def take(connection: Connection) -> Census:
    """A look that is cheap enough for every few seconds."""
    database_bytes, max_connections = connection.execute(_WHOLE).one()
    return Census(
        unfinished=[Unfinished(*row) for row in connection.execute(_UNFINISHED)],
        schedules_behind_s=connection.execute(_BEHIND).scalar_one(),
        database_bytes=database_bytes,
        table_bytes=dict(connection.execute(_SIZES, {"tables": list(TABLES)}).all()),
        deliveries=Backlog(*connection.execute(BACKLOG).one()),
        connections=dict(connection.execute(_CONNECTIONS).all()),
        max_connections=max_connections,
    )


def stock(session: Session) -> Stock:
    """Reads whole tables: for every few minutes."""
    return Stock(*map(int, session.execute(_STOCK).one()))
