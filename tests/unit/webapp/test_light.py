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


def test_what_a_worker_imported_is_not_collected_again() -> None:
    root = Path(webapp.__file__).parent.parent
    program = (
        "import gc, types, webapp.gunicorn_conf as conf; worker = types.SimpleNamespace(wsgi=types.SimpleNamespace(extensions={}));"
        "conf.post_worker_init(worker); assert gc.get_freeze_count() > 10_000, gc.get_freeze_count()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=root, timeout=60)
