"""Gates: what a version had to reach to be trusted."""

from __future__ import annotations

from dataclasses import dataclass

from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class Check(Answer):
    """One thing that the gate looked at."""

    #: `imported`: nobody measured the network here, so it is not met.
    name: str
    have: float | None
    need: float
    met: bool


@dataclass(frozen=True, kw_only=True)
class Verdict(Answer):
    """What the version had to reach to become active by itself, and whether it did."""

    passed: bool
    checks: tuple[Check, ...]
    #: A label that decides nothing; null where the recipe has none.
    production_ready: bool | None
