"""A version's artefact as one zip: whole, checked, the same each time."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from db.models import Version
from ml import shelf
from tests.support.web import Caller, House, days, make_house, make_runtime

FILES = {"weights.safetensors": bytes(range(256)) * 40, "summary.txt": b"u / rhr\n"}


@pytest.fixture
def house(engine: Engine, redis_url: str, tmp_path: Path) -> House:
    return make_house(make_runtime(engine, redis_url, model_dir=tmp_path))


@pytest.fixture
def path(house: House, trained: Caller) -> str:
    """Of the artefact of a version that lies on the shelf."""
    saved = shelf.put(house.runtime.settings.model_dir, {"entity": "u"}, FILES)
    with house.runtime.sessions.begin() as session:
        session.execute(update(Version).values(artefact_sha256=saved.sha256, artefact_bytes=saved.bytes))
    model = trained.get("/models").json["data"][0]["id"]
    return f"/models/{model}/versions/1.0.0/artefact"


def test_the_zip_holds_every_file(trained: Caller, path: str) -> None:
    answer = trained.get(path)
    assert (answer.status_code, answer.mimetype) == (200, "application/zip")
    assert answer.headers["Content-Disposition"].endswith("-1.0.0.zip")
    digest = base64.b64encode(hashlib.sha256(answer.data).digest()).decode()
    assert answer.headers["Content-Digest"] == f"sha-256=:{digest}:"
    with zipfile.ZipFile(io.BytesIO(answer.data)) as found:
        held = {Path(name).name: found.read(name) for name in found.namelist()}
    manifest = held.pop("manifest.json")
    assert held == FILES
    assert answer.headers["ETag"] == f'"{hashlib.sha256(manifest).hexdigest()}"'


def test_the_same_version_is_the_same_zip(trained: Caller, path: str) -> None:
    first, second = trained.get(path), trained.get(path)
    assert first.data == second.data
    again = trained.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])


@pytest.mark.parametrize("harm", ["flipped", "missing"])
def test_a_damaged_artefact_is_not_handed_out(house: House, trained: Caller, path: str, harm: str) -> None:
    [weights] = house.runtime.settings.model_dir.glob("??/*/weights.safetensors")
    if harm == "missing":
        weights.unlink()
    else:
        weights.write_bytes(b"\xff" + weights.read_bytes()[1:])
    answer = trained.get(path)
    assert (answer.status_code, answer.json["code"]) == (500, "artefact_corrupt")


def test_a_pruned_one_is_gone(trained: Caller, path: str, house: House) -> None:
    job = trained.post("/models/train", {"entity": "u", "recipe": "health-daily", "spec": {"seed": 2}}).json
    house.publish(trained, job["id"])
    assert trained.delete(path.removesuffix("/artefact")).status_code == 204
    answer = trained.get(path)
    assert (answer.status_code, answer.json["code"]) == (410, "version_pruned")


def test_a_caller_who_takes_only_json(trained: Caller, path: str) -> None:
    assert trained.get(path, headers={"Accept": "application/json"}).status_code == 406
    assert trained.post("/entities/u/observations", {"observations": days(1)}, headers={"Accept": "text/html"}).status_code == 406
