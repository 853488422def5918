"""What BigQuery's client raises: what passes by itself, and what somebody has to see to."""

from __future__ import annotations

import pytest

pytest.importorskip("google.cloud.bigquery", reason="pip install sqlalchemy-bigquery")

from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.bigquery.dbapi import DatabaseError
from requests.exceptions import ConnectionError as NoConnection

from db.bigquery import passes


@pytest.mark.parametrize(
    "error",
    [
        api.ServiceUnavailable("gone"),
        api.TooManyRequests("slowly"),
        api.Forbidden("no", errors=[{"reason": "rateLimitExceeded"}]),
        api.BadRequest("stopped", errors=[{"reason": "stopped"}]),
        api.RetryError("over", cause=None),
        auth.TransportError("away"),
        NoConnection(),
        DatabaseError(api.InternalServerError("again")),
    ],
    ids=repr,
)
def test_what_may_be_well_in_a_moment(error: Exception) -> None:
    assert passes(error)


@pytest.mark.parametrize(
    "error",
    [
        api.NotFound("table"),
        api.Forbidden("no", errors=[{"reason": "accessDenied"}]),
        auth.RefreshError("invalid_grant"),
        DatabaseError(api.BadRequest("syntax")),
        DatabaseError("in words"),
    ],
    ids=repr,
)
def test_what_answers_the_same_again(error: Exception) -> None:
    assert not passes(error)
