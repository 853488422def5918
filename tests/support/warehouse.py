"""A BigQuery for tests: `bqemulator`, started as a process of its own and stopped. Skips, with the reason, where there is none.

It runs the statements in DuckDB. So what is tried is Google's client, the dialect, the wire and the statements; not that BigQuery reads
each of these words as the emulator does. Tokens come from a server of ours: a service account's key is shown to it as to Google's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ops.processes import usable_port, wait_until

PROJECT, DATASET = "shop", "sales"


@dataclass(frozen=True)
class Warehouse:
    #: As an operator writes it down.
    url: str
    address: str
    process: subprocess.Popen[bytes]

    def run(self, *statements: str) -> list[dict[str, Any]]:
        """The rows that the last one answers."""
        told: dict[str, Any] = {}
        for statement in statements:
            told = self._asked(f"/bigquery/v2/projects/{PROJECT}/queries", {"query": statement, "useLegacySql": False})
            assert not told.get("errors"), told["errors"]
        names = [field["name"] for field in told.get("schema", {}).get("fields", [])]
        return [dict(zip(names, (cell["v"] for cell in row["f"]), strict=True)) for row in told.get("rows", [])]

    def up(self) -> bool:
        try:
            self._asked(f"/bigquery/v2/projects/{PROJECT}/datasets", {"datasetReference": {"projectId": PROJECT, "datasetId": DATASET}})
        except OSError:
            return False
        return True

    def _asked(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        asked = urllib.request.Request(self.address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=20) as answer:
            told: dict[str, Any] = json.load(answer)
            return told


#: The emulator with two things of it mended: it loads an extension for GEOGRAPHY from the network, and does not know names of parameters in
#: backticks, which is how Google's driver writes them.
_PROGRAM = r"""
import re
from bqemulator.api.routes import jobs
from bqemulator.cli import main
from bqemulator.storage.engine import DuckDBEngine

DuckDBEngine._load_spatial = lambda self: None
execute = jobs.execute_query_job

async def plainly(project, job, sql, *rest, **more):
    return await execute(project, job, re.sub(r"@`(\w+)`", r"@\1", sql), *rest, **more)

jobs.execute_query_job = plainly
main()
"""


@contextmanager
def warehouse(folder: Path) -> Iterator[Warehouse]:
    """Stopped when the block ends."""
    program = shutil.which("bqemulator")
    if program is None:
        pytest.skip("no bqemulator here: pip install bqemulator numpy, in an environment of its own")
    pytest.importorskip("sqlalchemy_bigquery", reason="pip install sqlalchemy-bigquery")
    ports = {"--rest-port": usable_port(0), "--grpc-port": usable_port(0)}
    words = (str(word) for pair in ports.items() for word in pair)
    command = [str(Path(program).with_name("python")), "-c", _PROGRAM, "start", "--ephemeral", "--project", PROJECT, *words]
    address = f"http://127.0.0.1:{ports['--rest-port']}"
    with (
        tokens() as issuer,
        (folder / "bqemulator.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
        _led_to(address),
    ):
        running = Warehouse(f"bigquery://{PROJECT}?credentials_path={account(folder, issuer)}", address, process)
        try:
            assert wait_until(running.up, 60, pause=0.2), (folder / "bqemulator.log").read_text()
            yield running
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def _led_to(address: str) -> Iterator[None]:
    """Google's client asks there instead of Google's."""
    os.environ["BIGQUERY_EMULATOR_HOST"] = address
    try:
        yield
    finally:
        del os.environ["BIGQUERY_EMULATOR_HOST"]


def account(folder: Path, token_uri: str) -> Path:
    """The key of a service account, made now."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    told = {"type": "service_account", "project_id": PROJECT, "client_email": "reader@shop", "token_uri": token_uri}
    file = folder / "account.json"
    file.write_text(json.dumps(told | {"private_key": key.private_bytes(*form).decode()}))
    return file


@contextmanager
def tokens(status: int = 200) -> Iterator[str]:
    """Where tokens are given to whoever asks, or refused."""

    class Issuer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            told = {"access_token": "ours", "expires_in": 3600, "token_type": "Bearer"} if status == 200 else {"error": "invalid_grant"}
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Issuer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()
        thread.join()
