"""Keys open what they should, for as long as they should, and can be read nowhere."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, ForeignKeyConstraint, Table, text

from db import tenants
from db.errors import Conflict, NotFound
from db.models import ApiKey, Base
from db.session import Sessions
from tests.support import rows

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
TOMORROW = datetime.now(UTC) + timedelta(days=1)


def test_a_tenant_is_made_once_and_found_by_name(sessions: Sessions) -> None:
    with sessions.begin() as session:
        made = rows.tenant(session, "acme")
        assert tenants.find_tenant(session, "acme") is made
        with pytest.raises(Conflict, match="acme"):
            rows.tenant(session, "acme")
        with pytest.raises(NotFound):
            tenants.find_tenant(session, "other")
        rows.tenant(session, "aardvark")
        assert [t.name for t in tenants.list_tenants(session)] == ["aardvark", "acme"]


def test_a_key_tells_who_presents_it(sessions: Sessions) -> None:
    with sessions.begin() as session:
        owner = rows.tenant(session)
        key, full = tenants.issue_key(session, owner.id, "phone", ["read"], TOMORROW)
        found = tenants.authenticate(session, full)
        assert found is not None
        left_s = (TOMORROW - datetime.now(UTC)).total_seconds()
        assert found == tenants.Identity(owner.id, "acme", key.id, frozenset({"read"}), pytest.approx(left_s, abs=5))


def test_scopes_are_all_unless_named_and_must_be_known(sessions: Sessions) -> None:
    with sessions.begin() as session:
        owner = rows.tenant(session)
        _, full = tenants.issue_key(session, owner.id, "phone")
        identity = tenants.authenticate(session, full)
        assert identity is not None
        assert identity.scopes == {"read", "write", "operate"}
        with pytest.raises(ValueError, match="admin"):
            tenants.issue_key(session, owner.id, "phone", ["read", "admin"])


def test_the_secret_is_nowhere_in_the_database(sessions: Sessions) -> None:
    with sessions.begin() as session:
        key, full = tenants.issue_key(session, rows.tenant(session).id, "phone")
        secret = full.rsplit("_", 1)[1]
        assert key.secret_sha256 == hashlib.sha256(secret.encode()).digest()
        [stored] = session.scalars(text("SELECT row_to_json(k)::text FROM api_keys k"))
        assert secret not in stored
        assert secret.encode().hex() not in stored


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"), id="wrong secret"),
        pytest.param(lambda key: "fk_000000000000" + key[15:], id="unknown id"),
        pytest.param(lambda key: key[3:], id="no prefix"),
        pytest.param(lambda key: key.upper(), id="upper case"),
        pytest.param(lambda key: key + "\n", id="newline"),
        pytest.param(lambda key: key[:20], id="cut short"),
        pytest.param(lambda key: key + "0", id="too long"),
        pytest.param(lambda key: key[:20] + "\x00" + key[21:], id="NUL"),
        pytest.param(lambda key: "fk_" + "١" * 12 + key[15:], id="digits of another script"),
        pytest.param(lambda key: key[:0], id="empty"),
    ],
)
def test_a_spoilt_key_opens_nothing(sessions: Sessions, spoil) -> None:
    with sessions.begin() as session:
        _, full = tenants.issue_key(session, rows.tenant(session).id, "phone")
        assert tenants.authenticate(session, spoil(full)) is None
        assert tenants.authenticate(session, full) is not None


def test_an_unknown_id_costs_the_same_comparison_as_a_wrong_secret(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    with sessions.begin() as session:
        _, full = tenants.issue_key(session, rows.tenant(session).id, "phone")
        tenants.authenticate(session, full)
        tenants.authenticate(session, "fk_000000000000" + full[15:])
    assert compared == [(32, 32), (32, 32)]


def test_an_expired_key_opens_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        _, full = tenants.issue_key(session, rows.tenant(session).id, "phone", expires_at=YESTERDAY)
        assert tenants.authenticate(session, full) is None


def test_a_revoked_key_opens_nothing_and_stays_revoked_since_the_first_time(sessions: Sessions) -> None:
    with sessions.begin() as session:
        owner = rows.tenant(session)
        key, full = tenants.issue_key(session, owner.id, "phone")
        first = tenants.revoke_key(session, owner.id, key.id).revoked_at
        assert tenants.authenticate(session, full) is None
        assert tenants.revoke_key(session, owner.id, key.id).revoked_at == first


def test_a_tenant_sees_and_revokes_only_its_own_keys(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ours, theirs = rows.tenant(session, "ours"), rows.tenant(session, "theirs")
        key, full = tenants.issue_key(session, ours.id, "phone")
        assert tenants.list_keys(session, theirs.id) == []
        assert tenants.list_keys(session, ours.id) == [key]
        with pytest.raises(NotFound):
            tenants.revoke_key(session, theirs.id, key.id)
        assert tenants.authenticate(session, full) is not None


def test_the_use_is_stamped_at_most_once_a_minute(sessions: Sessions) -> None:
    def used() -> datetime:
        with sessions.begin() as session:
            assert tenants.authenticate(session, full) is not None
        with sessions.begin() as session:
            stamp = session.get_one(ApiKey, key.id).last_used_at
            assert stamp is not None
            return stamp

    with sessions.begin() as session:
        key, full = tenants.issue_key(session, rows.tenant(session).id, "phone")
    first = used()
    assert used() == first
    with sessions.begin() as session:
        session.get_one(ApiKey, key.id).last_used_at = YESTERDAY
    assert used() > first


def test_no_request_waits_for_the_stamp_of_another(sessions: Sessions) -> None:
    with sessions.begin() as session:
        _, full = tenants.issue_key(session, rows.tenant(session).id, "phone")
    with sessions.begin() as slow, sessions.begin() as quick:
        quick.execute(text("SET LOCAL lock_timeout = '200ms'"))
        assert tenants.authenticate(slow, full) is not None
        assert tenants.authenticate(quick, full) is not None


def test_both_keys_work_during_the_overlap_and_only_the_new_one_after_it(sessions: Sessions) -> None:
    with sessions.begin() as session:
        owner = rows.tenant(session)
        old, before = tenants.issue_key(session, owner.id, "phone", ["read"])
        rotated = tenants.rotate_key(session, owner.id, old.id, timedelta(hours=1))
        assert (rotated.new.name, rotated.new.scopes, rotated.new.expires_at) == ("phone", ["read"], None)
        assert rotated.old is old
        assert old.expires_at is not None
        assert timedelta(minutes=59) < old.expires_at - datetime.now(UTC) < timedelta(minutes=61)
        for key in (before, rotated.whole):
            assert tenants.authenticate(session, key) is not None
        old.expires_at = datetime.now(UTC) - timedelta(seconds=1)  # the hour goes by
        session.flush()
        assert tenants.authenticate(session, before) is None
        assert tenants.authenticate(session, rotated.whole) is not None


def test_an_overlap_never_lengthens_a_keys_life(sessions: Sessions) -> None:
    with sessions.begin() as session:
        owner = rows.tenant(session)
        old, _ = tenants.issue_key(session, owner.id, "phone", expires_at=TOMORROW)
        tenants.rotate_key(session, owner.id, old.id, timedelta(days=30))
        assert old.expires_at == TOMORROW


def test_a_key_of_limited_life_is_followed_by_one_of_the_same_length(sessions: Sessions) -> None:
    with sessions.begin() as session:
        owner = rows.tenant(session)
        old, _ = tenants.issue_key(session, owner.id, "phone", expires_at=TOMORROW)
        session.refresh(old)
        old.created_at = YESTERDAY
        session.flush()
        new = tenants.rotate_key(session, owner.id, old.id, timedelta(hours=1)).new
        assert new.expires_at is not None
        assert timedelta(hours=47) < new.expires_at - datetime.now(UTC) < timedelta(hours=49)
        chosen = tenants.rotate_key(session, owner.id, old.id, timedelta(hours=1), TOMORROW).new
        assert chosen.expires_at == TOMORROW


def test_a_key_that_has_ended_or_is_anothers_cannot_be_rotated(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ours, theirs = rows.tenant(session, "ours"), rows.tenant(session, "theirs")
        expired, _ = tenants.issue_key(session, ours.id, "expired", expires_at=YESTERDAY)
        revoked, _ = tenants.issue_key(session, ours.id, "revoked")
        good, _ = tenants.issue_key(session, ours.id, "good")
        tenants.revoke_key(session, ours.id, revoked.id)
        for ended, word in ((expired, "expired"), (revoked, "revoked")):
            with pytest.raises(Conflict, match=word):
                tenants.rotate_key(session, ours.id, ended.id, timedelta(hours=1))
        for key_id in (good.id, "none"):
            with pytest.raises(NotFound):
                tenants.rotate_key(session, theirs.id, key_id, timedelta(hours=1))
        assert good.expires_at is None
        assert len(tenants.list_keys(session, ours.id)) == 3
        assert tenants.list_keys(session, theirs.id) == []


def test_a_key_can_be_rotated_by_two_at_once(sessions: Sessions) -> None:
    with sessions.begin() as session:
        owner = rows.tenant(session)
        old, _ = tenants.issue_key(session, owner.id, "phone")

    def rotate() -> str:
        with sessions.begin() as session:
            return tenants.rotate_key(session, owner.id, old.id, timedelta(hours=1)).whole

    made = rows.at_once(rotate, rotate)
    with sessions.begin() as session:
        assert all(tenants.authenticate(session, key) is not None for key in made)


def test_no_secret_is_in_any_column_of_any_table(sessions: Sessions) -> None:
    """Each row is looked through as text, with bytes as Postgres writes them: in hexadecimal."""
    with sessions.begin() as session:
        model = rows.model(session)
        rows.job(session, model.tenant_id)
        rows.publish(session, model)
        key, before = tenants.issue_key(session, model.tenant_id, "phone")
        rotated = tenants.rotate_key(session, model.tenant_id, key.id, timedelta(hours=1))
        assert all(tenants.authenticate(session, whole) is not None for whole in (before, rotated.whole))
    secrets = [whole.rsplit("_", 1)[1] for whole in (before, rotated.whole)]
    looked_at: dict[str, int] = {}
    with sessions() as session:
        for table in session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all():
            found = session.scalars(text(f"SELECT to_jsonb(t)::text FROM {table} AS t")).all()
            looked_at[table] = len(found)
            for secret in secrets:
                # As it is, as its own bytes, and as the bytes that it spells.
                assert not [row for row in found if secret in row or secret.encode().hex() in row], table
                assert table != "api_keys" or any(hashlib.sha256(secret.encode()).hexdigest() in row for row in found), "bytes are seen"
    assert looked_at.keys() >= Base.metadata.tables.keys()
    assert looked_at["api_keys"] == 2


# Tenants stay apart: the tables themselves see to it

OWNED = [table for table in Base.metadata.sorted_tables if table.name != "tenants"]
# In order, so that every process of a run collects the same.
REFERENCES = sorted(
    (key for table in OWNED for key in table.foreign_key_constraints if key.referred_table.name != "tenants"),
    key=lambda key: str(key.name),
)
#: Columns that name a row of another table without a foreign key, each with its reason.
LOOSE = {
    ("versions", "job_id"): "a version outlives its job, which is purged",
    ("forecasts", "job_id"): "so does a forecast",
    ("anomalies", "job_id"): "and an anomaly",
    ("jobs", "retry_of"): "so does a retry, and a finished row can never be changed to forget it",
    ("receipts", "erasure_id"): "that row goes once Redis has forgotten, which is how the receipt knows",
    ("receipts", "request_id"): "a request is no row",
    ("audit", "request_id"): "nor is it here",
}


@pytest.mark.parametrize("table", OWNED, ids=lambda table: table.name)
def test_every_row_says_whose_it_is(table: Table) -> None:
    assert not table.c.tenant_id.nullable
    leads = [key for key in table.foreign_key_constraints if "tenant_id" in key.column_keys]
    assert leads, "the tenant named is one there is"


@pytest.mark.parametrize("key", REFERENCES, ids=lambda key: str(key.name))
def test_a_reference_holds_the_tenant_on_both_sides(key: ForeignKeyConstraint) -> None:
    pairs = {(element.parent.name, element.column.name) for element in key.elements}
    assert ("tenant_id", "tenant_id") in pairs
    assert len(pairs) == 2, "the tenant, and the row"


def test_what_names_a_row_refers_to_it() -> None:
    """A column added later cannot forget it: either it is part of a foreign key with the tenant, or it is named above with its reason."""
    referring = {(key.table.name, column) for key in REFERENCES for column in key.column_keys}
    naming = {
        (table.name, column.name)
        for table in OWNED
        for column in table.c
        if (column.name.endswith("_id") or column.name == "retry_of") and column.name != "tenant_id"
    }
    assert naming - referring == LOOSE.keys()


@pytest.mark.parametrize("key", REFERENCES, ids=lambda key: str(key.name))
def test_postgres_holds_each_reference_as_the_models_say_it(engine: Engine, key: ForeignKeyConstraint) -> None:
    with engine.connect() as connection:
        definition = connection.scalars(
            text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :n"), {"n": key.name}
        ).one()
    assert re.match(r"FOREIGN KEY \(tenant_id, \w+\) REFERENCES \w+\(tenant_id, \w+\)", definition), definition
