"""Rows for predictions in hand: of our own observations by one statement, of a source by as few questions as it can be asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog

from db.errors import SourceUnavailable, SourceUnreadable
from db.models import Channel, Entity, Version
from db.sources import source as outer
from db.sources import stored
from db.sources.source import Whom
from ml.errors import SpecInvalid
from ml.fitted import Fitted
from ml.forecaster import recent_rows
from ml.series import RawChannels
from tasks.execute import Work
from tasks.history import arrays
from tasks.jobs import PredictJob
from tasks.predict import Served, recent
from tasks.sources import Outside, Store, require
from tasks.workshop import Workshop

log = structlog.get_logger()

#: By the job's id.
Raws = dict[str, RawChannels]


@dataclass(frozen=True)
class Found:
    """A prediction with the version that answers it."""

    work: Work
    job: PredictJob
    entity: Entity
    version: Version
    fitted: Fitted
    #: Where its rows are; None is the built-in store.
    source: str | None

    @property
    def last_rows(self) -> int:
        return recent_rows(self.fitted.spec, self.fitted.step_s)

    @property
    def plans(self) -> bool:
        """Whether the model reads what is known ahead, which begins where the rows of the past end."""
        return bool(self.fitted.spec.future_covariates)

    def with_rows(self, raw: RawChannels, channel: Channel | None) -> Served:
        return Served(self.entity, self.version, self.fitted, raw, channel)


def gather(shop: Workshop, found: Sequence[Found]) -> Raws:
    """The rows of each. Who has none to be read fails alone; who cannot be read among others is left out, to be read alone."""
    raws = _stored(shop, [each for each in found if each.source is None])
    for name in sorted({each.source for each in found if each.source is not None}):
        raws |= _outside(shop, name, [each for each in found if each.source == name])
    return raws


def _stored(shop: Workshop, found: Sequence[Found]) -> Raws:
    """Those that know something ahead are asked for by two statements more each."""
    plain = [each for each in found if not each.plans]
    with shop.sessions() as session:
        wanted = [stored.Wanted(each.entity.id, each.fitted.spec.channels, each.last_rows) for each in plain]
        raws: Raws = {each.work.job.id: raw for each, raw in zip(plain, stored.fetch_many(session, wanted), strict=True)}
        for each in (each for each in found if each.plans):
            with each.work.outcome():
                raws[each.work.job.id] = recent(Store(session, each.entity.id), each.fitted)
    return raws


def _outside(shop: Workshop, name: str, found: Sequence[Found]) -> Raws:
    """Of one source. Where it is away, all whom it has not answered yet are tried again: none waits for it by itself."""
    raws: Raws = {}
    try:
        for each, raw in _read(shop, name, found):
            with each.work.outcome():
                each.work.alive()
                if isinstance(raw, SourceUnreadable):
                    raise raw
                raws[each.work.job.id] = raw
    except SourceUnavailable as away:
        for each in (each for each in found if each.work.job.id not in raws and not each.work.settled):
            with each.work.outcome():
                raise away
    except (SourceUnreadable, SpecInvalid) as error:
        log.warning("not_read_together", source=name, jobs=len(found) - len(raws), error=type(error).__name__)
    return raws


def _read(shop: Workshop, name: str, found: Sequence[Found]) -> Iterator[tuple[Found, RawChannels | SourceUnreadable]]:
    """Who plans ahead is asked for by itself."""
    with shop.sessions() as session:
        tenant = require(session, shop.runtime, found[0].work.job.tenant_id, name)
    source, config = shop.runtime.sources.open(name), shop.runtime.sources.configs[name]
    plain = [each for each in found if not each.plans]
    wanted = [outer.Wanted(Whom(each.entity.name, tenant), each.fitted.spec.channels, each.last_rows) for each in plain]
    for each, answered in zip(plain, source.fetch_many(wanted) if wanted else (), strict=True):
        yield each, answered if isinstance(answered, SourceUnreadable) else arrays(answered)
    for each in (each for each in found if each.plans):
        yield each, recent(Outside(source, config, Whom(each.entity.name, tenant)), each.fitted)
