"""The broker: one Celery application, configured so that losing it loses nothing. Settings measured against Celery 5.7."""

from __future__ import annotations

from celery import Celery
from kombu import Queue
from kombu.transport import TRANSPORT_ALIASES

from tasks.jobs import QUEUES
from tasks.settings import Settings

#: What these schemes of a broker's URL stand for: kombu's transport, but that it outlives a message that cannot be read.
OURS = {"redis": "tasks.broker:Transport", "rediss": "tasks.broker:Transport"}


def make_celery(settings: Settings, role: str = "client") -> Celery:
    """A Celery application that knows the queues and no task: the dispatcher sends by name, `tasks.worker` adds the tasks."""
    TRANSPORT_ALIASES.update(OURS)
    app = Celery("fleetcast", broker=settings.redis_url, set_as_current=False)
    app.conf.update(
        # A half-open connection must not hang a process for good: without both timeouts and checks a worker never came back.
        broker_transport_options={
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 4,
            "client_name": f"fleetcast-{role}",
        },
        # A worker waits for its broker for ever; the ledger keeps the work meanwhile.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # The lease decides who runs a job, not the broker's connection.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Early ack: a message is a doorbell, the ledger brings a lost job back. Late acks would ring twice and loop on poison.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        # No job waits behind a long one in a worker's own hands.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # The last net, behind the lease and the job's own timeout. A cohort on a CPU trains one after another.
        task_time_limit=int(settings.training_timeout_s * max(1, settings.cohort_size)) + 300,
        # A replaced child imports torch anew and opens its device; Celery's own 4 s would kill it, and the next one, for ever.
        worker_proc_alive_timeout=120.0,
        # Results and states live in Postgres.
        task_ignore_result=True,
        result_backend=None,
        # Nothing but JSON is read from the wire.
        task_serializer="json",
        accept_content=["json"],
        # A refused publish is tried again by the next round of the dispatcher, not by hidden retries.
        task_publish_retry=False,
        # A mistyped queue is an error, not a new queue nobody serves.
        task_create_missing_queues=False,
        task_queues=[Queue(name, routing_key=name) for name in QUEUES],
        task_default_queue=QUEUES[0],
        # Flower lives on these events.
        worker_send_task_events=True,
        task_send_sent_event=False,
        worker_hijack_root_logger=False,
        # Our log lines are whole JSON objects already.
        worker_redirect_stdouts=False,
        # 25 s to stop at the next batch and hand the job back, inside the usual 60 s of grace.
        worker_soft_shutdown_timeout=0.0,
        worker_detect_quorum_queues=False,
    )
    return app
