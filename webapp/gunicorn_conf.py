"""How gunicorn serves: gevent workers, each of which imports the app after patching, so that psycopg waits without blocking others."""

worker_class = "gevent"
worker_connections = 1000
# The master must not import the app: psycopg imported before gevent's patching blocks the whole process at each query.
preload_app = False
# Longer than the longest wait that a request may ask for (MAX_WAIT_S, 30).
timeout = 60
graceful_timeout = 35
keepalive = 5
limit_request_line = 8190
limit_request_fields = 60
limit_request_field_size = 8190
# It would write a socket below the home folder, which a read-only container does not have.
control_socket_disable = True
accesslog = None
