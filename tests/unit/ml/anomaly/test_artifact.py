"""A detector on the shelf: back to the bit, and refused when an array, an index or a word is not what fits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from ml.anomaly.artifact import ARRAYS, load_detector, save_detector
from ml.anomaly.detector import Detector
from ml.anomaly.spec import DetectorSpec
from ml.anomaly.watch import detect, score_rows, train_detector
from ml.errors import ArtefactCorrupt, NewerRelease
from ml.shelf import FORMAT, MANIFEST, Saved
from tests.support import series

RAW = series.seasonal(300) | {"other": series.random_walk(300)["value"]}
SPEC = DetectorSpec(channels=("value", "other"), trees=10, short=3, medium=6, long=24, seasons=2)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return train_detector("house", RAW, SPEC)


@pytest.fixture
def saved(detector: Detector, tmp_path: Path) -> Saved:
    return save_detector(detector, tmp_path)


def test_it_judges_the_same_to_the_bit(detector: Detector, saved: Saved, tmp_path: Path) -> None:
    again = load_detector(tmp_path, saved.sha256)
    np.testing.assert_array_equal(score_rows(again, RAW).scores, score_rows(detector, RAW).scores)
    assert detect(again, RAW).anomalies == detect(detector, RAW).anomalies
    assert again.summary() == detector.summary()
    assert (again.spec, again.anchor, again.step, again.warnings) == (detector.spec, detector.anchor, detector.step, detector.warnings)


def test_saving_again_changes_nothing(detector: Detector, saved: Saved, tmp_path: Path) -> None:
    assert save_detector(detector, tmp_path) == saved
    assert save_detector(load_detector(tmp_path, saved.sha256), tmp_path).sha256 == saved.sha256


def test_a_changed_byte_is_refused(saved: Saved, tmp_path: Path) -> None:
    content = bytearray((saved.path / ARRAYS).read_bytes())
    content[-1] ^= 1
    (saved.path / ARRAYS).write_bytes(content)
    with pytest.raises(ArtefactCorrupt, match=ARRAYS):
        load_detector(tmp_path, saved.sha256)


Manifest = dict[str, Any]
Arrays = dict[str, np.ndarray[Any, Any]]


def foreign(root: Path, saved: Saved, manifest: Callable[[Manifest], Any], arrays: Callable[[Arrays], Any]) -> str:
    """An artefact whose files and hashes agree, but which no training of ours wrote."""
    stored = dict(safetensors.numpy.load((saved.path / ARRAYS).read_bytes()))
    arrays(stored)
    content = safetensors.numpy.save(stored)
    about = json.loads((saved.path / MANIFEST).read_bytes())
    about["files"][ARRAYS] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest(about)
    raw = json.dumps(about).encode()
    address = hashlib.sha256(raw).hexdigest()
    folder = root / address[:2] / address
    folder.mkdir(parents=True)
    (folder / ARRAYS).write_bytes(content)
    (folder / MANIFEST).write_bytes(raw)
    return address


def same(_: object) -> None:
    """Leave it as it is."""


def spoilt(name: str, value: float) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        changed = arrays[name].copy()
        changed.flat[0] = value
        arrays[name] = changed

    return change


@pytest.mark.parametrize(
    "arrays",
    [
        spoilt("forest.left", 10**6),
        spoilt("forest.left", 0),
        spoilt("forest.feature", 20),
        spoilt("forest.threshold", np.nan),
        spoilt("views.scale", 0.0),
        spoilt("whole.body", np.inf),
        spoilt("center", np.nan),
        spoilt("scale", 0.0),
        lambda arrays: arrays.pop("middle"),
        lambda arrays: arrays.pop("forest.roots"),
        lambda arrays: arrays.pop("wood.body"),
        lambda arrays: arrays.update(low=arrays["low"][:1]),
        lambda arrays: arrays.update(high=arrays["high"].astype(np.float32)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(saved: Saved, tmp_path: Path, arrays: Callable[[Arrays], Any]) -> None:
    with pytest.raises(ArtefactCorrupt):
        load_detector(tmp_path, foreign(tmp_path, saved, same, arrays))


@pytest.mark.parametrize(
    "manifest",
    [
        lambda about: about.update(kind="base"),
        lambda about: about.pop("kind"),
        lambda about: about.update(views=["value"]),
        lambda about: about.update(channels=["value", "stranger"]),
        lambda about: about.update(channels=["value"]),
        lambda about: about.update(channels=[]),
        lambda about: about["spec"].update(trees=0),
        lambda about: about["grid"].update(step_ms=0),
        lambda about: about["grid"].update(anchor_ms=10**30),
        lambda about: about["data"].update({"from": "yesterday"}),
        lambda about: about.pop("contamination"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(saved: Saved, tmp_path: Path, manifest: Callable[[Manifest], Any]) -> None:
    with pytest.raises(ArtefactCorrupt):
        load_detector(tmp_path, foreign(tmp_path, saved, manifest, same))


@pytest.mark.parametrize(
    "manifest",
    [
        lambda about: about.update(stranger=1),
        lambda about: about["spec"].update(stranger=1),
        lambda about: about["data"].update(stranger=1),
        lambda about: about.pop("libraries"),
        lambda about: about.pop("warnings"),
        lambda about: about["spec"].pop("seed"),
    ],
)
def test_what_another_release_wrote_under_the_same_format_is_read(
    detector: Detector, saved: Saved, tmp_path: Path, manifest: Callable[[Manifest], Any]
) -> None:
    found = load_detector(tmp_path, foreign(tmp_path, saved, manifest, same))
    assert detect(found, RAW).anomalies == detect(detector, RAW).anomalies
    assert found.spec == detector.spec


def test_a_newer_format_is_not_called_damaged(saved: Saved, tmp_path: Path) -> None:
    with pytest.raises(NewerRelease):
        load_detector(tmp_path, foreign(tmp_path, saved, lambda about: about.update(format=FORMAT + 1), same))


def test_a_foreign_artefact_that_fits_is_read(saved: Saved, tmp_path: Path) -> None:
    assert load_detector(tmp_path, foreign(tmp_path, saved, same, same)).entity == "house"
