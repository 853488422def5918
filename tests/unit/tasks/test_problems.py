"""Every error that knows what it is has a code in the catalogue, and its problem object says cause and fix."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from db.errors import Conflict, KeyReused, NoActiveVersion, NotFound, OverQuota, Saturated, Stale, StoreError
from ml import errors as ml_errors
from ml.errors import InsufficientData, ModelError, SpecInvalid
from ml.requirement import Requirement
from tasks.problems import CATALOGUE, of, problem
from tasks.problems.table import catalogue_table


def leaves(kind: type[ModelError]) -> list[type[ModelError]]:
    return [kind, *(leaf for below in kind.__subclasses__() for leaf in leaves(below))]


@pytest.mark.parametrize("kind", leaves(ml_errors.ModelError), ids=lambda kind: kind.__name__)
def test_every_model_error_is_in_the_catalogue(kind: type[ModelError]) -> None:
    assert kind.code in CATALOGUE


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (NotFound("entity", "x"), "entity_not_found", 404),
        (NotFound("model", "x"), "model_not_found", 404),
        (NotFound("version", "x"), "version_not_found", 404),
        (NotFound("job", "x"), "job_not_found", 404),
        (NoActiveVersion("user-42", "rhr"), "no_active_version", 404),
        (Conflict("model_is_active", "…"), "model_is_active", 409),
        (Stale("…"), "precondition_failed", 412),
        (OverQuota(5, 5), "quota_exceeded", 429),
        (Saturated("train", 5, 5), "queue_saturated", 503),
        (KeyReused("k"), "idempotency_key_reused", 422),
    ],
)
def test_what_the_memory_refuses_has_its_code(error: StoreError, code: str, status: int) -> None:
    found = of(error)
    assert (found["code"], found["status"], found["detail"]) == (code, status, str(error))


def test_a_problem_carries_the_numbers_of_its_error() -> None:
    assert str(Requirement("rhr.rows_to_forecast", 0, 1, "row", False)) == "0 of 1 row of rhr"
    found = of(InsufficientData([Requirement("rhr.days", 12, 30, "day", False, "2026-12-08")]))
    assert found["detail"] == "12 of 30 days of rhr."
    assert found["requirements"] == [{"name": "rhr.days", "have": 12, "need": 30, "unit": "day", "met": False, "eta": "2026-12-08"}]
    pointed = of(SpecInvalid("hidden_size", 7, "must be between 8 and 512"))
    assert pointed["errors"] == [{"pointer": "/spec/hidden_size", "code": "out_of_bounds", "detail": "must be between 8 and 512"}]


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_says_its_cause_and_its_fix(code: str) -> None:
    found = problem(code, "detail")
    assert found["type"] == f"/problems/{code}"
    assert 400 <= found["status"] < 600
    assert found["hint"].endswith(".")
    assert not found["title"].endswith(".")
    assert CATALOGUE[code].cause.endswith(".")


def test_the_page_of_errors_is_the_catalogue() -> None:
    """Of docs/errors.md, what stands between the markers."""
    page = Path(__file__).parents[3] / "docs" / "errors.md"
    found = re.search(r"<!-- problems -->\n(.*?)\n<!-- /problems -->", page.read_text(), re.DOTALL)
    assert found is not None
    assert found[1] == catalogue_table(), "put there what `python -c 'from tasks.problems.table import *; print(catalogue_table())'` prints"
