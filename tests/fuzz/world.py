"""The state in which requests are fuzzed: entities with and without data, versions, and jobs in every state; and their real names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import update

from db import tenants
from db.models import Version
from ml import shelf
from tasks.problems import CATALOGUE, problem
from tests.support.web import Caller, House, days

#: An entity that is there before every request, so that it may be erased as often as anybody likes.
VICTIM = "victim"
TRAIN = {"entity": "u", "recipe": "health-daily"}
PREDICT = {"entity": "u", "target": "rhr"}
WHAT_IF = PREDICT | {"scenarios": [{"name": "s", "changes": [{"channel": "rhr", "op": "add", "value": 1}]}]}


@dataclass(frozen=True)
class World:
    house: House
    me: Caller
    #: What really exists, by the name of a parameter or of a member of a body.
    real: Mapping[str, tuple[Any, ...]]

    def bring_back(self) -> None:
        """What the request before may have erased."""
        assert self.me.put(f"/entities/{VICTIM}").status_code == 200


def make_world(house: House) -> World:
    me = house.caller("fuzz", tenants.SCOPES)
    for name, rows in (("u", 60), ("a/b c", 60), ("Büro 3", 5), (VICTIM, 5)):
        assert me.post(f"/entities/{name}/observations", {"observations": days(rows) + days(rows, "hrv_rmssd")}).status_code == 200
    house.publish(me, _job(me, "/models/train", TRAIN))
    second = house.publish(me, _job(me, "/models/train", TRAIN | {"spec": {"epochs": 3}}))
    house.publish(me, _job(me, "/models/train", TRAIN | {"spec": {"window": 7}}), activation="never")
    house.publish(me, _job(me, "/models/pretrain", {"name": "hearts", "entities": ["u", "a/b c"], "recipe": "health-daily"}))
    model = me.get("/models").json["data"][0]["id"]
    for path, body in (("rollback", {"reason": "fuzz"}), ("activate", {"version": second})):
        assert me.post(f"/models/{model}/{path}", body).status_code == 200
    _put_on_shelf(house)
    jobs = _jobs(house, me)
    versions = [version["version"] for version in me.get(f"/models/{model}/versions").json["data"]]
    return World(house, me, _real(me, model, tuple(versions), jobs))


def _put_on_shelf(house: House) -> None:
    """The artefact of every version."""
    saved = shelf.put(house.runtime.settings.model_dir, {"entity": "u"}, {"weights.safetensors": b"\0" * 64})
    with house.runtime.sessions.begin() as session:
        session.execute(update(Version).values(artefact_sha256=saved.sha256, artefact_bytes=saved.bytes))


def _jobs(house: House, me: Caller) -> tuple[str, ...]:
    """One in every state, and a batch."""
    done = _job(me, "/predict", PREDICT)
    house.forecast(me, done)
    failed, cancelled, queued, running, cancelling = (_job(me, "/predict", PREDICT | {"level": 0.5 + n / 100}) for n in range(5))
    house.fail(me, failed, problem("training_diverged", "It did."))
    me.post(f"/jobs/{cancelled}/cancel")
    for held in (running, cancelling):
        house.claim(held)
    me.post(f"/jobs/{cancelling}/cancel")
    batch = _job(me, "/predict/batch", {"entities": ["u", "a/b c"], "targets": ["rhr", "hrv_rmssd"]})
    items = [item["id"] for item in me.get(f"/jobs/{batch}/items").json["data"]]
    house.fail(me, items[1], problem("model_not_found", "None."))
    tried = _job(me, "/backtests", TRAIN | {"folds": 2})
    house.look_back(me, tried)
    return (done, failed, cancelled, queued, running, cancelling, batch, *items[:2], tried, _job(me, "/predict/what-if", WHAT_IF))


def _job(me: Caller, path: str, body: Mapping[str, Any]) -> str:
    answer = me.post(path, body)
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


def _erased(me: Caller) -> str:
    """Id of the receipt of one that was erased."""
    assert me.put("/entities/gone").status_code == 200
    return me.delete("/entities/gone").headers["Location"].rpartition("/")[2]


def _real(me: Caller, model: str, versions: tuple[str, ...], jobs: tuple[str, ...]) -> dict[str, tuple[Any, ...]]:
    daily = {"name": "daily", "every_s": 86_400, "template": {"train": TRAIN}}
    schedule = me.post("/schedules", daily).json["id"]
    webhook = me.post("/webhooks", {"url": "https://backend.example/", "types": ["job.succeeded"]}).json["id"]
    lists = ("/entities", "/jobs", f"/models/{model}/versions", f"/models/{model}/activations", "/entities/u/observations")
    return {
        # `u` and `rhr` more often than the others: of them there is a model.
        "entity": ("u", "u", "u", "u", "a/b c", "Büro 3", VICTIM),
        "entities": (["u"], ["u", "a/b c", "Büro 3"], [VICTIM, "u"]),
        "base": ({"name": "hearts"}, {"model": model}, {"model": model, "version": versions[0]}),
        "target": ("rhr", "rhr", "rhr", "hrv_rmssd"),
        "targets": (["rhr"], ["rhr", "hrv_rmssd"]),
        "channel": ("rhr", "hrv_rmssd", "new"),
        "model_id": (model,),
        "semver": versions,
        "version": versions,
        "job_id": jobs,
        "schedule_id": (schedule,),
        "erasure_id": (_erased(me),),
        "webhook_id": (webhook,),
        "delivery_id": tuple(me.post(f"/webhooks/{webhook}/test").json["id"] for _ in range(3)),
        "url": ("https://backend.example/", "https://10.0.0.1/", "http://backend.example/"),
        "code": tuple(CATALOGUE),
        "recipe": tuple(recipe["name"] for recipe in me.get("/recipes").json["data"]),
        "cursor": tuple(me.get(f"{path}?limit=1").json["next_cursor"] for path in lists),
        "limit": (1, 2, 200),
        "If-Match": tuple(f'"{version}"' for version in versions),
        "If-None-Match": ('"1.0"', "*"),
    }
