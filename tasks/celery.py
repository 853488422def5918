"""Entry for `celery -A tasks`: Flower and the workers find the application here."""

from tasks.queue import make_celery
from tasks.settings import load

app = make_celery(load(), role="worker")
