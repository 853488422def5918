"""The one file of a backup: a tar of the dump, the artefacts and a manifest that lets nothing of them be changed unseen."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

from ml import shelf
from ml.errors import ArtefactCorrupt, NewerRelease
from ops.house import HouseError

#: Raised when a reader of the older form could not read the newer one.
FORMAT = 1
DUMP, MANIFEST, SEAL = "database.dump", "manifest.json", "manifest.sha256"
ARTEFACTS = "artefacts"
#: How each ending is compressed; what this Python's tarfile cannot do is not offered.
ENDINGS: Mapping[str, str] = {
    ending: how
    for ending, how in ((".tar", "tar"), (".gz", "gz"), (".tgz", "gz"), (".bz2", "bz2"), (".xz", "xz"), (".zst", "zst"))
    if how in tarfile.TarFile.OPEN_METH
}
#: A manifest names each artefact: a million of them are 70 MB. The seal is one line.
LARGEST_MANIFEST = 256 * 2**20
#: Artefacts lie as on the shelf: by the first two signs of their address, then by all of it.
_MEMBER = re.compile(rf"{DUMP}|{MANIFEST}|{SEAL}|{ARTEFACTS}/[0-9a-f]{{2}}/{shelf.ADDRESS.pattern}/[A-Za-z0-9_-][A-Za-z0-9_.-]*")
#: What reading a damaged or foreign file can raise.
_UNREADABLE = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


class Damaged(Exception):
    """Bytes are not as they were written; the sentence says which."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a backup holds, and of what."""

    format: int
    #: The version that wrote it, and when.
    fleetcast: str
    made_at: str
    #: The newest migration, the server's version, the major version of pg_dump, the schema of our tables.
    revision: str
    server: str
    dumped_by: int
    schema: str
    #: Rows of each table.
    rows: dict[str, int]
    dump_sha256: str
    #: The artefacts it holds, and those that should have been there.
    artefacts: list[str]
    missing: list[str]


@contextmanager
def private(file: Path) -> Iterator[Path]:
    """A folder beside the file that nobody else can enter, and that is gone afterwards."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as side:
            yield Path(side)
    except OSError as error:
        raise HouseError(f"{file} cannot be written: {error.strerror or error}. Name a file in a folder of yours with room.") from error


@contextmanager
def written(file: Path, side: Path) -> Iterator[tarfile.TarFile]:
    """A tar that bears the file's name only once it is whole and on disk, and that nobody else can read."""
    aside = side / file.name
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw:
        with tarfile.open(fileobj=raw, mode=f"w:{ENDINGS[file.suffix].replace('tar', '')}") as tar:  # type: ignore[call-overload]
            yield tar
        raw.flush()
        os.fsync(raw.fileno())
    aside.rename(file)
    sync(file.parent)


def add_dump(tar: tarfile.TarFile, dump: Path) -> str:
    """Its hash."""
    with dump.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        content.seek(0)
        tar.addfile(_member(DUMP, dump.stat().st_size), content)
    return sha256


def add_artefact(tar: tarfile.TarFile, address: str, files: Mapping[str, bytes]) -> None:
    home = shelf.folder(Path(ARTEFACTS), address)
    for name, content in files.items():
        tar.addfile(_member((home / name).as_posix(), len(content)), BytesIO(content))


def add_manifest(tar: tarfile.TarFile, manifest: Manifest) -> None:
    """Last, with its own hash beside it, as `sha256sum --check` reads it."""
    content = json.dumps(asdict(manifest), indent=1).encode()
    seal = f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode()
    for name, told in ((MANIFEST, content), (SEAL, seal)):
        tar.addfile(_member(name, len(told)), BytesIO(told))


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    return member


def unpack(file: Path, into: Path) -> Manifest:
    """Everything of it, on disk, and every byte checked. Raises HouseError for a file that is damaged or none of ours."""
    try:
        with tarfile.open(file, "r:*") as tar:
            for member in tar:
                _take(tar, member, into)
        return _checked(into)
    except Damaged as error:
        raise HouseError(f"{file} is damaged or no backup of ours: {error} Nothing was restored; take another backup.") from error
    except _UNREADABLE as error:
        raise HouseError(f"{file} cannot be read: {error}. Nothing was restored; take another backup.") from error


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    """Only plain files of our names: no path of the tar's own choosing is ever written to."""
    content = tar.extractfile(member) if member.isreg() and _MEMBER.fullmatch(member.name) else None
    if content is None:
        raise Damaged(f"It holds {member.name!r}.")
    target = into / member.name
    # As the shelf makes them.
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with target.open("xb") as out:
            shutil.copyfileobj(content, out)
            out.flush()
            os.fsync(out.fileno())
    except FileExistsError:
        raise Damaged(f"It holds {member.name!r} twice.") from None


def _checked(folder: Path) -> Manifest:
    manifest = _manifest(folder)
    with _opened(folder / DUMP) as dump:
        if hashlib.file_digest(dump, "sha256").hexdigest() != manifest.dump_sha256:
            raise Damaged(f"{DUMP} has another hash than the manifest says.")
    if {place.name for place in (folder / ARTEFACTS).glob("*/*")} != set(manifest.artefacts):
        raise Damaged("It does not hold the artefacts that the manifest names.")
    for address in manifest.artefacts:
        files = artefact(folder / ARTEFACTS, address)
        if {place.name for place in shelf.folder(folder / ARTEFACTS, address).iterdir()} != files.keys():
            raise Damaged(f"Artefact {address} has files that are not its own.")
    return manifest


def _manifest(folder: Path) -> Manifest:
    with _opened(folder / MANIFEST) as told, _opened(folder / SEAL) as seal:
        content, sealed = told.read(LARGEST_MANIFEST), seal.read(200).decode(errors="replace")
    if sealed.split() != [hashlib.sha256(content).hexdigest(), MANIFEST]:
        raise Damaged(f"{MANIFEST} has another hash than {SEAL} says.")
    found: dict[str, Any] = json.loads(content)
    if found.get("format") != FORMAT:
        raise Damaged(f"Its form is {found.get('format')}, and this version of fleetcast reads {FORMAT}.")
    unlike = found.keys() ^ {field.name for field in fields(Manifest)}
    if unlike:
        raise Damaged(f"Its manifest differs in {', '.join(sorted(unlike))}.")
    return Manifest(**found)


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise Damaged(f"It holds no {path.name}.") from None


def artefact(root: Path, address: str) -> Mapping[str, bytes]:
    """The files of an artefact, each as it was saved. Raises Damaged."""
    try:
        return shelf.take(root, address).files
    except ArtefactCorrupt as error:
        raise Damaged(f"Artefact {address} is missing or corrupt: {error}") from error
    except NewerRelease as error:
        raise Damaged(f"Artefact {address} cannot be checked: {error}") from error


def put_in_place(unpacked: Path, models: Path, addresses: Iterable[str]) -> None:
    """Move the artefacts to where workers look for them; those that are there already stay."""
    for address in addresses:
        found, home = shelf.folder(unpacked / ARTEFACTS, address), shelf.folder(models, address)
        if not home.exists():
            home.parent.mkdir(parents=True, exist_ok=True)
            sync(found)
            found.rename(home)
            sync(home.parent)
    sync(models)


def sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
