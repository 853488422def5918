"""The audit of what we depend on: every version of constraints.txt against the advisories that the package index knows.

Fails where one is known to be vulnerable, and where the audit itself is broken. Where the advisories cannot be had it says so and passes:
a house without network can still be built.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

PINS = Path(__file__).resolve().parent.parent / "constraints.txt"
#: Each line of it is a version already, so nothing has to be resolved or downloaded.
COMMAND = ("pip-audit", "--no-deps", "--disable-pip", "--format", "json", "--aliases", "on", "--progress-spinner", "off", "--timeout", "15")
#: What pip-audit dies of without network: its own words, or the library's error, which it lets through.
AWAY = re.compile(r"^(?:requests\.exceptions\.|urllib3\.exceptions\.).*|.*your network may be blocking.*", re.MULTILINE)
#: Packages that are named when the index does not know them.
NAMED = 10


def main() -> None:
    program = Path(sys.executable).with_name(COMMAND[0])
    asked = [str(program), *COMMAND[1:], "--requirement", str(PINS)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    try:
        told = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        _untold(done.stderr)
    report(told)


def report(told: list[dict[str, Any]]) -> None:
    """Say what was found; exits with 1 where a version is known to be vulnerable."""
    audited = [package for package in told if "vulns" in package]
    unknown = sorted(package["name"] for package in told if "vulns" not in package)
    if not audited:
        _not_audited(f"the index that answered knows none of the {len(told)} versions")
    for package in audited:
        for found in package["vulns"]:
            names = ", ".join([found["id"], *found.get("aliases", [])])
            print(f"{package['name']} {package['version']}: {names}; mended in {', '.join(found['fix_versions']) or 'no version yet'}")
    vulnerable = [package["name"] for package in audited if package["vulns"]]
    print(f"audit: {len(audited)} versions were looked up, {len(vulnerable)} are known to be vulnerable")
    if unknown:
        print(f"audit: {len(unknown)} were NOT looked up, the index does not know them: {', '.join(unknown[:NAMED])}")
    sys.exit(bool(vulnerable))


def _untold(errors: str) -> NoReturn:
    """No answer: for want of a network, or because the audit is broken."""
    away = AWAY.search(errors)
    if away:
        _not_audited(away[0].strip()[:300])
    print(errors, file=sys.stderr)
    sys.exit(1)


def _not_audited(why: str) -> NoReturn:
    print(f"audit: NOTHING WAS AUDITED, the advisories cannot be had here ({why})")
    sys.exit(0)


if __name__ == "__main__":
    main()
