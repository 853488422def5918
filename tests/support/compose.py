"""docker-compose.yml without Docker: its own commands, environments, secrets and health checks, run as processes of this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ops.processes import usable_port
from ops.valkey import find_program

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: Mapping[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
#: A user of the tests alone, who may see what others were refused.
ONLOOKER = "user onlooker on nopass ~* &* +@all\n"


def make_secrets(folder: Path) -> None:
    subprocess.run(["sh", str(ROOT / "deploy" / "make-secrets.sh"), str(folder)], check=True, capture_output=True)


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Every instruction of a Dockerfile and what follows it, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / dockerfile).read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def image_environment(dockerfile: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for word, rest in instructions(dockerfile) if word == "ENV" for pair in rest.split())


@dataclass
class Host:
    """One machine on which the services run, with folders of the test in the place of volumes."""

    folder: Path
    database_url: str
    redis_port: int = 0
    #: Variables that differ here from the file's: ports, and times scaled down.
    changes: Mapping[str, str] = field(default_factory=dict)
    #: The processes that are up, by their services.
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    def prepare(self) -> None:
        """The secrets as the script makes them, with this machine's servers in the place of `postgres` and `redis`."""
        make_secrets(self.secrets)
        self.redis_port = usable_port(0)
        (self.secrets / "database_url").write_text(self.database_url)
        for file in self.secrets.glob("redis_url_*"):
            file.write_text(file.read_text().replace("@redis:6379", f"@127.0.0.1:{self.redis_port}"))
        with (self.secrets / "users.acl").open("a") as rules:
            rules.write(ONLOOKER)

    def redis_url(self, user: str) -> str:
        if user == "onlooker":
            return f"redis://onlooker:any@127.0.0.1:{self.redis_port}/0"
        return (self.secrets / f"redis_url_{user}").read_text()

    def environment(self, service: str) -> dict[str, str]:
        """What the container of this service would have, with the paths of this machine."""
        about = SERVICES[service]
        image = image_environment(about["build"]["dockerfile"])
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ} | {"HOME": str(self.folder)}
        named = {name: value for name, value in (image | about["environment"]).items() if name not in ("PATH", "HOME")}
        return kept | {name: self._here(service, value) for name, value in named.items()} | self.changes

    def _here(self, service: str, value: str) -> str:
        for secret in SERVICES[service]["secrets"]:
            source, target = (secret, secret) if isinstance(secret, str) else (secret["source"], secret["target"])
            if value == f"/run/secrets/{target}":
                return str(self.secrets / source)
        return value.replace("/var/lib/fleetcast", str(self.folder / "volumes"))

    def run(self, service: str, *words: str) -> subprocess.CompletedProcess[str]:
        """`docker compose run --rm SERVICE words…`."""
        return subprocess.run(
            [sys.executable, "-m", "ops.cli", *words],
            env=self.environment(service),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def asked(self, service: str) -> subprocess.CompletedProcess[str]:
        """The service's own health check, in its own environment."""
        kind, program, *words = SERVICES[service]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "fleetcast")
        return self.run(service, *words)

    def is_well(self, service: str) -> bool:
        return self.asked(service).returncode == 0

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text()

    @contextmanager
    def up(self, service: str) -> Iterator[subprocess.Popen[bytes]]:
        """The service's own command, until the block ends. It must stop within its own time of grace."""
        with (self.folder / f"{service}.log").open("ab") as output:
            words = [sys.executable, "-m", "ops.cli", *SERVICES[service]["command"]]
            process = subprocess.Popen(words, env=self.environment(service), cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
        self.processes[service] = process
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(int(SERVICES[service]["stop_grace_period"].removesuffix("s")))
            finally:
                process.kill()

    @contextmanager
    def redis(self) -> Iterator[None]:
        """The broker, by the words of the file."""
        data = self.folder / "redis"
        data.mkdir(exist_ok=True)
        _, *words = [word.replace("/run/secrets", str(self.secrets)).replace("/data", str(data)) for word in SERVICES["redis"]["command"]]
        here = ["--port", str(self.redis_port), "--bind", "127.0.0.1"]
        with (self.folder / "redis.log").open("ab") as output:
            process = subprocess.Popen([str(find_program().path), *words, *here], stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def until(met: Any, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)
