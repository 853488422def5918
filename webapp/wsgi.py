"""The entry of gunicorn: `gunicorn -c python:webapp.gunicorn_conf webapp.wsgi:app`."""

import atexit

from tasks import environment, logs
from tasks.metrics import WEB
from tasks.runtime import open_runtime
from webapp.access import name_request
from webapp.app import create_app

_settings = environment.load()
logs.configure(_settings, name_request)
_runtime = open_runtime(_settings, "web", connections=20)
_runtime.serve(WEB)
# What was counted in the last seconds is sent.
atexit.register(_runtime.close)
app = create_app(_runtime)
