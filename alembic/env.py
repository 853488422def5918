"""Runs migrations on the connection it is handed, or opens one from the product's own settings."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from db.models import Base
from db.session import make_engine
from tasks.environment import load


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        compare_server_default=False,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = make_engine(load().database_url, application="fleetcast-migrate")
    with engine.connect() as connection:
        run(connection)
    engine.dispose()
