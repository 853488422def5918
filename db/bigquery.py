"""BigQuery as our sources meet it: which of its refusals pass by themselves, and how long it is waited for.

Imports Google's client, so it is imported where a URL says bigquery and nowhere else.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import sqlalchemy as sa
from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, RetryError
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud.bigquery import QueryJobConfig
from google.cloud.bigquery.retry import DEFAULT_RETRY
from requests.exceptions import RequestException

#: What the client lets through that is none of its driver's own errors.
BELOW = (GoogleAPIError, GoogleAuthError, RequestException)
#: Statuses and reasons that may be well in a moment (BigQuery's documentation, "Error messages").
_STATUSES = (408, 409, 429)
_REASONS = {"backendError", "internalError", "rateLimitExceeded", "jobRateLimitExceeded", "quotaExceeded", "stopped"}


def passes(error: BaseException) -> bool:
    """Whether trying again may help. `error` is the client's, or the driver's around it."""
    inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
    if isinstance(inner, GoogleAPICallError):
        reasons = {each.get("reason") for each in inner.errors} & _REASONS
        return inner.code is None or inner.code >= 500 or inner.code in _STATUSES or bool(reasons)
    return isinstance(inner, (RetryError, TransportError, RequestException))


def hurry(engine: sa.Engine, seconds: float) -> None:
    """Ask no longer than that: Google's client would try for ten minutes, and the driver lets nobody say otherwise."""

    def connect(_: sa.Dialect, __: object, ___: object, told: dict[str, Any]) -> None:
        asked = type(told["client"]).query_and_wait
        limits = {"retry": DEFAULT_RETRY.with_timeout(seconds), "job_retry": None, "api_timeout": seconds, "wait_timeout": seconds}
        told["client"].query_and_wait = partial(asked, told["client"], **limits)

    sa.event.listen(engine, "do_connect", connect)


def in_time(seconds: float) -> dict[str, Any]:
    """Options of a statement that BigQuery gives up itself after so long."""
    return {"job_config": QueryJobConfig(job_timeout_ms=int(seconds * 1000))}
