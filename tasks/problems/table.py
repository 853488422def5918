"""The catalogue in Markdown, as docs/errors.md shows it."""

from __future__ import annotations

from tasks.problems import CATALOGUE


def catalogue_table() -> str:
    return "\n\n".join(
        (
            "## In answers to requests",
            _table(in_jobs_only=False),
            "## Inside jobs",
            "These stand in a failed job's `error`, in its events and in the answer to `GET /jobs/{id}/result`, and are no other answer's.",
            _table(in_jobs_only=True),
        )
    )


def _table(*, in_jobs_only: bool) -> str:
    rows = ["| code | status | what happened | what to do | again? |", "|---|---|---|---|---|"]
    for code, kind in CATALOGUE.items():
        if kind.in_jobs_only == in_jobs_only:
            rows.append(f"| `{code}` | {kind.status} | {kind.title}. {kind.cause} | {kind.fix} | {'yes' if kind.retryable else 'no'} |")
    return "\n".join(rows)
