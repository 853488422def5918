"""The catalogue of metrics: every number that operators are shown, with its name, its labels and what it means.

`table()` is the table of docs/operations.md, and a test holds the two together. No label ever names a tenant, an entity or a job.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, get_args

from db.census import TABLES
from db.drifts import VERDICTS
from db.expected import STATES
from db.ledger import INVARIANTS
from db.meter import Meter
from db.models import FAILED, TERMINAL, UNFINISHED
from db.readings import Metric
from tasks.jobs import QUEUES, SERVES, JobSpec
from tasks.problems import CATALOGUE as PROBLEMS

KINDS: tuple[str, ...] = tuple(spec.kind for spec in get_args(JobSpec))
#: Kinds that schedules ask for; a test holds them against `tasks.templates`, which this module cannot import.
SCHEDULED = tuple(kind for kind in KINDS if kind not in ("import", "what_if", "readiness"))
#: A worker whose WORKER_NAME does not begin with its kind and an @ is only known as a worker.
WEB, DISPATCHER, WORKER = "web", "dispatcher", "worker"
ROLES = (WEB, DISPATCHER, *SERVES, WORKER)
#: How a try at a job ends, besides those that end the job: `retried`, `drained` and `handed_back` (its spec or its artefact is of a newer
#: release than the worker) bring it back to the queue, `exhausted` was its last, `fenced` had lost its lease, and of an `unrecorded` one
#: Postgres could not be told.
OUTCOMES = (*TERMINAL, "retried", "drained", "handed_back", "exhausted", "fenced", "unrecorded")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
STATUSES = tuple(str(status.value) for status in HTTPStatus)
APPLICATIONS = tuple(f"fleetcast-{name}" for name in ("web", "metrics", "dispatcher", "dispatcher-listen", "worker", "worker-parent"))

#: From a poll answered out of Redis to the longest that a request may wait for its job.
_REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: From a forecast, which runs in milliseconds, to a batch's last training, which may wait for days.
_JOB_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0, 21600.0, 86400.0)

# What Postgres and Redis tell when they are asked.
POSTGRES_UP = Metric("fleetcast_postgres_up", "gauge", "Whether Postgres answered this scrape in time.")
REDIS_UP = Metric("fleetcast_redis_up", "gauge", "Whether Redis answered this scrape. Without it, what the processes count is left out.")
JOBS = Metric("fleetcast_jobs", "gauge", "Unfinished jobs, without the parents of batches.", {"kind": KINDS, "state": UNFINISHED})
BATCHES = Metric("fleetcast_batches", "gauge", "Batches with unfinished items.")
QUEUE_JOBS = Metric("fleetcast_queue_jobs", "gauge", "Jobs in each queue.", {"queue": QUEUES, "state": UNFINISHED})
QUEUE_OLDEST = Metric(
    "fleetcast_queue_oldest_due_seconds", "gauge", "How long the oldest due job has waited; 0 when none is due.", {"queue": QUEUES}
)
QUEUE_LIMIT = Metric(
    "fleetcast_queue_limit_jobs", "gauge", "Queued jobs that one queue takes before new ones are answered 503 (MAX_QUEUE)."
)
LEASE_AGE = Metric("fleetcast_lease_age_seconds", "gauge", "Time since the lease was renewed that was not renewed for longest.")
LEASES_LAPSED = Metric("fleetcast_leases_lapsed", "gauge", "Leases that ran out and are not reaped yet.")
DELIVERIES_PENDING = Metric("fleetcast_webhook_deliveries_pending", "gauge", "Deliveries on their way to webhooks that are not disabled.")
DELIVERIES_OLDEST = Metric(
    "fleetcast_webhook_oldest_pending_seconds", "gauge", "How long ago the oldest of them happened; 0 when none is on its way."
)
SCHEDULES_BEHIND = Metric(
    "fleetcast_schedules_behind_seconds", "gauge", "How long the schedule has waited that is due longest; 0 when none is due."
)
DATABASE_BYTES = Metric("fleetcast_database_bytes", "gauge", "Size of the whole database.")
TABLE_BYTES = Metric("fleetcast_table_bytes", "gauge", "Size of each table with its indexes.", {"table": TABLES})
CONNECTIONS = Metric(
    "fleetcast_postgres_connections", "gauge", "Connections to the database, by who holds them.", {"application": APPLICATIONS}
)
CONNECTIONS_LIMIT = Metric("fleetcast_postgres_connections_limit", "gauge", "Connections that Postgres allows in all (max_connections).")

# What living processes hold.
PROCESSES = Metric("fleetcast_processes", "gauge", "Processes that gave a sign of life in the last 15 s.", {"role": ROLES})
TENANTS = Metric("fleetcast_tenants", "gauge", "Tenants, as of the dispatcher's last tidying (TIDY_S).", together="max")
ENTITIES = Metric("fleetcast_entities", "gauge", "Entities, as of the last tidying.", together="max")
VERSIONS = Metric("fleetcast_versions", "gauge", "Versions that have their artefact, as of the last tidying.", together="max")
ARTEFACT_BYTES = Metric("fleetcast_artefact_bytes", "gauge", "Bytes of these artefacts, as of the last tidying.", together="max")
MODELS = Metric(
    "fleetcast_models",
    "gauge",
    "Models by how their inputs and errors stand to the time when they were trained, as last judged (DRIFT_S).",
    {"verdict": VERDICTS},
    together="max",
)
EXPECTED = Metric(
    "fleetcast_expected_models",
    "gauge",
    "Models that schedules let expect: present, missing, or older than their schedule lets them become, as of the last tidying.",
    {"state": STATES},
    together="max",
)
BROKEN = Metric(
    "fleetcast_invariants_broken",
    "gauge",
    "Rows that broke each invariant at the last tidying.",
    {"invariant": tuple(INVARIANTS)},
    together="max",
)
SOURCE_UP = Metric(
    "fleetcast_source_up",
    "gauge",
    "Whether a source answered at the last look (SOURCE_PROBE_S). Sources of files are not asked.",
    {"source": None},
    together="max",
)
SOURCE_LAG = Metric(
    "fleetcast_source_lag_seconds", "gauge", "How far a follower was behind at the last look.", {"source": None}, together="max"
)
DEVICE_ALLOCATED = Metric(
    "fleetcast_device_memory_allocated_bytes", "gauge", "Memory of a CUDA device that tensors take.", {"worker": None, "device": None}
)
DEVICE_RESERVED = Metric(
    "fleetcast_device_memory_reserved_bytes",
    "gauge",
    "Memory of a CUDA device that a worker keeps for itself.",
    {"worker": None, "device": None},
)
DEVICE_TOTAL = Metric(
    "fleetcast_device_memory_total_bytes", "gauge", "Memory of a CUDA device.", {"worker": None, "device": None}, together="max"
)
STORAGE_FREE = Metric(
    "fleetcast_storage_free_bytes",
    "gauge",
    "Bytes that a worker can still write where artefacts are kept; 0 where it may only read.",
    {"worker": None},
    together="max",
)
STORAGE_TOTAL = Metric("fleetcast_storage_total_bytes", "gauge", "Size of that disk.", {"worker": None}, together="max")

# What the processes count.
JOBS_ENDED = Metric(
    "fleetcast_jobs_ended_total",
    "counter",
    "Jobs that ended, by the state they ended in. A batch is counted by its items.",
    {"kind": KINDS, "state": TERMINAL},
)
JOBS_FAILED = Metric("fleetcast_jobs_failed_total", "counter", "Failed jobs by problem.", {"kind": KINDS, "code": tuple(PROBLEMS)})
JOB_WAIT = Metric(
    "fleetcast_job_wait_seconds", "histogram", "Time from when a try was due until a worker claimed it.", {"kind": KINDS}, _JOB_S
)
JOB_RUN = Metric("fleetcast_job_run_seconds", "histogram", "Time from the last claim of a job to its end.", {"kind": KINDS}, _JOB_S)
ATTEMPTS_ENDED = Metric(
    "fleetcast_attempts_ended_total",
    "counter",
    "Tries by how they ended; `fenced`: the lease was lost; `handed_back`: left to a worker of a newer release.",
    {"kind": KINDS, "outcome": OUTCOMES},
)
ATTEMPTS_FAILED = Metric(
    "fleetcast_attempts_failed_total",
    "counter",
    "Tries that met a problem, those that are made again among them.",
    {"kind": KINDS, "code": tuple(PROBLEMS)},
)
ARTEFACTS_CORRUPT = Metric("fleetcast_artefacts_corrupt_total", "counter", "Damaged artefacts met; none of them was used.")
LEASES_REAPED = Metric("fleetcast_leases_reaped_total", "counter", "Tries given up because their worker fell silent.", {"kind": KINDS})
BELLS = Metric("fleetcast_bells_rung_total", "counter", "Messages sent to workers, those sent again among them.", {"queue": QUEUES})
BELLS_AGAIN = Metric("fleetcast_bells_rung_again_total", "counter", "Messages sent again because they were lost.", {"queue": QUEUES})
SCHEDULE_RUNS = Metric(
    "fleetcast_schedule_runs_total",
    "counter",
    "Runs of schedules by what became of them; one that waits is counted each time that it is tried.",
    {"kind": SCHEDULED, "state": ("fired", "waiting", "skipped", "failed")},
)
SCHEDULES_LATE = Metric(
    "fleetcast_schedules_late_total", "counter", "Runs fired so late that they were missed (SCHEDULE_GRACE_S).", {"kind": SCHEDULED}
)
WORKER_CRASHES = Metric("fleetcast_worker_crashes_total", "counter", "Worker processes that died at their work.")
PUBLICATIONS_REPEATED = Metric("fleetcast_publications_repeated_total", "counter", "Publications begun again because Postgres was away.")
HEARTBEATS_MISSED = Metric("fleetcast_heartbeats_missed_total", "counter", "Renewals of leases that Postgres did not answer.")
COHORT_SIZE = Metric(
    "fleetcast_cohort_jobs",
    "histogram",
    "Trainings, or predictions of a batch, taken up together.",
    buckets=(1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0),
)
CACHE_LOOKUPS = Metric(
    "fleetcast_cache_lookups_total",
    "counter",
    "Looks into the forecast cache and the mirror of jobs' status.",
    {"cache": ("forecast", "status"), "outcome": ("hit", "miss")},
)
DELIVERIES = Metric(
    "fleetcast_webhook_deliveries_total",
    "counter",
    "Tries at telling a webhook by how they ended; `failed` was the last one, `late` outlived its lease.",
    {"outcome": ("delivered", "retried", "failed", "late")},
)
REDIS_TRIPS = Metric("fleetcast_redis_breaker_trips_total", "counter", "How often a process found the cache's Redis away.")
REQUESTS = Metric("fleetcast_http_requests_total", "counter", "Requests answered.", {"method": METHODS, "route": None, "status": STATUSES})
REQUEST_TIME = Metric(
    "fleetcast_http_request_seconds",
    "histogram",
    "Time to answer, until an answer that streams begins. What a client asked to wait is part of it.",
    {"method": METHODS, "route": None},
    _REQUEST_S,
)
REFUSED = Metric("fleetcast_requests_refused_total", "counter", "Requests answered with a problem.", {"code": tuple(PROBLEMS)})

CATALOGUE: tuple[Metric, ...] = tuple(found for found in list(globals().values()) if isinstance(found, Metric))


def count_end(meter: Meter, found: Mapping[str, Any]) -> None:
    """Count the end of a job, given its document. A batch is no work of its own."""
    if found["batch"]:
        return
    meter.count(JOBS_ENDED, found["kind"], found["state"])
    if found["state"] == FAILED:
        meter.count(JOBS_FAILED, found["kind"], (found["error"] or {}).get("code", ""))


def table() -> str:
    """The catalogue as a table in Markdown."""
    rows = [f"| `{m.name}` | {m.kind} | {', '.join(f'`{label}`' for label in m.labels)} | {m.help} |" for m in CATALOGUE]
    return "\n".join(["| name | type | labels | meaning |", "|---|---|---|---|", *rows])
