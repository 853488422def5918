"""Sources over HTTP: named, measured before a job stands, and refused in words that point at the field."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support.follower import Follower, follower
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
    file.write_text(there.toml() + there.toml("torn").replace("temp_f", "no_such_column") + there.toml("away").replace("/test_", "/gone_"))
    runtime = make_runtime(engine, redis_url, sources_file=str(file), source_timeout_s=5.0)
    yield make_house(runtime)
    runtime.sources.close()


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
    assert answer.json["errors"][0]["detail"] == "no such source; known: stored, away, follower, torn"


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
