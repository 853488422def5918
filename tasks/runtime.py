"""What any process holds: settings, Postgres, the status board and the forecast cache. Opened by a call, never at import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from redis import Redis
from sqlalchemy import Engine

from db.board import Board, Breaker, make_redis
from db.cache import ForecastCache
from db.session import Sessions, make_engine, make_sessions
from ml.recipes import Recipe, presets
from tasks.pace import Pace
from tasks.settings import Settings


@dataclass(frozen=True)
class Runtime:
    settings: Settings
    engine: Engine
    sessions: Sessions
    memory: Redis
    board: Board
    cache: ForecastCache
    #: The presets as this operator set them.
    recipes: Mapping[str, Recipe]
    pace: Pace = field(default_factory=Pace)

    def close(self) -> None:
        self.engine.dispose()
        self.memory.close()


def open_runtime(settings: Settings, application: str, *, pool_size: int = 5) -> Runtime:
    """Open everything a process of that name needs. Connections are made when first used."""
    engine = make_engine(settings.database_url, pool_size=pool_size, application=f"fleetcast-{application}")
    memory = make_redis(settings.cache, settings.cache_timeout_s)
    breaker = Breaker()
    return Runtime(
        settings=settings,
        engine=engine,
        sessions=make_sessions(engine),
        memory=memory,
        board=Board(memory, breaker),
        cache=ForecastCache(memory, breaker),
        recipes=presets(settings.recipe_changes),
    )
