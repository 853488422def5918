"""Problem details (RFC 9457), in answers, in jobs and at /problems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fleetcast_client.answers.entities import Fault, Requirement
from fleetcast_client.answers.forecasts import OutOfSupport
from fleetcast_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class ProblemDetails(Answer):
    """What went wrong, for a program and for a person. Some codes bring members of their own, such as the numbers of their sentence."""

    #: Page of this code: cause and fix.
    type: str
    title: str
    status: int
    code: str
    detail: str
    #: Id of the request; a job's error has none.
    instance: str | None = None
    #: The same request may succeed later: after Retry-After where that is sent, else with a back-off of the client's own. In a job's
    #: `error`: POST /jobs/{job_id}/retry may succeed.
    retryable: bool
    #: What to do.
    hint: str | None = None
    #: With `validation_failed`: each field that is wrong, a hundred at most.
    errors: tuple[Fault, ...] | None = None
    #: With `insufficient_data`: what the data must have, met or not.
    requirements: tuple[Requirement, ...] | None = None
    #: With `feature_missing`: those that are missing.
    channels: tuple[str, ...] | None = None
    #: With `feature_missing`: those that are there.
    available: tuple[str, ...] | None = None
    #: With `feature_missing`, of channels read over the horizon: the moments without a value.
    missing: Mapping[str, tuple[datetime, ...]] | None = None
    #: With `scenario_out_of_bounds`: its name.
    scenario: str | None = None
    #: With `scenario_out_of_bounds`: how far it goes outside.
    out_of_support: tuple[OutOfSupport, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Cause(Answer):
    """What a problem code means."""

    code: str
    #: Status that it answers with.
    status: int
    title: str
    cause: str
    fix: str
    #: The same request may succeed later.
    retryable: bool
    #: It is met in a job's `error` and in the answer to `GET /jobs/{id}/result`, and is no other request's answer.
    in_jobs_only: bool
