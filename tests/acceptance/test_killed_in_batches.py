"""A worker dies with a cohort of predictions in its hands, a dispatcher with a schedule's run: all of it happens once all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.processes import wait_until
from tests.chaos.book import opened
from tests.chaos.campaign import SCALED, set_up
from tests.chaos.clients import CHANNEL, ENTITIES
from tests.chaos.points import OF_COHORTS, OF_SCHEDULES
from tests.chaos.stage import Stage
from tests.chaos.verdict import BROKEN

PATIENCE_S = 90.0
#: Of a job: its state, and of its items those that succeeded, with the forecasts that they left.
_BATCH = """
SELECT state, (SELECT count(*) FROM jobs i WHERE i.parent_id = j.id AND i.state = 'succeeded'),
  (SELECT count(*) FROM forecasts f JOIN jobs i ON i.id = f.job_id WHERE i.parent_id = j.id)
FROM jobs j WHERE id = %(job)s
"""
_DONE = [("succeeded", len(ENTITIES), len(ENTITIES))]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("killed")
    with opened(folder / "clients.jsonl") as book, Stage(folder / "stage", SCALED) as raised:
        raised.start_all()
        set_up(raised, book)
        yield raised


def post(stage: Stage, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = httpx.post(f"{stage.url}/api/v1{path}", json=body, headers={"Authorization": f"Bearer {stage.key}"}, timeout=30)
    assert answer.status_code in (201, 202), answer.text
    found: dict[str, Any] = answer.json()
    return found


def batch(level: float) -> dict[str, Any]:
    """Everybody at once, asked as nobody was asked before."""
    return {"entities": ENTITIES, "targets": [CHANNEL], "level": level}


def require_unbroken(stage: Stage) -> None:
    assert {promise: found for promise, query in BROKEN.items() if (found := stage.rows(query))} == {}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(OF_COHORTS)), ids=[point.name for point in OF_COHORTS])
def test_a_cohort_whose_worker_dies_is_answered_once(stage: Stage, number: int) -> None:
    stage.arm(OF_COHORTS[number].name)
    job = post(stage, "/predict/batch", batch(0.6 + 0.01 * number))["id"]
    assert wait_until(lambda: stage.rows(_BATCH, job=job) == _DONE, PATIENCE_S, pause=0.3), stage.rows(_BATCH, job=job)
    assert OF_COHORTS[number].name in stage.hit(), "nobody died there"
    require_unbroken(stage)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(OF_SCHEDULES)), ids=[point.name for point in OF_SCHEDULES])
def test_a_run_whose_dispatcher_dies_is_fired_once(stage: Stage, number: int) -> None:
    template = {"predict": batch(0.7 + 0.01 * number)}
    made = post(stage, "/schedules", {"name": OF_SCHEDULES[number].name, "every_s": 86_400, "template": template})
    stage.arm(OF_SCHEDULES[number].name)
    with stage.postgres() as connection:
        connection.execute("UPDATE schedules SET due_at = clock_timestamp(), next_at = clock_timestamp() WHERE id = %s", [made["id"]])
    runs = "SELECT state, job_id FROM schedule_runs WHERE schedule_id = %(id)s"
    assert wait_until(lambda: bool(stage.rows(runs, id=made["id"])), PATIENCE_S, pause=0.3)
    [(state, job)] = stage.rows(runs, id=made["id"])
    assert wait_until(lambda: stage.rows(_BATCH, job=job) == _DONE, PATIENCE_S, pause=0.3), stage.rows(_BATCH, job=job)
    assert (state, OF_SCHEDULES[number].name in stage.hit()) == ("fired", True)
    [(before,)] = stage.rows("SELECT count(*) FROM jobs WHERE children IS NOT NULL")
    assert before == len(OF_COHORTS) + number + 1, "one batch for each that was asked for, and none for a run that was taken back"
    require_unbroken(stage)
