"""The web process and the dispatcher have no numeric library installed: only one module here may ask for one."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("numpy", "torch", "pandas", "sklearn", "pyarrow", "safetensors", "scipy")
LIGHT = (
    "anomalies",
    "tenants",
    "entities",
    "observations",
    "forecasts",
    "registry",
    "board",
    "breaker",
    "events",
    "cache",
    "meter",
    "census",
    "models",
    "session",
    "errors",
    "sources.catalogue",
    "sources.configs",
    "sources.opened",
    "sources.sql",
    "sources.influx",
)


def test_memory_is_imported_without_numbers() -> None:
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in HEAVY)
    imports = "".join(f"import db.{name}\n" for name in LIGHT)
    done = subprocess.run([sys.executable, "-c", f"import sys\n{blocked}{imports}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
