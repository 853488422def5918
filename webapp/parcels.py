"""Parcels: a base as a zip, taken apart with care: few files, known names, no more bytes than a body may have."""

from __future__ import annotations

import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from marshmallow import ValidationError

from ml.errors import SpecInvalid
from ml.shelf import MANIFEST, WEIGHTS
from ml.spec import ModelSpec
from webapp.bodies import read_json, read_text
from webapp.problems import Refusal, fault, faults_of, invalid, pointer
from webapp.schemas.imports import Manifest

#: What an exported artefact has besides, and nobody reads here.
BESIDES = ("history.json", "summary.txt")
KNOWN = (WEIGHTS, MANIFEST, *BESIDES)
#: Where the directory of a zip names a file. Counted before it is read: each costs a thousand times its length in memory.
_ENTRY = b"PK\x01\x02"
#: Weights are noise, and may look like one now and then.
MOST_ENTRIES = 100
#: None, or one as an export names it.
_FOLDER = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,99}/)?")
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: A bit of an entry that says it is encrypted.
_LOCKED = 0x1
#: What the reader says of bytes that are no zip, or a torn one.
_TORN = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, OSError, struct.error, zlib.error, lzma.LZMAError)
_MANIFEST = Manifest()


@dataclass(frozen=True, slots=True)
class Parcel:
    """A network and what it says of itself."""

    spec: ModelSpec
    recipe: str | None
    weights: bytes


def parcel(body: bytes, most: int) -> Parcel:
    """The base in a zip whose files have `most` bytes in all. Raises Refusal naming the file, or the member of the manifest."""
    files = _files(body, most)
    missing = [name for name in (WEIGHTS, MANIFEST) if name not in files]
    if missing:
        raise invalid(*(fault(pointer(name), "required", f"The zip has no {name}.") for name in missing))
    told = _manifest(files[MANIFEST])
    return Parcel(_spec(told["spec"]), told["recipe"], files[WEIGHTS])


def _files(body: bytes, most: int) -> dict[str, bytes]:
    if body.count(_ENTRY) > MOST_ENTRIES:
        raise Refusal("body_too_large", f"The zip names more than {MOST_ENTRIES} files; it may hold {', '.join(KNOWN)}.")
    try:
        with zipfile.ZipFile(BytesIO(body)) as opened:
            return dict(_unpacked(opened, most))
    except _TORN as error:
        raise Refusal("malformed_request", f"Not a zip that can be read: {ascii(str(error))[1:200]}.") from None


def _unpacked(opened: zipfile.ZipFile, most: int) -> Iterator[tuple[str, bytes]]:
    """What is declared is all that is unpacked: `ZipFile.read` would inflate a whole file, however large, before it looked at its size."""
    entries = _named(opened.infolist())
    total = sum(entry.file_size for entry in entries.values())
    if total > most:
        raise Refusal("body_too_large", f"The zip's files have {total} bytes; they may have {most} in all (MAX_BODY_BYTES).")
    for name, entry in entries.items():
        if entry.flag_bits & _LOCKED or entry.compress_type not in _PLAIN:
            raise invalid(fault(pointer(name), "not_supported", "Encrypted, or packed in another way than stored or deflated."))
        with opened.open(entry) as file:
            content = file.read(entry.file_size + 1)
        if len(content) != entry.file_size:
            raise zipfile.BadZipFile(f"{name} has {len(content)} bytes, and declares {entry.file_size}")
        yield name, content


def _named(entries: list[zipfile.ZipInfo]) -> Mapping[str, zipfile.ZipInfo]:
    """By name, without the one folder that an export has. Nothing is ever written under these names."""
    told = [(entry.orig_filename[: entry.orig_filename.rfind("/") + 1], entry) for entry in entries]
    folders = sorted({folder for folder, _ in told})
    if len(folders) > 1 or not all(_FOLDER.fullmatch(folder) for folder in folders):
        raise invalid(fault("", "not_allowed", f"Files must lie side by side, in no folder or in one: {_shown(folders)}."))
    files = [(entry.orig_filename.removeprefix(folder), entry) for folder, entry in told if entry.orig_filename != folder]
    found = dict(files)
    unknown = sorted(found.keys() - set(KNOWN))
    if unknown:
        raise invalid(fault("", "not_allowed", f"The zip may hold {', '.join(KNOWN)}, and has {_shown(unknown)}."))
    if len(found) != len(files):
        raise invalid(fault("", "not_allowed", "The zip has a file twice."))
    return found


def _manifest(content: bytes) -> dict[str, Any]:
    try:
        told: dict[str, Any] = _MANIFEST.load(read_json(read_text(content)))
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{MANIFEST}: {refusal.detail}") from None
    except ValidationError as error:
        raise invalid(*faults_of(error.messages, MANIFEST)) from None
    return told


def _spec(told: Mapping[str, Any]) -> ModelSpec:
    try:
        return ModelSpec.from_dict(told)
    except SpecInvalid as error:
        place = pointer(MANIFEST, "spec", *error.field.split("."))
        raise invalid(fault(place, "out_of_bounds", error.detail)) from None


def _shown(names: list[str]) -> str:
    return ascii(names)[:200]
