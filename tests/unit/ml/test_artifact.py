"""Artefacts: back to the bit, on any device, and refused when a byte is not what was written."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import ml
from ml.artifact import HISTORY, MANIFEST, SUMMARY, WEIGHTS, Saved, load, load_base, save, save_base
from ml.blend import Blend
from ml.errors import ArtefactCorrupt, NewerRelease, StorageFull
from ml.fitted import Base, Fitted
from ml.forecaster import forecast
from ml.intervals import LEVELS, IntervalTable
from ml.shelf import FORMAT
from ml.spec import ModelSpec
from ml.trainer import prepare, pretrain
from tests.support import series
from tests.unit.ml.doubles import HOURLY, NETWORKS, Diary, climate, same, train_all, weights

Pair = tuple[Fitted, series.Raw]


@pytest.fixture
def saved(health: Pair, tmp_path: Path) -> Saved:
    return save(health[0], tmp_path)


def rewritten(root: Path, saved: Saved, change: Callable[[dict[str, Any]], None], files: dict[str, bytes] | None = None) -> str:
    """A foreign artefact: files and manifest agree with one another and with the address, but not with the spec."""
    manifest = json.loads((saved.path / MANIFEST).read_bytes())
    contents = {name: (saved.path / name).read_bytes() for name in manifest["files"]} | (files or {})
    for name, content in contents.items():
        manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(manifest)
    raw = json.dumps(manifest).encode()
    address = hashlib.sha256(raw).hexdigest()
    folder = root / address[:2] / address
    folder.mkdir(parents=True)
    for name, content in (contents | {MANIFEST: raw}).items():
        (folder / name).write_bytes(content)
    return address


def untouched(_: dict[str, Any]) -> None:
    """Leave the manifest as it is."""


def weights_of(saved: Saved) -> dict[str, torch.Tensor]:
    return safetensors.torch.load((saved.path / WEIGHTS).read_bytes())


def test_it_forecasts_the_same_to_the_bit(health: Pair, saved: Saved, tmp_path: Path) -> None:
    fitted, raw = health
    again = load(tmp_path, saved.sha256)
    assert forecast([(again, raw)]) == forecast([(fitted, raw)])


def test_all_that_was_known_comes_back(health: Pair, saved: Saved, tmp_path: Path) -> None:
    fitted, _ = health
    again = load(tmp_path, saved.sha256)
    for name in (
        "entity",
        "target",
        "spec",
        "season",
        "step",
        "scores",
        "served_by",
        "history",
        "warnings",
        "data_from",
        "data_until",
        "fit_until",
        "rows",
    ):
        assert getattr(again, name) == getattr(fitted, name), name
    assert again.intervals.as_dict() == fitted.intervals.as_dict()
    assert again.blend.as_dict() == fitted.blend.as_dict()  # type: ignore[union-attr]


def test_a_version_that_a_baseline_serves_comes_back_without_a_blend(walk: Pair, tmp_path: Path) -> None:
    fitted, raw = walk
    again = load(tmp_path, save(fitted, tmp_path).sha256)
    assert (again.served_by, again.blend) == ("persistence", None)
    assert forecast([(again, raw)]) == forecast([walk])


def test_what_knows_the_future_forecasts_the_same_to_the_bit(sales: Pair, tmp_path: Path) -> None:
    """Either network, with covariates that are known ahead."""
    fitted, raw = sales
    again = load(tmp_path, save(fitted, tmp_path).sha256)
    assert again.spec.future_covariates == ("promo",)
    assert forecast([(again, raw)]) == forecast([sales])


@pytest.mark.parametrize("network", NETWORKS)
def test_each_target_of_a_network_has_an_artefact_of_its_own(network: str, tmp_path: Path) -> None:
    """The same weights, stored with each: a version is whole by itself."""
    raw = climate(120)
    fitted = train_all(raw, HOURLY.override({"targets": ["temperature", "humidity"], "epochs": 1, "hidden_size": 8, "network": network}))
    both = [save(one, tmp_path) for one in fitted]
    assert both[0].sha256 != both[1].sha256
    for one, saved in zip(fitted, both, strict=True):
        manifest = json.loads((saved.path / MANIFEST).read_bytes())
        assert manifest["target"] == one.target
        assert f"one · {one.target}: {network}" in (saved.path / SUMMARY).read_text()
        assert forecast([(load(tmp_path, saved.sha256), raw)]) == forecast([(one, raw)])
    assert same(weights(load(tmp_path, both[0].sha256)), weights(load(tmp_path, both[1].sha256)))


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_of_many_is_kept_to_start_from_and_serves_nobody(network: str, tmp_path: Path) -> None:
    spec = HOURLY.override({"epochs": 1, "hidden_size": 8, "network": network})
    learned = pretrain([prepare(str(seed), series.seasonal(80, seed=seed), spec) for seed in range(2)], spec, Diary())
    assert learned is not None
    saved = save_base(learned, tmp_path)
    base = load_base(tmp_path, saved.sha256)
    assert base.spec == spec
    assert same(base.network.state_dict(), learned.network.state_dict())
    assert json.loads((saved.path / MANIFEST).read_bytes())["losses"] == sorted(learned.losses.values())
    prepare("new", series.seasonal(80, seed=7), spec, base)
    with pytest.raises(ArtefactCorrupt, match="cannot be understood"):
        load(tmp_path, saved.sha256)


def test_any_version_is_a_base(health: Pair, saved: Saved, tmp_path: Path) -> None:
    base = load_base(tmp_path, saved.sha256)
    assert isinstance(base, Base)
    assert base.spec == health[0].spec
    assert same(base.network.state_dict(), weights(health[0]))


@pytest.mark.parametrize("change", [{"hidden_size": 32}, {"network": "seq2seq"}, {"rolling": [3]}, {"window": 1}])
def test_a_base_whose_tensors_are_not_its_specs_is_refused(saved: Saved, tmp_path: Path, change: dict[str, Any]) -> None:
    address = rewritten(tmp_path, saved, lambda manifest: manifest["spec"].update(change))
    with pytest.raises(ArtefactCorrupt):
        load_base(tmp_path, address)


def test_it_lies_under_its_own_hash(saved: Saved, tmp_path: Path) -> None:
    assert saved.path == tmp_path / saved.sha256[:2] / saved.sha256
    assert hashlib.sha256((saved.path / MANIFEST).read_bytes()).hexdigest() == saved.sha256
    assert {path.name for path in saved.path.iterdir()} == {WEIGHTS, MANIFEST, HISTORY, SUMMARY}
    assert saved.bytes == sum(path.stat().st_size for path in saved.path.iterdir())


def test_saving_again_changes_nothing(health: Pair, saved: Saved, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in saved.path.iterdir()}
    assert save(health[0], tmp_path) == saved
    assert {path: path.stat().st_mtime_ns for path in saved.path.iterdir()} == before


def test_no_temporary_folder_is_left(saved: Saved, tmp_path: Path) -> None:
    assert [path.name for path in tmp_path.iterdir()] == [saved.sha256[:2]]


def test_a_write_that_fails_leaves_nothing(health: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ml.shelf._write_synced", full)
    with pytest.raises(StorageFull, match="No space"):
        save(health[0], tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not list(tmp_path.glob(".tmp-*"))


def test_the_manifest_says_what_it_must(saved: Saved) -> None:
    manifest = json.loads((saved.path / MANIFEST).read_bytes())
    assert manifest["served_by"] == "blend"
    assert set(manifest["blend"]["shares"]) == {"network", "linear", "seasonal_change", "usual_level", "persistence"}
    assert set(manifest["metrics"]) == {"blend", "lstm", "persistence", "seasonal_naive"}
    assert set(manifest["libraries"]) == {"python", "torch", "numpy", "safetensors"}
    assert set(manifest["files"]) == {WEIGHTS, HISTORY, SUMMARY}
    assert manifest["data"]["rows"] > 250
    assert "rhr" in (saved.path / SUMMARY).read_text()


def test_tensors_are_saved_from_the_cpu_and_no_device_is_written_down(saved: Saved) -> None:
    assert all(tensor.device.type == "cpu" for tensor in weights_of(saved).values())
    assert "cuda" not in (saved.path / MANIFEST).read_text()


def test_an_artefact_that_mentions_cuda_loads_on_the_cpu(saved: Saved, tmp_path: Path) -> None:
    address = rewritten(tmp_path, saved, lambda manifest: manifest.update(device="cuda:0"))
    network = load(tmp_path, address, device="cpu").network
    assert all(parameter.device.type == "cpu" for parameter in network.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_what_cuda_trained_loads_on_the_cpu(health: Pair, tmp_path: Path) -> None:
    fitted, raw = health
    fitted.network.to("cuda")
    saved = save(fitted, tmp_path)
    fitted.network.to("cpu")
    assert forecast([(load(tmp_path, saved.sha256), raw)]) == forecast([(fitted, raw)])


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST, HISTORY, SUMMARY])
@pytest.mark.parametrize("harm", ["flip", "truncate", "grow", "empty", "remove"])
def test_a_harmed_file_is_refused_by_name(saved: Saved, tmp_path: Path, name: str, harm: str) -> None:
    path = saved.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    harms = {"flip": bytes(content), "truncate": bytes(content[:-1]), "grow": bytes(content) + b" ", "empty": b""}
    path.unlink() if harm == "remove" else path.write_bytes(harms[harm])
    with pytest.raises(ArtefactCorrupt, match=name):
        load(tmp_path, saved.sha256)


def test_a_folder_under_another_name_is_refused(saved: Saved, tmp_path: Path) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    shutil.copytree(saved.path, tmp_path / other[:2] / other)
    with pytest.raises(ArtefactCorrupt, match="hash"):
        load(tmp_path, other)


@pytest.mark.parametrize("address", ["", "..", "../../etc/passwd", "*", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_only_a_hash_is_an_address(tmp_path: Path, address: str) -> None:
    """Trap T12: no path is ever built from anything else."""
    with pytest.raises(ArtefactCorrupt, match="address"):
        load(tmp_path, address)


def test_an_unknown_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactCorrupt, match="cannot be read"):
        load(tmp_path, "a" * 64)


TENSORS: dict[str, Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]] = {
    "renamed": lambda found: {("tail.bias" if name == "head.bias" else name): tensor for name, tensor in found.items()},
    "missing": lambda found: {name: tensor for name, tensor in found.items() if name != "head.bias"},
    "one more": lambda found: found | {"extra": torch.zeros(1)},
    "another shape": lambda found: found | {"head.bias": torch.zeros(7)},
    "another type": lambda found: found | {"head.bias": found["head.bias"].double()},
    "not finite": lambda found: found | {"head.bias": torch.full_like(found["head.bias"], torch.nan)},
}


@pytest.mark.parametrize("how", TENSORS)
def test_foreign_tensors_are_refused(saved: Saved, tmp_path: Path, how: str) -> None:
    content = safetensors.torch.save(TENSORS[how](weights_of(saved)))
    address = rewritten(tmp_path, saved, untouched, {WEIGHTS: content})
    with pytest.raises(ArtefactCorrupt, match="ensor"):
        load(tmp_path, address)


def test_a_file_that_is_no_safetensors_is_refused(saved: Saved, tmp_path: Path) -> None:
    with pytest.raises(ArtefactCorrupt, match="no safetensors"):
        load(tmp_path, rewritten(tmp_path, saved, untouched, {WEIGHTS: b"\x80\x04pickle"}))


SHARES = {"network": 0.0, "linear": 0.0, "seasonal_change": 0.0, "usual_level": 0.0, "persistence": 1.0}
MANIFESTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no format": lambda manifest: manifest.pop("format"),
    "a format of text": lambda manifest: manifest.update(format="2"),
    "a format that is a word": lambda manifest: manifest.update(format=True),
    "a format before the first": lambda manifest: manifest.update(format=0),
    "no spec": lambda manifest: manifest.pop("spec"),
    "spec out of bounds": lambda manifest: manifest["spec"].update(window=10**9),
    "hidden size that is not the tensors'": lambda manifest: manifest["spec"].update(hidden_size=32),
    "short scaler": lambda manifest: manifest["scaler"].update(center=[0.0]),
    "spread of one number": lambda manifest: manifest["scaler"].update(spread=1.0),
    "a target it does not forecast": lambda manifest: manifest.update(target="hrv"),
    "a server it does not have": lambda manifest: manifest.update(served_by="seq2seq"),
    "another network": lambda manifest: manifest["spec"].update(network="seq2seq"),
    "a covariate more": lambda manifest: manifest["spec"].update(future_covariates=["promo"]),
    "short intervals": lambda manifest: manifest["intervals"].update(half=[[1.0]]),
    "intervals of text": lambda manifest: manifest["intervals"].update(half="wide"),
    "a share below nothing": lambda manifest: manifest["blend"]["shares"].update(SHARES, network=-0.1, persistence=1.1),
    "shares of more than 1": lambda manifest: manifest["blend"]["shares"].update(SHARES, network=0.1),
    "shares of less than 1": lambda manifest: manifest["blend"]["shares"].update(SHARES, persistence=0.9),
    "a share that is no number": lambda manifest: manifest["blend"]["shares"].update(network=float("nan")),
    "a share without end": lambda manifest: manifest["blend"]["shares"].update(network=float("inf")),
    "a part without a share": lambda manifest: manifest["blend"]["shares"].pop("usual_level"),
    "shares of text": lambda manifest: manifest["blend"].update(shares="half and half"),
    "a level that is no number": lambda manifest: manifest["blend"].update(level=float("nan")),
    "a reach without end": lambda manifest: manifest["blend"].update(reach=float("inf")),
    "more seasons than any release averages": lambda manifest: manifest["blend"].update(seasons=10**9),
    "a usual course of a season shorter than the horizon": lambda manifest: manifest["blend"]["linear"].update(season=1, seasons=7),
    "no level": lambda manifest: manifest["blend"].pop("level"),
    "a linear part of one number": lambda manifest: manifest["blend"]["linear"].update(weights=[[1.0]]),
    "a linear part of no numbers": lambda manifest: manifest["blend"]["linear"]["weights"][0].__setitem__(0, float("nan")),
    "a linear part without end": lambda manifest: manifest["blend"]["linear"].update(spread=float("inf")),
    "a linear part of text": lambda manifest: manifest["blend"]["linear"].update(weights="straight"),
    "a linear part of another window": lambda manifest: manifest["blend"]["linear"].update(window=9),
    "a share of a linear part that is not there": lambda manifest: manifest["blend"].update(
        linear=None, shares=SHARES | {"linear": 1.0, "persistence": 0.0}
    ),
    "no word of a blend": lambda manifest: manifest.pop("blend"),
    "a blend that serves and is not there": lambda manifest: manifest.update(blend=None),
    "a blend beside a baseline that serves": lambda manifest: manifest.update(served_by="persistence"),
    "files elsewhere": lambda manifest: manifest["files"].update({"../../escape": {"bytes": 1, "sha256": "0" * 64}}),
    "no weights": lambda manifest: manifest["files"].pop(WEIGHTS),
}


@pytest.mark.parametrize("how", MANIFESTS)
def test_foreign_manifests_are_refused(saved: Saved, tmp_path: Path, how: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        MANIFESTS[how](manifest)

    with pytest.raises(ArtefactCorrupt):
        load(tmp_path, rewritten(tmp_path, saved, change))


def test_a_foreign_manifest_that_makes_sense_is_taken(saved: Saved, tmp_path: Path) -> None:
    """What makes the test above one of the harm done and not of the rewriting."""
    address = rewritten(tmp_path, saved, lambda manifest: manifest["blend"]["shares"].update(SHARES))
    taken, whole = (load(tmp_path, found).blend for found in (address, saved.sha256))
    assert taken is not None
    assert whole is not None
    assert taken.as_dict() == replace(whole, shares=SHARES).as_dict()


def test_a_blend_of_the_first_format_has_no_linear_part_and_serves_as_it_did(health: Pair, saved: Saved, tmp_path: Path) -> None:
    """Format 1 knew four parts."""
    four = {"network": 0.4, "seasonal_change": 0.1, "usual_level": 0.2, "persistence": 0.3}

    def first(manifest: dict[str, Any]) -> None:
        manifest.update(format=1, blend={"shares": four, "level": 60.0})

    again = load(tmp_path, rewritten(tmp_path, saved, first))
    assert again.blend is not None
    assert (again.blend.shares, again.blend.linear) == ({"linear": 0.0} | four, None)
    fitted, raw = health
    assert forecast([(again, raw)]) == forecast([(replace(fitted, blend=Blend(again.blend.shares, 60.0)), raw)])


#: What a release before or after may have written otherwise, without a new format.
NEIGHBOURS: dict[str, Callable[[dict[str, Any]], object]] = {
    "an unknown member": lambda manifest: manifest.update(stranger={"code": "import os"}),
    "an unknown field in the spec": lambda manifest: manifest["spec"].update(stranger="import os"),
    "an unknown share of the rows": lambda manifest: manifest["spec"]["split"].update(stranger=0.0),
    "an unknown score": lambda manifest: [part.update(stranger=1.0) for scores in manifest["metrics"].values() for part in scores.values()],
    "an unknown number in the intervals": lambda manifest: manifest["intervals"].update(stranger=[1.0]),
    "an unknown word of the data": lambda manifest: manifest["data"].update(stranger=None),
    "no libraries": lambda manifest: manifest.pop("libraries"),
}


@pytest.mark.parametrize("how", NEIGHBOURS)
def test_what_another_release_wrote_under_the_same_format_is_read_alike(health: Pair, saved: Saved, tmp_path: Path, how: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        NEIGHBOURS[how](manifest)

    found = load(tmp_path, rewritten(tmp_path, saved, change))
    assert forecast([(found, health[1])]) == forecast([health])
    assert (found.spec, found.scores, found.history) == (health[0].spec, health[0].scores, health[0].history)


@pytest.mark.parametrize("name", [field.name for field in fields(ModelSpec) if field.default is not MISSING])
def test_a_field_that_an_older_release_did_not_write_takes_its_default(name: str) -> None:
    spec = ModelSpec(("rhr",), ("steps",), rolling=(7,), window=30)
    stored = spec.as_dict()
    del stored[name]
    assert ModelSpec.from_dict(stored) == replace(spec, **{name: getattr(ModelSpec(("rhr",)), name)})


@pytest.mark.parametrize(("name", "default"), [("warnings", ()), ("blend", None)])
def test_a_member_that_an_older_release_did_not_write_takes_its_default(walk: Pair, tmp_path: Path, name: str, default: object) -> None:
    saved = save(walk[0], tmp_path)
    assert getattr(load(tmp_path, rewritten(tmp_path, saved, lambda manifest: manifest.pop(name))), name) == default


def test_intervals_that_know_no_hour_are_the_same_at_each() -> None:
    whole = IntervalTable(np.ones((len(LEVELS), 3)), (None,) * len(LEVELS), 1, None, None, (None,) * len(LEVELS)).as_dict()
    del whole["phases"]
    assert IntervalTable.from_dict(whole).phases is None


@pytest.mark.parametrize("read", [load, load_base])
def test_a_newer_format_is_not_called_damaged(saved: Saved, tmp_path: Path, read: Callable[[Path, str], object]) -> None:
    def newer(manifest: dict[str, Any]) -> None:
        manifest.update(format=FORMAT + 1)
        del manifest["spec"]

    with pytest.raises(NewerRelease, match=f"written by a newer release, in format {FORMAT + 1}; this one reads up to {FORMAT}"):
        read(tmp_path, rewritten(tmp_path, saved, newer))


def test_no_room_of_ml_can_unpickle() -> None:
    """Trap T22."""
    banned = {"pickle", "joblib", "shelve", "dill", "marshal"}
    for path in Path(ml.__path__[0]).glob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name.split(".")[0] for alias in node.names} | {(getattr(node, "module", None) or "").split(".")[0]}
                assert not names & banned, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
                assert node.attr not in ("load", "save"), path


def test_every_file_is_synced_before_the_folder_gets_its_name(health: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, Path.rename
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(Path, "rename", lambda path, name: (events.append("rename"), rename(path, name))[1])
    save(health[0], tmp_path)
    assert events == [*["fsync"] * 5, "rename", "fsync", "fsync"]
