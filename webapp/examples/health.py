"""Health: what load balancers and operators look at."""

from __future__ import annotations

from webapp.examples.example import Example

CHAPTER: tuple[Example, ...] = (
    Example("healthz", "The process is alive", answer={"status": "alive"}),
    Example("readyz", "Everything is there", answer={"ready": True, "postgres": True, "redis": True, "migrations": True, "fix": None}),
    Example(
        "queues",
        "How full the queues are",
        answer={"data": [{"queue": "interactive", "queued": 0, "running": 0, "oldest_due_s": None}]},
    ),
    Example("get_metrics", "What Prometheus reads", answer="# HELP …\n# TYPE …\n", answer_type="text/plain"),
)
