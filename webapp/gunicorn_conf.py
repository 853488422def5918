"""How gunicorn serves: gevent workers, each of which imports the app after patching, so that psycopg waits without blocking others."""

from typing import Any

worker_class = "gevent"
worker_connections = 1000
# The master must not import the app: psycopg imported before gevent's patching blocks the whole process at each query.
preload_app = False
# How long a worker may give no sign of life. It gives one every second, whatever its requests wait for.
timeout = 60
# Long polls and event streams end when a worker is told to stop; what is being answered has so long.
graceful_timeout = 35
keepalive = 5
limit_request_line = 8190
limit_request_fields = 60
limit_request_field_size = 8190
# It would write a socket below the home folder, which a read-only container does not have.
control_socket_disable = True
accesslog = None


def post_worker_init(worker: Any) -> None:
    """The app is loaded: whoever waits in it is let go when the worker is told to stop, and clients come back to another one."""
    hub = worker.wsgi.extensions.get("fleetcast.hub")
    if hub is not None:  # another app may be served with these settings
        hub.leave_when(lambda: not worker.alive)
