"""The shelf: where artefacts lie, each in a folder named by its own hash, and whether every byte of one is as it was put there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from ml.errors import ArtefactCorrupt
from ml.formats import require_readable

#: Raised when a reader of the older form could not read the newer one, or would read it wrongly; older ones stay readable for good.
#: 2: a blend may have a linear part. 3: its parts may read several seasons back, and its usual level has a reach.
FORMAT = 3
MANIFEST = "manifest.json"
#: The tensors of a network.
WEIGHTS = "weights.safetensors"
ADDRESS = re.compile(r"[0-9a-f]{64}")
#: A manifest is a few hundred kilobytes at the longest horizon; more is none of ours.
LARGEST_MANIFEST = 16 * 2**20
#: A zip must name a time, and any but a fixed one would make other bytes of the same files. This is the earliest that it can name.
_TIMELESS = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Saved:
    #: Hash of the manifest, which holds the hash of every other file.
    sha256: str
    #: Of all files together.
    bytes: int
    path: Path


@dataclass(frozen=True, slots=True)
class Taken:
    """An artefact read back, every byte of it checked."""

    manifest: dict[str, Any]
    #: The manifest's own bytes among them.
    files: Mapping[str, bytes]


def put(root: Path, about: Mapping[str, Any], files: Mapping[str, bytes]) -> Saved:
    """Write root/<aa>/<sha256>/ so that it is whole or not there at all, whatever dies when.

    Temp folder inside `root`, every file synced, then renamed, then the parent synced. Putting the same again changes nothing.
    `about` joins the manifest.
    """
    stated = {name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()}
    manifest = to_json({**about, "format": FORMAT, "files": stated})
    whole = {**files, MANIFEST: manifest}
    address = hashlib.sha256(manifest).hexdigest()
    home = folder(root, address)
    try:
        os.utime(home)  # there already: taken up again, which whoever collects abandoned folders can tell by its time
    except FileNotFoundError:
        _write(whole, root, home)
    return Saved(address, sum(len(content) for content in whole.values()), home)


def take(root: Path, sha256: str) -> Taken:
    """Read an artefact back. Raises ArtefactCorrupt saying what differs, NewerRelease."""
    if not ADDRESS.fullmatch(sha256):
        raise ArtefactCorrupt(f"{sha256!r} is no artefact's address.")
    home = folder(root, sha256)
    content = _checked(home / MANIFEST, sha256, None)
    manifest = _parsed(content)
    try:
        files = {name: _checked(home / name, stated["sha256"], stated["bytes"]) for name, stated in manifest["files"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtefactCorrupt(f"The manifest of {sha256[:12]} cannot be understood: {error!r}.", file=MANIFEST) from error
    return Taken(manifest, {**files, MANIFEST: content})


def zipped(files: Mapping[str, bytes], name: str) -> bytes:
    """The files in one folder `name` of a zip, the same bytes each time. Stored, not compressed: weights are noise to a compressor."""
    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as opened:
        for inner, content in sorted(files.items()):
            opened.writestr(zipfile.ZipInfo(f"{name}/{inner}", _TIMELESS), content)
    return made.getvalue()


def folder(root: Path, sha256: str) -> Path:
    return root / sha256[:2] / sha256


def to_json(value: object) -> bytes:
    """Sorted, and refusing NaN, which is no JSON. Floats are written so that they read back to the bit."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False).encode()


def _write(files: Mapping[str, bytes], root: Path, home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=root))
    try:
        for name, content in files.items():
            _write_synced(temporary / name, content)
        _sync_folder(temporary)
        temporary.rename(home)
    except OSError:
        # A twin that renamed first wrote the same bytes; anything else is a real failure.
        if not home.exists():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync_folder(home.parent)
    _sync_folder(root)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(synced: Path) -> None:
    handle = os.open(synced, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _checked(path: Path, sha256: str, size: int | None) -> bytes:
    """The file's bytes, once their number and hash are as written down."""
    try:
        have = path.stat().st_size
        if have != size if size is not None else have > LARGEST_MANIFEST:
            raise ArtefactCorrupt(f"{path.name} has {have} bytes, not {size or f'up to {LARGEST_MANIFEST}'}.", file=path.name)
        content = path.read_bytes()
    except OSError as error:
        raise ArtefactCorrupt(f"{path.name} of {path.parent.name[:12]} cannot be read: {error.strerror}.", file=path.name) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ArtefactCorrupt(f"{path.name} has hash {found[:12]}…, not {sha256[:12]}….", file=path.name)
    return content


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise ArtefactCorrupt("The manifest is no JSON.", file=MANIFEST) from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ArtefactCorrupt("The manifest names no format.", file=MANIFEST)
    require_readable("The artefact", found, FORMAT)
    return cast("dict[str, Any]", manifest)
