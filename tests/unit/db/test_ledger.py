"""The parts of the ledger that need no database: its shape agrees with the tables'."""

from __future__ import annotations

import pytest

from db import ledger
from db.ledger import NewJob
from db.ledger.moves import jobs


def new_job() -> NewJob:
    return NewJob(tenant_id="t", kind="train", queue="train", spec={}, spec_hash="h", label="l", max_attempts=1, deadline_s=None)


def test_a_new_job_is_a_frozen_value() -> None:
    with pytest.raises(AttributeError):
        new_job().label = "other"  # type: ignore[misc]


def test_the_fields_of_a_new_job_are_columns_of_the_table() -> None:
    assert {*NewJob._fields} - {"deadline_s", "own"} <= set(jobs.columns.keys())


def test_every_column_that_must_be_given_is_a_field_of_a_new_job() -> None:
    given = {*NewJob._fields, "id"}
    assert {c.name for c in jobs.columns if not c.nullable and c.server_default is None} <= given


def test_no_index_but_the_unique_one_can_serve_the_foreign_keys_of_jobs() -> None:
    """On a fresh table the planner takes any index that begins with the tenant: a batch of 10,000 then took 11 s instead of 1."""
    begins_with_tenant = [index for index in jobs.indexes if index.columns[0].name == "tenant_id"]
    assert begins_with_tenant
    assert all(index.dialect_options["postgresql"]["where"] is not None for index in begins_with_tenant)


def test_the_room_shows_all_it_promises() -> None:
    assert all(hasattr(ledger, name) for name in ledger.__all__)
    assert len(set(ledger.__all__)) == len(ledger.__all__)
