"""Keys made, shown and ended on the command line, and what they open."""

from __future__ import annotations

from db import tenants
from db.session import Sessions
from db.tenants import Identity
from tests.integration.ops.conftest import Command


def opens(sessions: Sessions, key: str) -> Identity | None:
    with sessions.begin() as session:
        return tenants.authenticate(session, key)


def test_a_new_key_opens_the_door_of_its_new_tenant(fleetcast: Command, sessions: Sessions) -> None:
    made = fleetcast("keys", "create", "acme", "--name", "phone", TENANT_MAX_RUNNING="7")
    assert made.exit_code == 0, made.output
    found = opens(sessions, made.stdout.strip())
    assert found is not None
    assert (found.tenant, found.scopes) == ("acme", frozenset(tenants.SCOPES))
    with sessions() as session:
        assert tenants.find_tenant(session, "acme").max_running == 7
    assert fleetcast("keys", "create", "acme").exit_code == 0, "a second key of the same tenant"


def test_a_key_can_be_narrow_and_short_lived(fleetcast: Command, sessions: Sessions) -> None:
    key = fleetcast("keys", "create", "acme", "--scope", "read", "--days", "1").stdout.strip()
    found = opens(sessions, key)
    assert found is not None
    assert found.scopes == {"read"}
    assert "read" in fleetcast("keys", "list", "acme").stdout
    assert fleetcast("keys", "create", "acme", "--scope", "everything").exit_code == 2


def test_the_list_shows_ids_and_no_secret(fleetcast: Command) -> None:
    key = fleetcast("keys", "create", "acme", "--name", "phone").stdout.strip()
    _, key_id, secret = key.split("_")
    listed = fleetcast("keys", "list", "acme").stdout
    assert key_id in listed
    assert "phone" in listed
    assert secret not in listed


def test_a_revoked_key_opens_nothing_from_then_on(fleetcast: Command, sessions: Sessions) -> None:
    key = fleetcast("keys", "create", "acme").stdout.strip()
    key_id = key.split("_")[1]
    assert opens(sessions, key) is not None
    assert fleetcast("keys", "revoke", "acme", key_id).output == f"Key {key_id} is revoked.\n"
    assert opens(sessions, key) is None
    assert fleetcast("keys", "revoke", "acme", key_id).exit_code == 0, "ending it again is no fault"


def test_what_is_not_there_names_the_next_command(fleetcast: Command) -> None:
    for words in (("list", "nobody"), ("revoke", "nobody", "abc")):
        told = fleetcast("keys", *words)
        assert told.exit_code == 1
        assert "`fleetcast keys create nobody` makes it." in told.output
    fleetcast("keys", "create", "acme")
    told = fleetcast("keys", "revoke", "acme", "abc")
    assert told.exit_code == 1
    assert "`fleetcast keys list acme` shows those there are." in told.output
