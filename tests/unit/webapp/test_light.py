"""The web process needs no numeric library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import webapp

HEAVY = "{'torch', 'numpy', 'pandas', 'sklearn', 'scipy', 'safetensors', 'pyarrow', 'celery', 'kombu'}"


def test_importing_the_app_imports_nothing_heavy() -> None:
    root = Path(webapp.__file__).parent.parent
    program = f"import sys, webapp.app; found = {HEAVY} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=root, timeout=60)


def test_gunicorns_settings_import_no_driver() -> None:
    """psycopg must not be imported before gevent has patched."""
    root = Path(webapp.__file__).parent.parent
    program = "import sys, webapp.gunicorn_conf; found = {'psycopg', 'sqlalchemy', 'flask'} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=root, timeout=60)
