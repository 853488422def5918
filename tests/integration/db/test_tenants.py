"""Keys open what they should, for as long as they should, and can be read nowhere."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from db import tenants
from db.errors import Conflict, NotFound
from db.models import ApiKey
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
        assert tenants.authenticate(session, full) == tenants.Identity(owner.id, "acme", key.id, frozenset({"read"}))


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
