"""The shelf's keeper: whatever lies there damaged is mended by whoever makes it again, and a full disk has a name."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from ml import shelf
from ml.errors import ArtefactCorrupt, ModelError, StorageFull
from ml.keeper import keep
from ml.shelf import MANIFEST, WEIGHTS, take

ABOUT, FILES = {"kind": "base"}, {WEIGHTS: b"\0" * 64, "summary.txt": b"a page\n"}
HARMS: dict[str, Callable[[Path], object]] = {
    "flipped": lambda file: file.write_bytes(b"\1" + file.read_bytes()[1:]),
    "cut short": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "grown": lambda file: file.write_bytes(file.read_bytes() + b" "),
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_what_lies_there_damaged_is_mended_and_the_rest_is_left(tmp_path: Path, name: str, how: str) -> None:
    saved = keep(tmp_path, ABOUT, FILES)
    HARMS[how](saved.path / name)
    with pytest.raises(ArtefactCorrupt):
        take(tmp_path, saved.sha256)
    assert keep(tmp_path, ABOUT, FILES) == saved
    found = take(tmp_path, saved.sha256).files
    assert {name: found[name] for name in FILES} == FILES
    assert [path.name for path in tmp_path.iterdir()] == [saved.sha256[:2]], "nothing of the mending is left"


def test_what_is_sound_is_not_written_again(tmp_path: Path) -> None:
    saved = keep(tmp_path, ABOUT, FILES)
    before = {path: path.stat().st_mtime_ns for path in saved.path.iterdir()}
    assert keep(tmp_path, ABOUT, FILES) == saved
    assert {path: path.stat().st_mtime_ns for path in saved.path.iterdir()} == before


def test_a_disk_that_gives_back_other_bytes_is_found_out_before_a_version_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = shelf._write_synced
    monkeypatch.setattr(shelf, "_write_synced", lambda path, content: written(path, content[:-1]))
    with pytest.raises(ArtefactCorrupt):
        keep(tmp_path, ABOUT, FILES)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EROFS, StorageFull),
        (errno.EIO, OSError),
        (errno.EACCES, OSError),
    ],
)
def test_a_disk_that_takes_nothing_more_has_a_name_and_other_faults_are_let_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int, kind: type[Exception]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(fault, "said the disk")

    monkeypatch.setattr(shelf, "_write_synced", refuse)
    with pytest.raises(kind, match="said the disk") as caught:
        keep(tmp_path, ABOUT, FILES)
    assert isinstance(caught.value, ModelError) == (kind is StorageFull)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not list(tmp_path.glob(".tmp-*"))
