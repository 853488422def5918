"""What the memory can refuse, as nouns.

StoreError
├── NotFound        no such row for this tenant (another tenant's row looks the same)
│   └── NoActiveVersion  nothing was ever trained
├── Conflict        the row is not in the state the request needs
│   └── Stale       it moved on since the caller last read it
├── OverQuota       the tenant holds all the jobs it may
├── Saturated       a queue holds all the jobs it may
├── KeyReused       the same Idempotency-Key with another body
├── SourceUnavailable  the place that observations are read from could not be reached
│   └── SourceLagging   it answers, and is too far behind what it follows
├── SourceUnreadable   it is there, and cannot be read as the operator's file says
├── CatalogueInvalid   the operator's file of sources or sinks says what cannot be
├── SinkUnavailable  the place that forecasts go to could not be reached
├── SinkRefused     it was reached, and does not take the rows
├── FenceLost       the lease was taken by somebody else: stop, write nothing
└── MigrationBlocked  others held a table for as long as a migration tried to change it
"""

from __future__ import annotations


class StoreError(Exception):
    """Root of the tree."""


class NotFound(StoreError):
    """`what` is the noun clients see: entity, model, version, job."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"No {what} {name!r}.")
        self.what = what
        self.name = name


class NoActiveVersion(NotFound):
    def __init__(self, entity: str, name: str) -> None:
        super().__init__("active version", f"{entity} {name}")


class Conflict(StoreError):
    """`code` is the problem code clients see."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Stale(Conflict):
    def __init__(self, detail: str) -> None:
        super().__init__("precondition_failed", detail)


class OverQuota(StoreError):
    def __init__(self, held: int, allowed: int) -> None:
        super().__init__(f"{held} of {allowed} unfinished jobs.")
        self.held = held
        self.allowed = allowed


class Saturated(StoreError):
    def __init__(self, queue: str, waiting: int, allowed: int) -> None:
        super().__init__(f"Queue {queue} holds {waiting} of {allowed} jobs.")
        self.queue = queue


class KeyReused(StoreError):
    def __init__(self, key: str) -> None:
        super().__init__(f"Idempotency-Key {key!r} was used with another request body.")


class SourceUnavailable(StoreError):
    """It may be back in a moment: whoever needs it tries again."""


class SourceLagging(SourceUnavailable):
    def __init__(self, source: str, lag_s: float, limit_s: float) -> None:
        super().__init__(f"Source {source} is {lag_s:.0f} s behind what it follows; it is read up to {limit_s:g} s behind.")


class SourceUnreadable(StoreError):
    """Trying again brings the same until the operator has mended it."""


class CatalogueInvalid(StoreError):
    """`where` is the table and the field: sources.plant.url. A value that may be a secret is not told."""

    def __init__(self, where: str, fix: str) -> None:
        super().__init__(f"{where}: {fix}")


class SinkUnavailable(StoreError):
    """The same of a sink. What it was to take is written at the next try."""


class SinkRefused(StoreError):
    """A table, a column or a right is missing there, or a driver here: nothing that passes by itself."""


class FenceLost(StoreError):
    def __init__(self, job_id: str, fence: int) -> None:
        super().__init__(f"Job {job_id} is no longer held under fence {fence}.")
        self.job_id = job_id
        self.fence = fence


class MigrationBlocked(StoreError):
    """Nothing is half done: the migrations before it stand, and the next try goes on from there."""

    def __init__(self, tries: int) -> None:
        super().__init__(
            f"A migration gave way {tries} times to transactions that hold the table it changes. End the long ones "
            "(pg_stat_activity tells of them), then run `fleetcast migrate` again; it goes on where it stopped."
        )
