"""Charts: all that the picture of one channel shows: what was observed, what had been forecast and what is, and what was odd."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from db import anomalies, forecasts, registry, series
from db.models import Entity, Forecast, Json
from db.series import Bounds
from webapp.problems import Refusal, fault, invalid

#: Points of a line: one for each pixel of a wide screen.
MOST = 1_000
#: Anomalies that are marked, the newest.
MARKED = 200
#: Stretches of time before the newest row.
SPANS = {"1d": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30), "1y": timedelta(days=365), "all": None}


def chart(session: Session, entity: Entity, channel: str, span: str | None) -> Json:
    """The channel over a span, without one over the shortest that shows enough of it. Raises Refusal for a channel that is not there.

    Lines are columns, moments in seconds since 1970, as they are drawn.
    """
    found = series.bounds(session, entity.id, channel)
    if found is None:
        return _elsewhere(session, entity, channel)
    span = span if span in SPANS else _enough(found)
    told = {"entity": entity.name, "channel": channel, "unit": found.unit, "span": span}
    if found.first is None or found.last is None:
        return told | {"rows": 0, "forecast": _ahead(forecasts.newest(session, entity.tenant_id, entity.id, channel))}
    since, until = _since(found.first, found.last, span), found.last
    thinned = series.thinned(session, found.channel_id, since, until, MOST)
    past = series.forecast_before(session, entity.tenant_id, entity.id, channel, since, until)
    return told | {
        "rows": thinned.rows,
        "between": [since.timestamp(), until.timestamp()],
        "bucket_s": thinned.bucket_s,
        "observed": _columns(("at", "mean", "low", "high"), thinned.points),
        "past": _columns(("at", "value", "lower", "upper"), past),
        "forecast": _ahead(forecasts.newest(session, entity.tenant_id, entity.id, channel)),
        "anomalies": _marks(session, entity, channel, since, until),
    }


def _elsewhere(session: Session, entity: Entity, channel: str) -> Json:
    """Of a channel whose rows lie in somebody else's database only the forecast is here."""
    if not registry.models(session, entity.tenant_id, entity=entity.name, name=channel, kind="forecast", limit=1):
        raise no_channel(entity, channel)
    ahead = _ahead(forecasts.newest(session, entity.tenant_id, entity.id, channel))
    return {"entity": entity.name, "channel": channel, "unit": None, "span": "all", "rows": 0, "forecast": ahead}


def no_channel(entity: Entity, channel: str) -> Refusal:
    return invalid(fault("/query/channel", "not_allowed", f"{entity.name} has no channel {channel!r}."))


def _enough(found: Bounds) -> str:
    """The shortest span in which there is something to see."""
    if found.some is None or found.last is None:
        return "all"
    needed = found.last - found.some
    return next(name for name, length in SPANS.items() if length is None or length >= needed)


def _since(first: datetime, last: datetime, span: str) -> datetime:
    length = SPANS[span]
    return first if length is None else max(first, last - length)


def _columns(names: Sequence[str], rows: Sequence[Sequence[float | None]]) -> dict[str, list[float | None]]:
    return {name: [row[number] for row in rows] for number, name in enumerate(names)}


def _ahead(made: Forecast | None) -> Json | None:
    """The newest forecast, which may be older than the newest rows."""
    if made is None:
        return None
    told: dict[str, Any] = {name: made.body.get(name) for name in ("level", "data_until", "interpretation")}
    points = [(datetime.fromisoformat(p["at"]).timestamp(), p["value"], p["lower"], p["upper"]) for p in made.body["points"]]
    return (
        told
        | {"version": made.body["served_by"]["version"], "by": made.body["served_by"]["kind"]}
        | _columns(("at", "value", "lower", "upper"), points)
    )


def _marks(session: Session, entity: Entity, channel: str, since: datetime, until: datetime) -> list[Json]:
    """What was odd elsewhere is no circle on this line."""
    found = anomalies.page(session, entity, since=since, until=until + timedelta(microseconds=1), channel=channel, limit=MARKED)
    return [{"at": each.row.at.timestamp(), "severity": each.row.severity, "score": each.row.score} for each in found]
