"""The client: one service, one key, and everything that can be asked."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

import httpx

from fleetcast_client.answers.accuracy import ModelAccuracy
from fleetcast_client.answers.anomalies import Anomaly
from fleetcast_client.answers.audit import AuditEntry
from fleetcast_client.answers.forecasts import StoredForecast
from fleetcast_client.asking import Moment
from fleetcast_client.entities import Entities, Erasures
from fleetcast_client.http import Http, below
from fleetcast_client.jobs import Jobs
from fleetcast_client.models import Models
from fleetcast_client.observations import Observations
from fleetcast_client.pages import Pages
from fleetcast_client.schedules import Schedules
from fleetcast_client.service import Service
from fleetcast_client.submissions import Submissions
from fleetcast_client.webhooks import Webhooks

URL, KEY = "FLEETCAST_URL", "FLEETCAST_KEY"


class Client(Submissions):
    """What a tenant can ask of Fleetcast. May be used by many threads; close it, or use it in a `with`.

    Whatever takes longer than a moment answers with a Job. An argument that is None is not sent: the service's default holds.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout: float = 30.0,
        retries: int = 4,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`timeout` is the longest silence in seconds of a request that waits for nothing; `retries` how often one is sent again."""
        self._http = Http(url, key, timeout=timeout, retries=retries, transport=transport)
        self.entities = Entities(self._http)
        self.observations = Observations(self._http)
        self.erasures = Erasures(self._http)
        self.models = Models(self._http)
        self.jobs = Jobs(self._http)
        self.schedules = Schedules(self._http)
        self.webhooks = Webhooks(self._http)
        self.service = Service(self._http)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """From FLEETCAST_URL and FLEETCAST_KEY, as `fleetcast status --env` prints them."""
        missing = [name for name in (URL, KEY) if not os.environ.get(name)]
        if missing:
            raise ValueError(f"Set {' and '.join(missing)}, or name them: Client('https://…', 'fk_…').")
        return cls(os.environ[URL], os.environ[KEY], **options)

    def __repr__(self) -> str:
        return f"Client({self._http.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def forecast(self, entity: str, target: str) -> StoredForecast:
        """The newest forecast that was made, without asking for another; `stale` when it would not be given as an answer today."""
        return StoredForecast.read(self._http.json("GET", below("entities", entity, "forecasts", target)))

    def accuracy(self, entity: str, target: str) -> ModelAccuracy:
        """What forecasts were worth, version by version, and whether the version that serves drifts."""
        return ModelAccuracy.read(self._http.json("GET", below("entities", entity, "accuracy", target)))

    def anomalies(
        self,
        entity: str,
        *,
        from_: Moment | None = None,
        to: Moment | None = None,
        severity: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[Anomaly]:
        """What detections found, newest first; `severity` is warning or critical."""
        query = {"from": from_, "to": to, "severity": severity, "limit": limit, "cursor": cursor}
        return Pages(self._http, below("entities", entity, "anomalies"), Anomaly.read, query)

    def audit(
        self, *, action: str | None = None, actor: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Pages[AuditEntry]:
        """Who did what, newest first: made and ended keys, moved versions, erased entities, changed webhooks and schedules."""
        query = {"action": action, "actor": actor, "limit": limit, "cursor": cursor}
        return Pages(self._http, below("audit"), AuditEntry.read, query)
