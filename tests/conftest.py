"""Fixtures of every tier. Servers start only for the tests that ask for them."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest
import structlog
from sqlalchemy import Engine

from db import migrate
from db.models import Base
from db.session import Sessions, make_engine, make_sessions
from tests.support.servers import Servers, database, empty_redis, servers

# How long one example takes is the machine's affair.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    campaign = parser.getgroup("chaos", "the campaign of faults")
    campaign.addoption("--seed", type=int, default=None, help="play the faults of this seed again")
    campaign.addoption("--minutes", type=float, default=1.0, help="how long everything fails")


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    """What is logged is told as in production, in one line: drawn for the eye, an error with the values of its frames takes seconds."""
    structlog.configure(
        processors=[
            *structlog.get_config()["processors"][:-1],
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=repr),
        ]
    )


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A real Postgres and a real Redis."""
    with servers(tmp_path_factory.mktemp("servers")) as running:
        yield running


@pytest.fixture(scope="session")
def migrated_url(live: Servers) -> Iterator[str]:
    """A database of this run, at the head of the migrations."""
    with database(live.database_url) as url:
        engine = make_engine(url)
        migrate.upgrade(engine)
        engine.dispose()
        yield url


@pytest.fixture(scope="session")
def shared_engine(migrated_url: str) -> Iterator[Engine]:
    engine = make_engine(migrated_url, connections=40)
    yield engine
    engine.dispose()


def empty(engine: Engine) -> None:
    """By DELETE, which takes a tenth of the time of TRUNCATE where a test leaves a few rows."""
    emptied = "; ".join(f"DELETE FROM {table}" for table in Base.metadata.tables)
    with engine.begin() as connection:
        # Neither the order of the tables nor what may not be deleted matters to a database that ends with the run.
        connection.exec_driver_sql(f"SET LOCAL session_replication_role = replica; {emptied}")


@pytest.fixture
def engine(shared_engine: Engine) -> Engine:
    """The database, emptied."""
    empty(shared_engine)
    return shared_engine


@pytest.fixture
def sessions(engine: Engine) -> Sessions:
    return make_sessions(engine)


@pytest.fixture
def redis_url(live: Servers) -> str:
    """Redis, emptied. Tests that run beside each other must not share one: run them in one process."""
    empty_redis(live.redis_url)
    return live.redis_url
