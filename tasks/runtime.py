"""What any process holds: settings, Postgres, the status board, the forecast cache, the meter. Opened by a call, never at import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis
from sqlalchemy import Engine

from db.board import Board
from db.breaker import Breaker, make_redis
from db.cache import ForecastCache
from db.errors import CatalogueInvalid
from db.meter import Meter
from db.session import Sessions, make_engine, make_sessions
from db.sinks import catalogue as sink_catalogue
from db.sinks.catalogue import Sink
from db.sources import catalogue
from db.sources.opened import Sources
from db.sources.source import Limits
from ml.errors import SpecInvalid
from ml.recipe_file import with_file
from ml.recipes import Recipe, presets
from tasks.grouped import GroupCommit
from tasks.metrics import CACHE_LOOKUPS, CATALOGUE, PROCESSES, REDIS_TRIPS
from tasks.pace import Pace
from tasks.ringer import Ringer
from tasks.settings import Settings, SettingsError

#: Longest wait of the meter for Redis: it sends in the background, more at once than a poll asks for.
METER_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Runtime:
    settings: Settings
    engine: Engine
    sessions: Sessions
    #: For who asks or writes one thing at a time.
    singly: Sessions
    grouped: GroupCommit
    memory: Redis
    board: Board
    cache: ForecastCache
    meter: Meter
    ringer: Ringer
    #: The presets as this operator set them.
    recipes: Mapping[str, Recipe]
    #: What jobs may read besides the built-in store.
    sources: Sources
    #: Where forecasts may also go, by name; nothing is opened.
    sinks: Mapping[str, Sink]
    pace: Pace = field(default_factory=Pace)

    def serve(self, role: str) -> None:
        """Tell that a process of this role lives, and send what it counts. Only after a fork."""
        self.meter.hold(PROCESSES, 1.0, role)
        self.meter.start()

    def close(self) -> None:
        self.ringer.close()
        self.sources.close()
        self.meter.close()
        self.engine.dispose()
        self.memory.close()


def open_runtime(settings: Settings, application: str, *, connections: int = 10) -> Runtime:
    """Open everything a process of that name needs. Connections are made when first used."""
    engine = make_engine(settings.database_url, connections=connections, application=f"fleetcast-{application}")
    return assemble(settings, engine, make_redis(settings.cache, settings.cache_timeout_s), Breaker())


def assemble(settings: Settings, engine: Engine, memory: Redis, breaker: Breaker) -> Runtime:
    """A runtime around a Postgres and a Redis that are open."""
    cache = ForecastCache(memory, breaker)
    return Runtime(
        settings=settings,
        engine=engine,
        sessions=make_sessions(engine),
        singly=make_sessions(engine, singly=True),
        grouped=GroupCommit(settings.max_queue),
        memory=memory,
        board=Board(memory, breaker),
        cache=cache,
        meter=make_meter(settings, cache, breaker),
        ringer=Ringer(engine),
        recipes=_recipes(settings),
        sources=open_sources(settings),
        sinks=read_sinks(settings),
    )


def _recipes(settings: Settings) -> Mapping[str, Recipe]:
    """The presets, then the file. Raises SettingsError: a process with half its recipes must not start."""
    changed = presets(settings.recipe_changes)
    try:
        return with_file(changed, _content("RECIPES_FILE", settings.recipes_file))
    except SpecInvalid as error:
        raise SettingsError("RECIPES_FILE", settings.recipes_file, error.detail) from None


def open_sources(settings: Settings) -> Sources:
    """The file's; each is opened when it is first read. Raises SettingsError."""
    limits = Limits(settings.source_max_rows, settings.source_timeout_s)
    try:
        return Sources(catalogue.read(_content("SOURCES_FILE", settings.sources_file)), limits)
    except CatalogueInvalid as error:
        raise SettingsError("SOURCES_FILE", settings.sources_file, str(error)) from None


def read_sinks(settings: Settings) -> Mapping[str, Sink]:
    """The operator's sinks. Raises SettingsError."""
    try:
        return sink_catalogue.read(_content("SINKS_FILE", settings.sinks_file))
    except CatalogueInvalid as error:
        raise SettingsError("SINKS_FILE", settings.sinks_file, str(error)) from None


def _content(variable: str, file: str) -> str:
    """Nothing, where no file is named. Raises SettingsError."""
    try:
        return Path(file).read_text() if file else ""
    except (OSError, UnicodeDecodeError):
        raise SettingsError(variable, file, "must name a text file that this user can read") from None


def make_meter(settings: Settings, cache: ForecastCache, breaker: Breaker) -> Meter:
    """A meter that also tells what the cache and the breaker count of themselves."""
    meter = Meter(make_redis(settings.cache, METER_TIMEOUT_S), CATALOGUE)
    meter.follow(CACHE_LOOKUPS, lambda: cache.hits, "forecast", "hit")
    meter.follow(CACHE_LOOKUPS, lambda: cache.misses, "forecast", "miss")
    meter.follow(REDIS_TRIPS, lambda: breaker.trips)
    return meter
