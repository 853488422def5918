"""Sources over HTTP: named, measured before a job stands, and refused in words that point at the field."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from sqlalchemy import Engine

from tasks.workshop import Workshop
from tests.support.follower import Follower, follower
from tests.support.lake import lake, pour
from tests.support.road import work_off
from tests.support.servers import Servers
from tests.support.web import START, Caller, House, make_house, make_runtime


@pytest.fixture(scope="module")
def there(live: Servers) -> Iterator[Follower]:
    with follower(live.database_url) as made:
        made.write({"room": [(START + timedelta(hours=n), 68.0 + n % 7, 40.0 + n % 5) for n in range(120)]})
        yield made


@pytest.fixture
def house(engine: Engine, redis_url: str, there: Follower, tmp_path: Path) -> Iterator[House]:
    file = tmp_path / "sources.toml"
    torn = there.toml("torn").replace("temp_f", "no_such_column")
    file.write_text(there.toml() + torn + there.toml("away").replace("/test_", "/gone_") + lake(tmp_path))
    runtime = make_runtime(engine, redis_url, sources_file=str(file), source_timeout_s=5.0, lease_s=5.0)
    yield make_house(runtime)
    runtime.sources.close()


@pytest.fixture
def at_work(house: House) -> Iterator[None]:
    """A worker, as far as it takes one to answer."""
    over, shop = threading.Event(), Workshop(house.runtime, "cpu")

    def work() -> None:
        while not over.wait(0.05):
            work_off(shop)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        yield
        over.set()
        done.result(30)


SCENARIO = {"name": "s", "changes": [{"channel": "rhr", "op": "add", "value": 1}]}
TRAINING = {"entity": "room", "recipe": "sensor-climate", "source": "follower"}


def test_a_training_names_its_source_and_the_entity_is_made(house: House, me: Caller) -> None:
    answer = me.post("/models/train", TRAINING)
    assert answer.status_code == 202, answer.json
    assert answer.json["spec"]["source"] == "follower"
    assert answer.json["spec"]["spec"]["targets"] == ["temperature", "humidity"], "resolved by what the follower has"
    assert me.get("/entities/room").json["channels"] == []


def test_readiness_measures_what_the_source_has_of_an_entity_that_is_not_known_here(me: Caller) -> None:
    told = me.get("/entities/room/readiness?recipe=sensor-climate&source=follower").json
    assert (told["ready"], told["requirements"][0]["have"]) == (True, 120)
    assert me.get("/entities/room/readiness?recipe=sensor-climate").status_code == 404
    assert me.get("/entities").json["data"] == [], "measuring makes nobody"


IN_THE_LAKE = "/entities/shore/readiness?recipe=sensor-climate&source=lake"


def test_readiness_of_files_is_measured_by_a_worker_and_waited_for(me: Caller, at_work: None, tmp_path: Path) -> None:
    moments = [START + timedelta(hours=n) for n in range(120)]
    pour(tmp_path, "shore", {"temperature": range(120), "humidity": range(120)}, moments)
    told = me.get(IN_THE_LAKE)
    assert (told.status_code, told.json["entity"], told.json["target"], told.json["ready"]) == (200, "shore", "temperature", True)
    assert [each["have"] for each in told.json["requirements"]] == [120, 120, 120]
    assert me.get(IN_THE_LAKE.replace("shore", "nobody")).json["requirements"][0]["have"] == 0
    assert me.get("/entities").json["data"] == [], "measuring makes nobody"


def test_files_that_cannot_be_read_are_said_so_as_if_they_had_been_read_here(me: Caller, at_work: None, tmp_path: Path) -> None:
    (tmp_path / "shore.csv").write_text("when,temperature\n2026-01-01,1\n")
    answer = me.get(IN_THE_LAKE)
    assert (answer.status_code, answer.json["code"]) == (502, "source_unreadable")
    [job] = me.get("/jobs?kind=readiness").json["data"]
    assert (job["state"], job["attempt"]) == ("failed", 1), "it is not tried again: whoever asked may ask again"


def test_who_does_not_wait_for_the_worker_gets_its_job(me: Caller, house: House, tmp_path: Path) -> None:
    pour(tmp_path, "shore", {"temperature": range(120)}, [START + timedelta(hours=n) for n in range(120)])
    answer = me.get(IN_THE_LAKE, headers={"Prefer": "wait=0"})
    assert (answer.status_code, answer.json["kind"], answer.json["result"]) == (202, "readiness", None)
    work_off(Workshop(house.runtime, "cpu"))
    found = me.get(f"/jobs/{answer.json['id']}").json
    assert found["result"]["requirements"][0]["have"] == 120
    assert answer.headers["Location"].endswith(found["id"])


def test_a_measurement_that_was_cancelled_is_no_answer(me: Caller, house: House) -> None:
    with patch("webapp.answers.ended", side_effect=lambda *_: me.post(f"/jobs/{me.get('/jobs').json['data'][0]['id']}/cancel").json):
        answer = me.get(IN_THE_LAKE)
    assert (answer.status_code, answer.json["code"]) == (500, "internal")


def test_what_is_wrong_with_the_question_needs_no_worker(me: Caller) -> None:
    answer = me.get("/entities/shore/readiness?recipe=device-metric&source=lake")
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/query/target")
    assert me.get("/jobs").json["data"] == []


@pytest.mark.parametrize(("source", "who"), [("follower", "room"), ("lake", "source lake")])
def test_a_target_that_a_source_does_not_have_is_a_field_to_mend(me: Caller, source: str, who: str) -> None:
    answer = me.post("/models/train", {"entity": "room", "recipe": "device-metric", "target": "temprature", "source": source})
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
    [fault] = answer.json["errors"]
    assert fault["pointer"] == "/target"
    assert fault["detail"].startswith(f"{who} has no such channel; it has: ")
    assert {"temperature", "humidity"} <= set(fault["detail"].partition("it has: ")[2].split(", "))


def test_a_detector_and_a_backtest_of_files_are_accepted_for_a_worker_to_measure(trained: Caller) -> None:
    watched = trained.post("/anomalies/train", {"entity": "shore", "channels": ["temperature"], "source": "lake"})
    assert (watched.status_code, watched.json["spec"]["spec"]["channels"]) == (202, ["temperature"])
    unknown = trained.post("/anomalies/train", {"entity": "shore", "channels": ["rain"], "source": "lake"})
    assert (unknown.status_code, unknown.json["errors"][0]["pointer"]) == (422, "/channels")
    assert trained.post("/backtests", {"entity": "u", "recipe": "sensor-climate", "source": "lake"}).status_code == 202
    assert trained.post("/backtests", {"entity": "u", "target": "rhr", "source": "lake"}).status_code == 202


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/models/train", {"entity": "room", "recipe": "sensor-climate"}),
        ("/models/train", {"entities": ["room"], "recipe": "sensor-climate"}),
        ("/models/pretrain", {"name": "rooms", "entities": ["a", "b"], "recipe": "sensor-climate"}),
        ("/backtests", {"entity": "u", "recipe": "health-daily"}),
        ("/predict", {"entity": "u", "target": "rhr"}),
        ("/predict/batch", {"entities": ["u"], "targets": ["rhr"]}),
        ("/predict/what-if", {"entity": "u", "target": "rhr", "scenarios": [SCENARIO]}),
        ("/anomalies/train", {"entity": "u", "channels": ["rhr"]}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_source_that_is_not_known_is_refused_at_its_field(trained: Caller, path: str, body: dict[str, object]) -> None:
    answer = trained.post(path, body | {"source": "nowhere"})
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/source")
    assert answer.json["errors"][0]["detail"] == (
        "no such source; known: stored, away, follower, lake, torn. "
        "A new one has to be named in SOURCES_FILE for this tenant, and the house started again since."
    )


def test_readiness_of_a_source_that_is_not_known(me: Caller) -> None:
    answer = me.get("/entities/room/readiness?recipe=sensor-climate&source=nowhere")
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/query/source")


@pytest.mark.parametrize(("name", "code", "again"), [("torn", "source_unreadable", None), ("away", "source_unavailable", "10")])
def test_one_that_cannot_be_measured_is_said_so_and_no_job_stands(me: Caller, name: str, code: str, again: str | None) -> None:
    answer = me.post("/models/train", TRAINING | {"source": name})
    assert (answer.status_code, answer.json["code"], answer.headers.get("Retry-After")) == (502, code, again)
    assert "column" not in answer.text, "what their database says is for the operator"
    assert me.get("/jobs").json["data"] == []


def test_an_entity_whose_name_no_path_can_hold_is_not_made(me: Caller) -> None:
    answer = me.post("/models/train", TRAINING | {"entity": "a/../b"})
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/entity")


def test_nothing_is_measured_again_for_a_key_that_was_answered(house: House, me: Caller, there: Follower) -> None:
    key = {"headers": {"Idempotency-Key": "k"}}
    first = me.post("/models/train", TRAINING, **key).json["id"]
    house.runtime.sources.configs = {}
    assert me.post("/models/train", TRAINING, **key).json["id"] == first
