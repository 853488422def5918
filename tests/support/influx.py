"""A real InfluxDB 1.x for tests: Debian's `influxd`, started in a folder and stopped. Skips, with the reason, where there is none."""

from __future__ import annotations

import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops.processes import usable_port, wait_until

DATABASE = "plants"
_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
[monitor]
  store-enabled = false
[[opentsdb]]
  enabled = false
"""


@dataclass(frozen=True)
class Influx:
    url: str
    process: subprocess.Popen[bytes]

    def write(self, measurement: str, tags: Mapping[str, str], fields: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        """Points as (milliseconds, value) of each field, in line protocol."""
        series = ",".join([_escaped(measurement), *(f"{_escaped(tag)}={_escaped(value)}" for tag, value in tags.items())])
        lines = [f"{series} {_escaped(field)}={value!r} {at}" for field, points in fields.items() for at, value in points]
        for begin in range(0, len(lines), 20_000):
            self._post(f"/write?db={DATABASE}&precision=ms", "\n".join(lines[begin : begin + 20_000]).encode())

    def ask(self, query: str) -> None:
        self._post("/query", urllib.parse.urlencode({"q": query}).encode())

    def up(self) -> bool:
        try:
            self.ask("SHOW DATABASES")
        except OSError:
            return False
        return True

    def _post(self, path: str, body: bytes) -> None:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(self.url + path, body, timeout=10):
            pass

    def toml(self, name: str = "plant", more: str = "", channels: str = 'P = "p_dc"\nIrr = "irradiance"\nTemp = "t_air"') -> str:
        """As an operator writes it down."""
        return f"""
[sources.{name}]
kind = "influx"
url = "{self.url}"
database = "{DATABASE}"
measurement = "inverters"
tag = "plant"
tenants = ["*"]
{more}
[sources.{name}.channels]
{channels}
"""


@contextmanager
def influx(folder: Path) -> Iterator[Influx]:
    """Stopped when the block ends."""
    program = shutil.which("influxd")
    if program is None:
        pytest.skip("no influxd here: apt-get install influxdb")
    port, rpc = usable_port(0), usable_port(0)
    (folder / "influxdb.conf").write_text(_CONFIG.format(folder=folder, port=port, rpc=rpc))
    with (
        (folder / "influxd.log").open("wb") as log,
        subprocess.Popen([program, "run", "-config", str(folder / "influxdb.conf")], stdout=log, stderr=log) as process,
    ):
        running = Influx(f"http://127.0.0.1:{port}", process)
        try:
            assert wait_until(running.up, 60, pause=0.1), (folder / "influxd.log").read_text()
            running.ask(f"CREATE DATABASE {DATABASE}")
            yield running
        finally:
            process.terminate()
            process.wait(20)


def _escaped(word: str) -> str:
    return word.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")
