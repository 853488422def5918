"""The entry of gunicorn: `gunicorn -c python:webapp.gunicorn_conf webapp.wsgi:app`."""

from tasks import logs, settings
from tasks.runtime import open_runtime
from webapp.app import create_app

_settings = settings.load()
logs.configure(_settings)
app = create_app(open_runtime(_settings, "web", pool_size=10))
