"""The examples of the document are requests that work: run in their order, each answers as its example shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from db.models import Delivery, Version
from tasks import status
from tasks.firing import fire_now
from tasks.lease import Lease
from tasks.problems import problem
from tests.support.asking import ask
from tests.support.contract import contract_of
from tests.support.listening import Heard, events
from tests.support.watched import judge
from tests.support.watched import learn as learn_usual
from tests.support.web import START, Caller, House, make_house, make_runtime
from webapp.examples import EXAMPLES
from webapp.examples.example import Example

STREAM = "text/event-stream"
Deed = Callable[[House, Caller, Any], Any]


def _train(house: House, caller: Caller, job: Any) -> None:
    """Two epochs, of which watchers are told, and a version."""
    claim = house.claim(job["id"])
    held = Lease(house.runtime, [claim])
    for epoch in (1, 2):
        held.progress(job["id"], "fit", fraction=0.1, epoch=epoch, epochs=60, train_loss=0.5, val_loss=0.6, best_epoch=epoch)
    held.tell(job["id"])
    house.publish(caller, job["id"], claim=claim)


def _fail_item(house: House, caller: Caller, jobs: Any) -> None:
    """The only one of the batch that is listed first."""
    [item] = caller.get(f"/jobs/{jobs['data'][0]['id']}/items").json["data"]
    house.fail(caller, item["id"], problem("training_diverged", "The loss left the numbers.", epoch=3))


def _train_again(house: House, caller: Caller, _: Any) -> None:
    """So that there are two versions to move the flag between."""
    body = {"entity": "user-42", "recipe": "health-daily", "target": "rhr", "spec": {"epochs": 80}}
    house.publish(caller, caller.post("/models/train", body).json["id"])


def _publish(house: House, caller: Caller, job: Any) -> None:
    house.publish(caller, job["id"])


def _give_up(house: House, *_: Any) -> None:
    """As after the last of all tries."""
    with house.runtime.sessions.begin() as session:
        session.execute(update(Delivery).values(state="failed", attempt=7, status_code=503, error="The answer was 503."))


def _fire(house: House, caller: Caller, schedule: Any) -> None:
    """So that there is a job of it; what was trained so far is still under way, or done."""
    with house.runtime.sessions.begin() as session:
        session.execute(update(Version).values(created_at=START))
    assert fire_now(house.runtime, caller.tenant_id, schedule["id"]).state == "fired"


#: What happens between two examples, where a worker does its part: by operation, and by how often it was shown before.
DEEDS: Mapping[tuple[str, int], Deed] = {
    ("train", 0): _train,
    ("pretrain", 0): _publish,
    ("train", 3): _publish,
    ("predict", 0): lambda house, caller, job: house.forecast(caller, job["id"]),
    ("what_if", 0): lambda house, caller, job: house.compare(caller, job["id"]),
    ("backtest", 0): lambda house, caller, job: house.look_back(caller, job["id"]),
    ("train_detector", 0): lambda house, caller, job: learn_usual(house, caller, job["id"]),
    ("detect_anomalies", 0): lambda house, caller, job: judge(house, caller, job["id"]),
    ("create_schedule", 0): _fire,
    ("retry_job", 0): _train_again,
    ("list_jobs", 0): _fail_item,
    ("test_webhook", 0): _give_up,
    ("list_activations", 0): lambda house, *_: house.shelve(),
}


@pytest.fixture
def house(engine: Engine, redis_url: str, tmp_path: Path) -> House:
    return make_house(make_runtime(engine, redis_url, model_dir=tmp_path))


def test_the_story(house: House, me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "BATCH_TTL_S", 0.001)  # the items of a batch are counted whenever one ends
    contract, known, told = contract_of(house.app), dict[str, str](), Counter[str]()
    for example in EXAMPLES:
        operation, where = contract.operations[example.operation], f"{example.operation}: {example.summary}"
        answer = ask(me, operation, replace(example, path={name: known.get(value, value) for name, value in example.path.items()}))
        assert answer.status_code == example.status, (where, answer.text)
        contract.check(operation, answer)
        if answer.data and answer.mimetype == "application/json":
            learn(example.answer, answer.json, known)
            assert fits(example.answer, answer.json), (where, answer.json)
        elif answer.data:
            assert answer.mimetype == example.answer_type, where
            if answer.mimetype == STREAM:
                assert streams_fit(read_stream(example.answer), read_stream(answer.text)), (where, answer.text)
        if answer.status_code == 202:
            me.get(f"/jobs/{answer.json['id']}")  # as whoever is told so does next: from then on its watchers are told of everything
        deed = DEEDS.get((example.operation, told[example.operation]), lambda *_: None)
        deed(house, me, answer.json if answer.data and answer.is_json else None)
        told[example.operation] += 1
    assert told.keys() == contract.operations.keys(), "every operation has its example"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.operation}: {example.summary}")
def test_an_answer_shown_fits_its_schema(house: House, example: Example) -> None:
    contract = contract_of(house.app)
    operation = contract.operations[example.operation]
    if example.answer_type == "application/json" and example.answer is not None:
        assert contract.faults(contract.place(operation, str(example.status), example.answer_type), example.answer) == []
    for heard in read_stream(example.answer) if example.answer_type == STREAM else ():
        contract.check_event(operation, heard.event, heard.data)
    if example.body is not None and example.media_type == "application/json":
        assert contract.faults(contract.place_of_request(operation, example.media_type), example.body) == []


def test_lines_and_csv_are_shown_as_they_are(house: House, me: Caller) -> None:
    """What goes out in a form can be sent in again, and comes out the same."""
    shown = [each for each in EXAMPLES if each.operation == "list_observations" and each.answer_type != "application/json"]
    for example in shown:
        here = f"/entities/{example.answer_type.rpartition('/')[2]}/observations"
        assert me.post(here, data=example.answer, content_type=example.answer_type).status_code == 200
        assert me.get(here, headers={"Accept": example.answer_type}).text == example.answer


def learn(shown: Any, real: Any, known: dict[str, str]) -> None:
    """The ids that the examples show are made up. Note which real one stands in the place of each."""
    if isinstance(shown, str) and isinstance(real, str) and shown[:4] in ("job_", "mdl_", "whk_", "msg_", "sch_", "ers_"):
        known.setdefault(shown, real)
    if isinstance(shown, dict) and isinstance(real, dict):
        for name in shown.keys() & real.keys():
            learn(shown[name], real[name], known)
    if isinstance(shown, list) and isinstance(real, list):
        for one, other in zip(shown, real, strict=False):
            learn(one, other, known)


def fits(shown: Any, real: Any) -> bool:
    """Whether two answers have the same members, as far as they can be compared: into the first of a list, and not past a null."""
    if isinstance(shown, dict) and isinstance(real, dict):
        return shown.keys() == real.keys() and all(fits(shown[name], real[name]) for name in shown)
    if isinstance(shown, list) and isinstance(real, list):
        return not shown or not real or fits(shown[0], real[0])
    return shown is None or real is None or isinstance(shown, type(real)) or {type(shown), type(real)} == {int, float}


def read_stream(text: str) -> list[Heard]:
    return [heard for heard in events([text.encode()]) if heard is not None]


def streams_fit(shown: list[Heard], real: list[Heard]) -> bool:
    """Whether two streams tell of the same events at the same places, and what they bring fits."""
    told, heard = ([(each.id, each.event) for each in stream] for stream in (shown, real))
    return told == heard and all(fits(one.data, other.data) for one, other in zip(shown, real, strict=True))
