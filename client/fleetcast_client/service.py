"""The service itself: is it well, how full is it, what does it offer, and what do its problems mean."""

from __future__ import annotations

from fleetcast_client.answers.problems import Cause
from fleetcast_client.answers.service import Depth, Ready, RecipeList
from fleetcast_client.http import Ask, Http, below

JSON = {"Accept": "application/json"}


class Service:
    """`client.service`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def alive(self) -> bool:
        """Whether a process of the service answers."""
        return bool(self._http.json("GET", "/healthz")["status"] == "alive")

    def ready(self) -> Ready:
        """Whether requests can be answered, and what is to be done if not."""
        return Ready.read(self._http.send(Ask(method="GET", path="/readyz", accepts=(503,))).json())

    def queues(self) -> tuple[Depth, ...]:
        """How full each queue is."""
        return tuple(map(Depth.read, self._http.json("GET", "/queues")["data"]))

    def metrics(self) -> str:
        """As Prometheus reads them."""
        return self._http.send(Ask(method="GET", path="/metrics")).text

    def recipes(self) -> RecipeList:
        """The recipes with their needs, defaults and gates, and those of detectors."""
        return RecipeList.read(self._http.json("GET", below("recipes")))

    def problems(self) -> tuple[Cause, ...]:
        """What every problem code means."""
        return tuple(map(Cause.read, self._http.json("GET", "/problems", headers=JSON)["data"]))

    def problem(self, code: str) -> Cause:
        """Cause and fix of one."""
        return Cause.read(self._http.json("GET", f"/problems/{code}", headers=JSON))
