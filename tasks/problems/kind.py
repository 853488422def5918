"""What the catalogue says of one code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One code. `status` is the HTTP status it answers with, also when it is met inside a job."""

    status: int
    title: str
    cause: str
    fix: str
    retryable: bool = False
    #: Never the answer to a request of its own: it stands in a failed job's `error`, and in the answer to `GET /jobs/{id}/result`.
    in_jobs_only: bool = False
