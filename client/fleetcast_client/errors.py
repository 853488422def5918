"""What can go wrong, as exceptions.

FleetcastError
├── Problem                what the service refused, or why a job failed: carries the problem object (RFC 9457)
│   ├── InvalidRequest     the request has to be another one; `errors` points at the fields
│   ├── NotAuthenticated   no key, or one that is unknown, expired or revoked
│   ├── NotAllowed         the key lacks a scope
│   ├── NotFound           it is not there, or not any more
│   ├── Conflict           it is in another state
│   ├── InsufficientData   observations are missing; `requirements` measures them
│   ├── QuotaExceeded      too much at once; it passes when less is asked, or some of it has ended
│   ├── Unavailable        a part of the service, or a source or sink of the operator's, does not answer, or is full
│   ├── JobFailed          the work itself went wrong
│   ├── JobCancelled       somebody asked for its end
│   └── ServiceFault       a fault of the service, which its operator has to see to
├── ConnectionFailed       no answer, or none of Fleetcast's
└── WaitTimedOut           the time given is over; the job goes on
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetcast_client.answers.entities import Fault, Requirement
from fleetcast_client.answers.problems import ProblemDetails


class FleetcastError(Exception):
    """All that this package raises by itself."""


class ConnectionFailed(FleetcastError):
    """There was no answer, or it was no answer of Fleetcast's. Whether the request was taken in is not known."""


class WaitTimedOut(FleetcastError, TimeoutError):
    """The job had not ended within the time given. It goes on: wait again, or cancel it."""


class Problem(FleetcastError):
    """What was refused, or why a job failed, in the service's own words."""

    def __init__(self, details: ProblemDetails, *, request_id: str | None = None, retry_after: float | None = None) -> None:
        self.details = details
        #: The operator's log knows the request by it. None where a job tells of its end.
        self.request_id = request_id
        #: Seconds after which the service may be asked again.
        self.retry_after = retry_after
        super().__init__(_sentence(details, request_id))

    def __reduce__(self) -> tuple[Any, ...]:
        return problem, (self.details, self.request_id, self.retry_after)

    @property
    def code(self) -> str:
        """For programs: it never changes its meaning. /problems/<code> says cause and fix."""
        return self.details.code

    @property
    def status(self) -> int:
        return self.details.status

    @property
    def detail(self) -> str:
        return self.details.detail

    @property
    def hint(self) -> str | None:
        """What to do."""
        return self.details.hint

    @property
    def retryable(self) -> bool:
        """Whether the same may succeed later; of a job, whether `job.retry()` may."""
        return self.details.retryable

    @property
    def errors(self) -> tuple[Fault, ...]:
        """What is wrong with which field: pointers into the body, or `/query/…`, `/headers/…`, `/path/…`, `/line/n`."""
        return self.details.errors or ()

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Every need of the recipe, met or not."""
        return self.details.requirements or ()


class InvalidRequest(Problem):
    """The request has to be another one."""


class NotAuthenticated(Problem):
    """The key is missing, unknown, expired or revoked."""


class NotAllowed(Problem):
    """The key lacks the scope that `detail` names."""


class NotFound(Problem):
    """It is not there, not any more, or another tenant's."""


class Conflict(Problem):
    """It is in another state than the request takes for granted."""


class InsufficientData(Problem):
    """Observations are missing, or useless."""


class QuotaExceeded(Problem):
    """More at once than the tenant may."""


class Unavailable(Problem):
    """It may be had later."""


class JobFailed(Problem):
    """The work itself went wrong."""


class JobCancelled(Problem):
    """The job was cancelled."""


class ServiceFault(Problem):
    """The operator has to see to it; `request_id` helps to find it."""


#: What each code means to a program.
_MEANINGS: Mapping[type[Problem], str] = {
    InvalidRequest: "malformed_request validation_failed body_too_large unsupported_media_type not_acceptable method_not_allowed"
    " idempotency_key_reused scenario_out_of_bounds",
    NotAuthenticated: "unauthenticated",
    NotAllowed: "forbidden_scope",
    NotFound: "not_found entity_not_found model_not_found version_not_found job_not_found forecast_not_found erasure_not_found"
    " webhook_not_found delivery_not_found schedule_not_found no_active_version version_pruned",
    Conflict: "job_not_finished job_succeeded model_is_active schedule_exists too_many_schedules conflicting_activation too_many_webhooks"
    " webhook_disabled delivery_pending precondition_failed",
    InsufficientData: "insufficient_data insufficient_recent_data flatline_detected feature_missing",
    QuotaExceeded: "rate_limited quota_exceeded too_many_streams",
    Unavailable: "unavailable queue_saturated streams_saturated source_unavailable source_lagging sink_unavailable storage_full",
    JobFailed: "training_diverged out_of_memory deadline_exceeded worker_lost batch_failed",
    JobCancelled: "cancelled",
    ServiceFault: "internal artefact_corrupt source_unreadable sink_refused",
}
KINDS: Mapping[str, type[Problem]] = {code: kind for kind, codes in _MEANINGS.items() for code in codes.split()}
#: For codes of a newer service.
_BY_STATUS: Mapping[int, type[Problem]] = {
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    412: Conflict,
    429: QuotaExceeded,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def problem(details: ProblemDetails, request_id: str | None = None, retry_after: float | None = None) -> Problem:
    """The exception for a problem; for a code that this release does not know, by its status."""
    plain = ServiceFault if details.status >= 500 else InvalidRequest
    kind = KINDS.get(details.code) or _BY_STATUS.get(details.status, plain)
    return kind(details, request_id=request_id, retry_after=retry_after)


def _sentence(details: ProblemDetails, request_id: str | None) -> str:
    # The service says its first fault in `detail` already.
    faults = [fault for n, fault in enumerate(details.errors or ()) if n or fault.detail not in details.detail]
    fields = [f"{fault.pointer}: {fault.detail}" for fault in faults]
    parts = [f"{details.code}: {details.detail}", *fields[:3], details.hint or "", f"[{request_id}]" if request_id else ""]
    return " ".join(part for part in parts if part)
