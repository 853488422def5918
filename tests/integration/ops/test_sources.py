"""The command `sources`: a source tried alone, in its database's own words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.ops.conftest import Command
from tests.support.follower import Follower, follower
from tests.support.servers import Servers
from tests.support.web import START


@pytest.fixture(scope="module")
def there(live: Servers) -> Iterator[Follower]:
    with follower(live.database_url) as made:
        made.write({f"room-{n}": [(START + timedelta(hours=h), 68.0, 40.0) for h in range(30)] for n in range(12)})
        yield made


@pytest.fixture
def file(there: Follower, tmp_path: Path) -> str:
    torn = there.toml("torn").replace("temp_f", "temp_k").replace('["*"]', '["acme"]')
    behind = there.toml("behind", 'lag_limit_s = 60\nlag_query = "SELECT 90"')
    (tmp_path / "sources.toml").write_text(there.toml() + torn + behind)
    return str(tmp_path / "sources.toml")


def test_the_list_asks_nobody_and_shows_no_secret(fleetcast: Command, file: str, there: Follower) -> None:
    told = fleetcast("sources", "ls", SOURCES_FILE=file)
    assert told.exit_code == 0, told.output
    assert "follower" in told.output
    assert "60 s" in told.output
    assert "reader_" not in told.output


def test_one_that_is_well_says_what_it_has(fleetcast: Command, file: str) -> None:
    some = fleetcast("sources", "check", "follower", SOURCES_FILE=file)
    assert some.output == (
        "follower answers; it is no replica, or tells no replication lag, so none is checked.\n"
        "It has rows of room-0, room-1, room-10, room-11, room-2, room-3, room-4, room-5, room-6, room-7 and more.\n"
    )
    one = fleetcast("sources", "check", "behind", "--entity", "room-3", SOURCES_FILE=file)
    assert one.output == (
        "behind answers; it is 90 s behind (limit 60.0).\n"
        "humidity: 30 rows on 2 days, from 2026-01-01 00:00 to 2026-01-02 05:00 UTC.\n"
        "temperature: 30 rows on 2 days, from 2026-01-01 00:00 to 2026-01-02 05:00 UTC.\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("torn", "--entity", "room-1"), "temp_k"),
        (("torn",), "Jobs of development may not read it"),
        (("follower", "--entity", "attic"), "Not one row of attic: table readings, sensor = 'attic', recorded_at from the beginning."),
        (("nowhere",), "No source 'nowhere' in SOURCES_FILE; it has: behind, follower, torn."),
    ],
)
def test_what_is_wrong_is_said_so_that_it_can_be_mended(fleetcast: Command, file: str, words: tuple[str, ...], said: str) -> None:
    told = fleetcast("sources", "check", *words, SOURCES_FILE=file)
    assert said in told.output, told.output
    assert told.exit_code == (0 if "may not" in said else 1)


def test_a_file_that_cannot_be_used(fleetcast: Command, tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text("[sources.x]\nkind = 'sql'")
    told = fleetcast("sources", "ls", SOURCES_FILE=str(tmp_path / "sources.toml"))
    assert told.exit_code == 1
    assert "SOURCES_FILE=" in told.output
    assert "sources.x.tenants: is missing" in told.output
