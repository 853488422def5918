"""What the API is compared with: Flask, one Celery `delay()` for a POST, one Redis GET for a GET, and nothing else. For gunicorn.

No key is asked for, nothing is checked, nothing is written to a database: the least that a service of this shape can do.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from flask import Flask, Response, request
from redis import Redis

app = Flask(__name__)
_memory = Redis.from_url(os.environ["REDIS_URL"])
_celery = Celery("bare", broker=os.environ["REDIS_URL"])
_celery.conf.update(task_ignore_result=True, task_default_queue="bare")


@_celery.task(name="bare.work")
def work(body: dict[str, Any]) -> None:
    """Never run: no worker listens."""


@app.post("/submit")
def submit() -> tuple[dict[str, str], int]:
    return {"id": str(work.delay(request.get_json()).id)}, 202


@app.get("/jobs/<job_id>")
def poll(job_id: str) -> Response:
    found = _memory.get(f"bare:{job_id}")
    return Response(found, mimetype="application/json") if isinstance(found, bytes) else Response(status=404)
