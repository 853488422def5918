"""Every setting, its variable, its default and why.

`SETTINGS` is the configuration table of the README: `fleetcast settings` prints it and a test holds the two together.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any


class SettingsError(Exception):
    """A variable holds something that cannot be used."""

    def __init__(self, variable: str, value: str, fix: str) -> None:
        super().__init__(f"{variable}={value!r}: {fix}")


#: Texts that are looked at when they are read: words with commas between.
Schemes = str
Networks = str


def _setting(default: Any, why: str, *variables: str, low: float | None = None, secret: bool = False) -> Any:
    """A field that is read from the first of `variables` that is set (its own name in capitals comes first)."""
    return field(default=default, repr=not secret, metadata={"why": why, "variables": variables, "low": low, "secret": secret})


@dataclass(frozen=True, slots=True)
class Settings:
    """What every process is told. Frozen: nothing changes its mind while running."""

    database_url: str = _setting("", "Postgres. Empty: `fleetcast up` starts an embedded one.", secret=True)
    redis_url: str = _setting("", "Broker (Redis or Valkey). Empty: `fleetcast up` starts an embedded one. Must not evict.", secret=True)
    cache_url: str = _setting("", "Redis for status and cached forecasts; may evict. Empty: the broker's.", secret=True)
    fleetcast_folder: str = _setting("", "Where `fleetcast up` keeps data, logs and models. Empty: your state folder.")
    model_dir: Path = _setting(Path("models"), "Folder of artefacts, shared by all workers.", "MODEL_STORAGE_PATH")
    api_host: str = _setting("127.0.0.1", "Address the API listens on.")
    api_port: int = _setting(8000, "Port of the API.", "ML_SERVICE_PORT", low=0)
    web_workers: int = _setting(1, "gunicorn processes; each serves many requests at once through gevent.", low=1)
    flower_port: int = _setting(5555, "Port of Flower.", low=0)
    log_level: str = _setting("INFO", "Least level that is logged.")
    device: str = _setting("auto", "`cpu`, `cuda` or `auto`: CUDA where a card is found, else CPU.")
    worker_concurrency: int = _setting(1, "Jobs one worker runs at once; a GPU worker is 1.", "MAX_CONCURRENT_TRAINING", low=1)
    lease_s: float = _setting(30.0, "A worker silent for so long has lost its job. Three missed heartbeats.", low=1)
    stall_timeout_s: float = _setting(120.0, "A phase without progress for so long stops being renewed: hung is dead.", low=1)
    training_timeout_s: float = _setting(3600.0, "Longest one try may run; a training takes seconds to minutes.", "TRAINING_TIMEOUT", low=1)
    deadline_s: float = _setting(86_400.0, "A job not finished so long after it was accepted fails as `deadline_exceeded`.", low=1)
    batch_deadline_s: float = _setting(604_800.0, "The same for items of a batch: ten thousand trainings take one worker days.", low=1)
    max_attempts: int = _setting(5, "Tries at one job before it fails for good.", low=1)
    max_crashes: int = _setting(3, "Tries that took their process down before the job fails as `worker_lost`.", low=1)
    retry_base_s: float = _setting(5.0, "First back-off of a transient failure; doubles each time, with full jitter.", low=0)
    retry_cap_s: float = _setting(900.0, "Longest back-off.", low=0)
    cohort_size: int = _setting(0, "Trainings of one shape taken up together. 0: 64 on CUDA, 1 on CPU, where nothing is gained.", low=0)
    prediction_cohort: int = _setting(
        64, "Predictions of a batch answered in one pass; four such cohorts of a tenant run at once (`TENANT_MAX_RUNNING`).", low=1
    )
    dispatch_window: int = _setting(
        200, "Doorbells a queue holds at most; the rest waits in Postgres, where order and fairness live.", low=1
    )
    dispatch_poll_s: float = _setting(1.0, "How often the dispatcher looks without being called.", low=0.01)
    redispatch_s: float = _setting(60.0, "A doorbell not answered for so long, and no longer in Redis, is rung again.", low=0.1)
    reconcile_s: float = _setting(5.0, "How often leases, deadlines and cancels are swept.", low=0.1)
    schedule_grace_s: float = _setting(
        300.0, "A run fired later than this was missed: its schedule's `missed` says what then. A restart takes less.", low=1
    )
    schedule_retry_s: float = _setting(30.0, "A run that found no room in quota or queue is tried again after so long.", low=0.1)
    schedule_run_retention_days: int = _setting(90, "Runs of schedules older than this are purged.", low=1)
    tenant_max_schedules: int = _setting(1000, "Schedules a tenant may have before 409; one is enough for thousands of entities.", low=1)
    tidy_s: float = _setting(600.0, "How often old rows are purged, orphaned artefacts collected and invariants checked.", low=0.1)
    max_queue: int = _setting(100_000, "Jobs one queue holds before new ones are answered 503.", low=1)
    tenant_max_unfinished: int = _setting(20_000, "Unfinished jobs a new tenant may hold before 429.", low=1)
    tenant_max_running: int = _setting(256, "Jobs of a new tenant that may run at once in one queue; four cohorts of a GPU worker.", low=1)
    forecast_ttl_s: int = _setting(86_400, "How long a cached forecast is served: a day, as daily data wants.", low=1)
    status_ttl_s: int = _setting(86_400, "How long a finished job's status stays in Redis.", low=1)
    cache_timeout_s: float = _setting(0.05, "Longest wait for the cache before Postgres answers instead.", low=0.001)
    keep_versions: int = _setting(5, "Versions of a model kept with their artefacts; the active one always is.", low=1)
    job_retention_days: int = _setting(30, "Finished jobs older than this are purged.", low=1)
    anomaly_retention_days: int = _setting(365, "Anomalies found longer ago than this are purged.", low=1)
    accuracy_days: int = _setting(90, "Forecasts of so many days, back from the newest row, are held against what happened.", low=1)
    forecast_retention_days: int = _setting(
        90,
        "Forecasts made longer ago are purged, but for each model's newest and those that ACCURACY_DAYS still holds against what happened.",
        low=1,
    )
    drift_s: float = _setting(3600.0, "A model whose data changed is judged anew at most so often: drift takes days.", low=0.1)
    idempotency_hours: int = _setting(24, "How long an Idempotency-Key is remembered.", low=1)
    loaded_models: int = _setting(256, "Versions a worker keeps in memory, least recently used first out.", low=1)
    max_body_bytes: int = _setting(16 * 2**20, "Largest request body: about 200,000 observations as JSON.", low=1024)
    max_stream_bytes: int = _setting(
        2**30, "Largest body of lines or CSV, unpacked. It is never held here, but Postgres keeps it aside until its end.", low=1024
    )
    max_inflows: int = _setting(
        4, "Such bodies that may flow into one web process at once: each holds one of its twenty connections to Postgres.", low=1
    )
    max_values: int = _setting(
        20_000_000,
        "Values, and lines, that one delivery may bring: they wait beside the tables until all are there, in some 2 GB of disk.",
        low=1,
    )
    max_channels: int = _setting(1000, "Channels that one delivery may name: a row as wide as that has a third of the longest line.", low=1)
    max_rejected: int = _setting(
        100_000,
        "Rows of one delivery that may be passed over before it is refused: a body of nothing else would keep a web process busy.",
        low=0,
    )
    max_blank: int = _setting(1_000_000, "Blank lines that one delivery may have, for the same reason; exports have a few.", low=0)
    rate_limit_per_minute: int = _setting(
        30_000, "Requests a tenant may send in a minute, over all web processes: half of the polls that one answers. 0: no limit.", low=0
    )
    login_hours: float = _setting(12.0, "How long a login to the dashboard lasts: a working day.", low=0.001)
    login_tries_per_minute: int = _setting(
        20, "Logins that one address may fail at in a minute. Nobody types as fast, and no more keys are looked up than that.", low=1
    )
    log_requests: str = _setting("writes", "Requests that are logged: `all`, `writes` (and whatever is refused) or `none`.")
    max_batch: int = _setting(10_000, "Entities one batch may name.", low=1)
    max_wait_s: float = _setting(30.0, "Longest a request may ask to wait for its job.", low=0)
    max_streams: int = _setting(500, "Event streams one web process holds open: half of its thousand connections.", low=1)
    tenant_max_streams: int = _setting(250, "The same of one tenant: half, so that no tenant takes every place.", low=1)
    max_waits: int = _setting(400, "Requests that may wait for a job at once in one web process; further ones are answered at once.", low=0)
    tenant_max_waits: int = _setting(250, "The same of one tenant.", low=0)
    stream_heartbeat_s: float = _setting(15.0, "Pause between a stream's signs of life; proxies cut what is silent for a minute.", low=0.01)
    stream_lifetime_s: float = _setting(
        3600.0, "A stream closes after so long, and its client comes back where it was: a revoked key reads on for no longer.", low=0.1
    )
    webhook_schemes: Schemes = _setting("https", "Schemes that webhooks may have: `https`, or `https,http` in a network that you trust.")
    webhook_networks: Networks = _setting(
        "", "Networks that are not public and that webhooks may lead to all the same, as `10.1.0.0/16,fd12::/48`. Empty: none."
    )
    webhook_timeout_s: float = _setting(15.0, "Longest that one try at a delivery may take.", low=0.1)
    webhook_at_once: int = _setting(16, "Deliveries that one dispatcher has under way at once.", low=1)
    webhook_host_at_once: int = _setting(4, "The same to one host: a slow receiver holds up no other.", low=1)
    webhook_tenant_at_once: int = _setting(8, "The same of one tenant: half, so that none takes every place.", low=1)
    tenant_max_webhooks: int = _setting(20, "Webhooks of one tenant; each end of a job is written down for each that wants it.", low=0)
    delivery_retention_days: int = _setting(30, "Deliveries older than this are purged, as long as jobs are kept.", low=1)
    audit_retention_days: int = _setting(
        730, "Entries of the audit older than this are purged: two years, so that a yearly look sees the last.", low=1
    )
    min_training_samples: int = _setting(100, "Least rows of `device-metric`.", low=1)
    lstm_sequence_length: int = _setting(50, "Window of `device-metric`.", low=2)
    lstm_forecast_horizon: int = _setting(12, "Horizon of `device-metric`.", low=1)
    recipes_file: str = _setting("", "TOML file of recipes, laid over the built-in ones. Empty: none.")
    sources_file: str = _setting("", "TOML file of sources that jobs may read besides the built-in store. Empty: none.")
    source_timeout_s: float = _setting(
        30.0, "Longest wait for a source's connection and for one statement: a quarter of STALL_TIMEOUT_S.", low=0.1
    )
    source_probe_s: float = _setting(60.0, "How often the dispatcher asks each source whether it answers, for the metrics.", low=1)
    source_max_rows: int = _setting(2_000_000, "Rows one reading of a source may bring: 32 MB per channel.", low=1)
    sinks_file: str = _setting("", "TOML file of the databases that forecasts may also be written to. Empty: none.")
    worker_name: str = _setting("", "Name of this worker in leases and Flower. Empty: the host's name.")
    flower_basic_auth: str = _setting("", "`user:password` of Flower. `fleetcast up` makes one.", secret=True)
    flower_url_prefix: str = _setting("", "Path below which a proxy serves Flower, such as `flower`. Empty: none.")
    flower_folder: Path = _setting(Path("flower-state"), "Folder in which Flower keeps what it has seen; readable by this user alone.")
    flower_max_tasks: int = _setting(20_000, "Tasks Flower remembers; it writes all of them down every 10 s.", low=1)

    @property
    def cache(self) -> str:
        return self.cache_url or self.redis_url

    @property
    def recipe_changes(self) -> Mapping[str, Mapping[str, Any]]:
        """What the variables of the earlier services change in the presets."""
        changes = {"window": self.lstm_sequence_length, "horizon": self.lstm_forecast_horizon, "min_rows": self.min_training_samples}
        return {"device-metric": changes}

    @property
    def host(self) -> str:
        return self.worker_name or socket.gethostname()


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Those named, commas between. Raises ValueError."""
    return tuple(ip_network(each.strip()) for each in text.split(",") if each.strip())
