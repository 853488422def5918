"""A base from elsewhere over HTTP: brought, started from, exported and brought again, refused, erased."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from sqlalchemy import Engine, select, update

from db import ledger
from db.models import Attempt, Job, Tenant, Version
from ml import artifact
from ml.networks import build
from ml.shelf import MANIFEST, WEIGHTS, zipped
from ml.spec import ModelSpec
from tasks.workshop import Workshop
from tests.support.road import settings_for, work_off, workshop
from tests.support.tables import contents
from tests.support.web import Caller, House, days, make_house, make_runtime

ZIP = "application/zip"
SPEC = ModelSpec(("rhr",), network="seq2seq", window=14, horizon=7, hidden_size=8, num_layers=1, cadence_s=86_400.0)
TOLD = json.dumps({"spec": SPEC.as_dict()}).encode()


def network_of(spec: ModelSpec = SPEC, seed: int = 0) -> bytes:
    network = build(spec)
    network.start(torch.Generator().manual_seed(seed))
    return safetensors.torch.save(network.state_dict())


def base(spec: ModelSpec = SPEC, seed: int = 0, **manifest: Any) -> bytes:
    told = json.dumps({"spec": spec.as_dict(), **manifest}).encode()
    return zipped({WEIGHTS: network_of(spec, seed), MANIFEST: told}, "base")


def bring(caller: Caller, body: bytes, name: str = "elsewhere", **query: Any) -> Any:
    return caller.post("/models/import", data=body, content_type=ZIP, query_string={"name": name, **query})


@pytest.fixture
def house(engine: Engine, redis_url: str, tmp_path: Path) -> House:
    return make_house(make_runtime(engine, redis_url, model_dir=tmp_path / "models"))


def shelved(house: House) -> list[Path]:
    return sorted(house.runtime.settings.model_dir.glob("??/*"))


def test_a_base_is_brought_and_kept_like_every_other(house: House, me: Caller) -> None:
    answer = bring(me, base(recipe="mine"))
    version = answer.json
    assert (answer.status_code, version["version"], version["active"], version["recipe"]) == (201, "1.0.0", True, "mine")
    assert (version["target"], version["served_by"], version["metrics"], version["warnings"]) == ("rhr", "seq2seq", {}, [])
    assert version["gate"]["checks"] == [{"name": "imported", "have": None, "need": 0.0, "met": False}]
    assert (version["data_from"], version["data_until"], version["spec"]) == (None, None, SPEC.as_dict())
    assert me.get(answer.headers["Location"].removeprefix("/api/v1")).json == version
    assert me.get("/entities/elsewhere").json["kind"] == "base"
    [model] = me.get("/models?kind=base").json["data"]
    assert (model["entity"], model["name"], model["active_version"]) == ("elsewhere", "rhr", version)
    [move] = me.get(f"/models/{model['id']}/activations").json["data"]
    assert (move["kind"], move["to"], move["actor"][:4]) == ("publish", "1.0.0", "key:")
    loaded = artifact.load_base(house.runtime.settings.model_dir, version["artefact"]["sha256"])
    wanted = safetensors.torch.load(network_of())
    assert loaded.spec == SPEC
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in loaded.network.state_dict().items())


def test_its_job_has_ended_and_says_what_was_brought(house: House, me: Caller) -> None:
    version = bring(me, base()).json
    job = me.get(f"/jobs/{version['job']}").json
    assert (job["kind"], job["state"], job["terminal"], job["attempt"]) == ("import", "succeeded", True, 1)
    assert (job["entity"], job["target"], job["spec"]["bytes"]) == ("elsewhere", "rhr", len(network_of()))
    assert job["spec"]["sha256"] == hashlib.sha256(network_of()).hexdigest()
    told = {"base": "elsewhere", "target": "rhr", "model": version["model"], "version": "1.0.0", "active": True, "gate": version["gate"]}
    assert me.get(f"/jobs/{job['id']}/result").json["result"] == told
    assert [each["id"] for each in me.get("/jobs?kind=import").json["data"]] == [job["id"]]
    assert me.post(f"/jobs/{job['id']}/retry").json["code"] == "job_succeeded"
    assert me.post(f"/jobs/{job['id']}/cancel").json["state"] == "succeeded"
    with house.runtime.sessions() as session:
        assert ledger.violations(session) == {}
        [attempt] = session.scalars(select(Attempt))
        held = session.get_one(Job, job["id"])
        assert (attempt.fence, attempt.outcome) == (held.fence, "succeeded")
        assert session.scalars(select(Version.fence)).one() == held.fence
    meter = house.app.test_client().get("/metrics", headers={"Authorization": f"Bearer {me.key}"})
    assert 'fleetcast_jobs_ended_total{kind="import",state="succeeded"} 1' in meter.text


def test_the_same_network_again_is_the_same_version(engine: Engine, house: House, me: Caller) -> None:
    """However it is packed, and also when it is to be activated: that is said with `activate`."""
    first = bring(me, base())
    before, there = contents(engine), shelved(house)
    unfolded = io.BytesIO()
    with zipfile.ZipFile(unfolded, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(MANIFEST, json.dumps({"spec": SPEC.as_dict()}, indent=3))
        opened.writestr(WEIGHTS, network_of())
    for again in (bring(me, base()), bring(me, unfolded.getvalue()), bring(me, base(), activation="always")):
        assert (again.status_code, again.json, again.headers["Location"]) == (200, first.json, first.headers["Location"])
    assert (contents(engine), shelved(house)) == (before, there)


def test_versions_count_on_and_the_flag_stays_unless_told(me: Caller) -> None:
    """Nobody measured the newcomer."""
    told = [
        (base(), {}, "1.0.0", True),
        (base(seed=1), {}, "1.0.1", False),
        (base(seed=2), {"activation": "always"}, "1.0.2", True),
        (base(SPEC.override({"hidden_size": 16})), {"activation": "never"}, "1.1.0", False),
        (base(SPEC.override({"network": "lstm"})), {"activation": "auto"}, "2.0.0", False),
    ]
    for body, query, number, active in told:
        version = bring(me, body, **query).json
        assert (version["version"], version["active"]) == (number, active)
    other = bring(me, base(SPEC.override({"targets": ["hrv"]}))).json
    assert (other["version"], other["active"], other["target"]) == ("1.0.0", True, "hrv"), "of another target it is another model"
    model = me.get("/models?kind=base&name=rhr").json["data"][0]["id"]
    assert me.post(f"/models/{model}/activate", {"version": "2.0.0"}).json["active"] is True
    assert me.post(f"/models/{model}/rollback").json["version"] == "1.0.2"


def test_a_measured_base_takes_the_place_of_an_imported_one(house: House, ready: Caller) -> None:
    ready.post("/entities/v/observations", {"observations": days(60)})
    bring(ready, base(), "hearts")
    job = ready.post("/models/pretrain", {"name": "hearts", "entities": ["u", "v"], "recipe": "health-daily"}).json["id"]
    house.publish(ready, job, activation="auto")
    [model] = ready.get("/models?kind=base").json["data"]
    assert model["active_version"]["job"] == job
    assert bring(ready, base(seed=4), "hearts").json["active"] is False


def test_a_pruned_one_can_be_brought_again(house: House, me: Caller) -> None:
    first = bring(me, base()).json
    bring(me, base(seed=1), activation="always")
    assert me.delete(f"/models/{first['model']}/versions/1.0.0").status_code == 204
    again = bring(me, base())
    assert (again.status_code, again.json["version"]) == (201, "1.0.2")
    assert again.json["artefact"] == first["artefact"]


def test_only_so_many_are_kept(house: House, me: Caller) -> None:
    for seed in range(house.runtime.settings.keep_versions + 2):
        last = bring(me, base(seed=seed), activation="always").json
    versions = me.get(f"/models/{last['model']}/versions").json["data"]
    assert [version["pruned_at"] is None for version in versions] == [True] * house.runtime.settings.keep_versions + [False] * 2


def test_an_erased_base_is_gone_and_can_be_brought_again(house: House, me: Caller) -> None:
    first = bring(me, base()).json
    assert me.delete("/entities/elsewhere").status_code == 204
    assert me.get("/models?kind=base").json["data"] == []
    assert me.get(f"/jobs/{first['job']}").json["spec"] == {}
    again = bring(me, base())
    assert (again.status_code, again.json["version"], again.json["model"] != first["model"]) == (201, "1.0.0", True)
    with house.runtime.sessions() as session:
        assert ledger.violations(session) == {}


def test_two_that_bring_the_same_get_one_version(house: House, me: Caller) -> None:
    answers: list[Any] = []

    def run() -> None:
        caller = Caller(house.app.test_client(), me.tenant_id, me.key)
        answers.append(bring(caller, base()))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json["job"] for answer in answers}) == 1
    assert len(me.get("/jobs?kind=import").json["data"]) == 1


def test_the_same_name_is_each_tenants_own(house: House, me: Caller, other: Caller) -> None:
    mine, theirs = bring(me, base()), bring(other, base())
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json["model"] != theirs.json["model"]
    for answer, caller in ((mine, other), (theirs, me)):
        path = answer.headers["Location"].removeprefix("/api/v1")
        assert caller.get(path).json["code"] == "model_not_found"
        assert caller.get(f"{path}/artefact").json["code"] == "model_not_found"
    assert other.delete("/entities/elsewhere").status_code == 204
    assert me.get("/models?kind=base").json["data"][0]["active_version"] == mine.json
    export = me.get(mine.headers["Location"].removeprefix("/api/v1") + "/artefact")
    assert export.status_code == 200, "the other's erasure left the files that both name"
    export.close()


# The whole road


@pytest.fixture
def shop(engine: Engine, migrated_url: str, redis_url: str, tmp_path: Path) -> Iterator[Workshop]:
    with workshop(settings_for(migrated_url, redis_url, tmp_path / "models", log_requests="none")) as opened:
        yield opened


def test_a_training_starts_from_it_and_its_export_can_be_brought_elsewhere(shop: Workshop) -> None:
    """From an HTTP body to a trained version; then that version's own export as another base, and that one's as a third."""
    caller = make_house(shop.runtime).caller("mine")
    caller.post("/entities/u/observations", {"observations": days(60)})
    bring(caller, base(), "theirs")
    train = {"entity": "u", "recipe": "health-daily", "target": "rhr", "spec": {"epochs": 1, "learning_rate": 1e-6, "window": 14}}
    submitted = caller.post("/models/train", train | {"base": {"name": "theirs"}}).json
    assert submitted["spec"]["spec"]["hidden_size"] == SPEC.hidden_size, "the shape is the base's"
    work_off(shop)
    done = caller.get(f"/jobs/{submitted['id']}").json
    assert done["state"] == "succeeded", done["error"]
    trained = caller.get(f"/models/{done['result']['model']}/versions/1.0.0").json
    learned = shop.model(stored(shop, trained)).network.state_dict()
    start = safetensors.torch.load(network_of())
    assert all(torch.allclose(learned[name], start[name], atol=1e-3) for name in start), "one epoch at no rate leaves it where it began"

    exported = caller.get(f"/models/{trained['model']}/versions/1.0.0/artefact").data
    second = bring(caller, exported, "second")
    assert (second.status_code, second.json["spec"]["window"]) == (201, trained["spec"]["window"])
    third = bring(caller, caller.get(second.headers["Location"].removeprefix("/api/v1") + "/artefact").data, "third")
    assert (third.status_code, third.json["artefact"]["sha256"]) == (201, second.json["artefact"]["sha256"])
    loaded = artifact.load_base(shop.settings.model_dir, third.json["artefact"]["sha256"]).network.state_dict()
    assert all(torch.equal(loaded[name], learned[name]) for name in learned)
    again = caller.post("/models/train", train | {"base": {"name": "third"}, "spec": train["spec"] | {"seed": 3}}).json["id"]
    work_off(shop)
    assert caller.get(f"/jobs/{again}").json["state"] == "succeeded"


def stored(shop: Workshop, version: Any) -> Version:
    with shop.sessions() as session:
        return session.scalars(select(Version).where(Version.job_id == version["job"], Version.model_id == version["model"])).one()


def test_an_export_of_a_pretrained_base_can_be_brought(shop: Workshop) -> None:
    caller = make_house(shop.runtime).caller("mine")
    for entity in ("u", "v"):
        caller.post(f"/entities/{entity}/observations", {"observations": days(60)})
    small = {"hidden_size": 8, "num_layers": 1, "window": 14, "epochs": 1}
    told = {"name": "hearts", "entities": ["u", "v"], "recipe": "health-daily", "target": "rhr", "spec": small}
    job = caller.post("/models/pretrain", told).json["id"]
    work_off(shop)
    result = caller.get(f"/jobs/{job}").json["result"]
    path = f"/models/{result['model']}/versions/{result['version']}"
    exported = caller.get(f"{path}/artefact").data
    brought = bring(caller, exported, "copy")
    assert (brought.status_code, brought.json["spec"]) == (201, caller.get(path).json["spec"])


# What is refused


def harmed(**tensors: Any) -> bytes:
    """The network with some tensors exchanged; None leaves one out."""
    found = safetensors.torch.load(network_of())
    for name, tensor in tensors.items():
        name = name.replace("_of_", ".")
        found.pop(name, None)
        if tensor is not None:
            found[name] = tensor
    return zipped({WEIGHTS: safetensors.torch.save(found), MANIFEST: TOLD}, "base")


#: The body, the query, the status and where it points.
REFUSED: dict[str, tuple[bytes, dict[str, Any], int, str | None]] = {
    "no zip": (b"x" * 500, {}, 400, None),
    "cut off": (base()[:-30], {}, 400, None),
    "nothing": (b"", {}, 400, None),
    "a manifest that is no JSON": (zipped({WEIGHTS: network_of(), MANIFEST: b"{"}, "a"), {}, 400, None),
    "no weights": (zipped({MANIFEST: b"{}"}, "a"), {}, 422, "/weights.safetensors"),
    "no manifest": (zipped({WEIGHTS: network_of()}, "a"), {}, 422, "/manifest.json"),
    "no spec": (zipped({WEIGHTS: network_of(), MANIFEST: b"{}"}, "a"), {}, 422, "/manifest.json/spec"),
    "a wrong field of the spec": (base(recipe=5), {}, 422, "/manifest.json/recipe"),
    "another spec": (
        zipped({WEIGHTS: network_of(), MANIFEST: json.dumps({"spec": SPEC.as_dict() | {"hidden_size": 16}}).encode()}, "a"),
        {},
        422,
        "/weights.safetensors/layers.0.weight_ih_l0",
    ),
    "weights that are none": (zipped({WEIGHTS: b"x" * 99, MANIFEST: TOLD}, "a"), {}, 422, "/weights.safetensors"),
    "a tensor missing": (harmed(head_of_bias=None), {}, 422, "/weights.safetensors/head.bias"),
    "a tensor more": (harmed(fc_of_bias=torch.zeros(1)), {}, 422, "/weights.safetensors/fc.bias"),
    "another shape": (harmed(head_of_bias=torch.zeros(2)), {}, 422, "/weights.safetensors/head.bias"),
    "another type": (harmed(head_of_bias=torch.zeros(1).half()), {}, 422, "/weights.safetensors/head.bias"),
    "no number": (harmed(head_of_bias=torch.tensor([float("nan")])), {}, 422, "/weights.safetensors/head.bias"),
    "a name that cannot be": (base(), {"name": "a\nb"}, 422, "/query/name"),
    "a name too long": (base(), {"name": "x" * 201}, 422, "/query/name"),
    "an empty name": (base(), {"name": ""}, 422, "/query/name"),
    "an entity's name": (base(), {"name": "u"}, 422, "/query/name"),
    "another word": (base(), {"activation": "perhaps"}, 422, "/query/activation"),
    "an unknown parameter": (base(), {"target": "rhr"}, 422, "/query/target"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_where_and_leaves_nothing(engine: Engine, house: House, ready: Caller, name: str) -> None:
    body, query, status, pointer = REFUSED[name]
    before = contents(engine)
    answer = bring(ready, body, **query)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json"), answer.text
    found = [fault["pointer"] for fault in answer.json.get("errors", ())]
    assert found[:1] == ([] if pointer is None else [pointer]), answer.text
    assert contents(engine) == before
    assert shelved(house) == []


def test_without_a_name(ready: Caller) -> None:
    answer = ready.post("/models/import", data=base(), content_type=ZIP)
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/query/name")


def test_other_types_and_sizes(engine: Engine, redis_url: str, me: Caller) -> None:
    for mimetype in ("application/json", "application/octet-stream", "", "multipart/form-data; boundary=x"):
        answer = me.post("/models/import?name=a", data=base(), content_type=mimetype)
        assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type"), mimetype
    narrow = make_house(make_runtime(engine, redis_url, max_body_bytes=4_096)).caller("narrow")
    for body in (base(), io.BytesIO()):
        sent = bring(narrow, bomb() if isinstance(body, io.BytesIO) else body)
        assert (sent.status_code, sent.json["code"]) == (413, "body_too_large"), sent.text


def bomb() -> bytes:
    """A hundredth of what it unpacks to."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(WEIGHTS, b"\0" * 1_000_000)
        opened.writestr(MANIFEST, b"{}")
    assert len(made.getvalue()) < 4_096
    return made.getvalue()


def test_nothing_is_half_written_when_publishing_fails(engine: Engine, house: House, me: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The artefact lies on the shelf, named by nobody, until it is collected; the same import succeeds later."""
    before = contents(engine)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the plug was pulled")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "succeed", broken)
        assert bring(me, base()).status_code == 500
    assert contents(engine) == before
    assert len(shelved(house)) == 1
    assert bring(me, base()).status_code == 201


def test_a_full_queue_and_a_full_quota_stand_in_nobodys_way(engine: Engine, redis_url: str, tmp_path: Path) -> None:
    """It waits nowhere."""
    full = make_house(make_runtime(engine, redis_url, model_dir=tmp_path, max_queue=0))
    caller = full.caller("mine")
    with full.runtime.sessions.begin() as session:
        session.execute(update(Tenant).values(max_unfinished=0, max_running=0))
    assert bring(caller, base()).status_code == 201


def test_a_damaged_artefact_of_it_is_found_at_use(house: House, me: Caller) -> None:
    version = bring(me, base()).json
    with house.runtime.sessions.begin() as session:
        session.execute(update(Version).values(artefact_sha256="ab" * 32))
    answer = me.get(f"/models/{version['model']}/versions/1.0.0/artefact")
    assert (answer.status_code, answer.json["code"]) == (500, "artefact_corrupt")


def test_it_needs_the_scope_of_a_write(house: House, me: Caller) -> None:
    assert bring(house.caller("mine", ["read"]), base()).json["code"] == "forbidden_scope"
    assert bring(house.caller("mine", ["write"]), base()).status_code == 201
