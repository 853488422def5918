"""Entities: make, look at and erase them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetcast_client.answers.entities import Entity, EntityRow, Erasure, Readiness
from fleetcast_client.asking import ChannelFacts
from fleetcast_client.http import Ask, Http, below
from fleetcast_client.jobs import handle
from fleetcast_client.pages import Pages

#: Longest that the service waits for a worker unless told.
WORKER_S = 30.0


class Entities:
    """`client.entities`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def put(
        self,
        entity: str,
        *,
        kind: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        channels: Sequence[ChannelFacts] | None = None,
    ) -> Entity:
        """Make an entity, or say more about it; what is left out stays as it was."""
        body = {"kind": kind, "attributes": attributes, "channels": channels}
        return Entity.read(self._http.json("PUT", below("entities", entity), body))

    def get(self, entity: str) -> Entity:
        return Entity.read(self._http.json("GET", below("entities", entity)))

    def list(self, *, kind: str | None = None, limit: int | None = None, cursor: str | None = None) -> Pages[EntityRow]:
        """Entities, oldest first."""
        return Pages(self._http, below("entities"), EntityRow.read, {"kind": kind, "limit": limit, "cursor": cursor})

    def erase(self, entity: str) -> str:
        """Erase it everywhere: observations, models, versions, forecasts, anomalies, cached answers. Needs the scope `operate`.

        When this returns, nobody is answered from it any more. Returns the id of the receipt, for `client.erasures.get`: it has `done_at`
        once the last store has followed.
        """
        response = self._http.send(Ask(method="DELETE", path=below("entities", entity)))
        return response.headers["Location"].rpartition("/")[2]

    def readiness(
        self, entity: str, recipe: str, *, target: str | None = None, source: str | None = None, wait: float | None = None
    ) -> Readiness:
        """Every data requirement of a recipe, measured: have, need, and when it will be met.

        What only a worker can read, as files are, a worker measures: its job is waited for, by the service for `wait` seconds, then by us.
        """
        query = {"recipe": recipe, "target": target, "source": source}
        headers = {} if wait is None else {"Prefer": f"wait={wait:g}"}
        ask = Ask(method="GET", path=below("entities", entity, "readiness"), query=query, headers=headers, wait=max(wait or 0.0, WORKER_S))
        response = self._http.send(ask)
        told = response.json()
        measured: Readiness = Readiness.read(told) if "requirements" in told else handle(self._http, response).result()
        return measured


class Erasures:
    """`client.erasures`: receipts of what was erased. They name nobody."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def get(self, erasure_id: str) -> Erasure:
        return Erasure.read(self._http.json("GET", below("erasures", erasure_id)))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Pages[Erasure]:
        """Receipts, newest first."""
        return Pages(self._http, below("erasures"), Erasure.read, {"limit": limit, "cursor": cursor})
