"""Keys made, shown and ended on the command line, and what they open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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
    assert "`fleetcast keys ls acme` shows those there are." in told.output


def test_a_rotated_key_hands_over_and_both_open_the_door_meanwhile(fleetcast: Command, sessions: Sessions) -> None:
    old = fleetcast("keys", "create", "acme", "--name", "phone", "--scope", "read").stdout.strip()
    told = fleetcast("keys", "rotate", "acme", old.split("_")[1], "--overlap", "7d")
    assert told.exit_code == 0, told.output
    [new] = told.stdout.splitlines()
    assert opens(sessions, old) is not None
    found = opens(sessions, new)
    assert found is not None
    assert found.scopes == {"read"}
    ends = f"{datetime.now(UTC) + timedelta(days=7):%Y-%m-%d %H:}"
    assert f"Key {new.split('_')[1]} works until it is revoked, the old one until {ends}" in told.stderr
    assert new not in told.stderr
    rows = {line.split()[0]: line for line in fleetcast("keys", "list", "acme").stdout.splitlines() if "phone" in line}
    assert ends in rows[old.split("_")[1]]
    assert ends not in rows[new.split("_")[1]]


def test_a_rotated_key_lives_as_long_as_the_old_one_or_as_told(fleetcast: Command) -> None:
    old = fleetcast("keys", "create", "acme", "--days", "30").stdout.split("_")[1]
    for words, days in (([], 30), (["--days", "5"], 5)):
        told = fleetcast("keys", "rotate", "acme", old, *words)
        assert f"works until {datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}" in told.stderr


def test_a_key_that_has_ended_is_not_rotated(fleetcast: Command) -> None:
    old = fleetcast("keys", "create", "acme").stdout.split("_")[1]
    fleetcast("keys", "revoke", "acme", old)
    told = fleetcast("keys", "rotate", "acme", old)
    assert (told.exit_code, told.stdout) == (1, "")
    assert f"Key {old} is revoked. `fleetcast keys create acme` makes a new one." in told.stderr
    fleetcast("keys", "create", "other")
    told = fleetcast("keys", "rotate", "other", old)
    assert told.exit_code == 1
    assert "`fleetcast keys ls other` shows those there are." in told.stderr
    assert fleetcast("keys", "rotate", "acme", old, "--overlap", "soon").exit_code == 2


def test_a_keys_name_is_no_markup(fleetcast: Command) -> None:
    fleetcast("keys", "create", "acme", "--name", "[red]:key:")
    assert "[red]:key:" in fleetcast("keys", "list", "acme").stdout
