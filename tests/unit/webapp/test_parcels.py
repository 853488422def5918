"""A base's zip: taken apart within bounds, and every fault told at its file or member."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.shelf import MANIFEST, WEIGHTS, zipped
from ml.spec import ModelSpec
from webapp.examples.bases import ELSEWHERE, ELSEWHERE_SPEC
from webapp.parcels import parcel
from webapp.problems import Refusal

MOST = 100_000
SPEC = ELSEWHERE_SPEC.as_dict()
TOLD = json.dumps({"spec": SPEC}).encode()
FILES = {WEIGHTS: b"\1" * 1_000, MANIFEST: TOLD}


def packed(files: list[tuple[str, bytes]] | dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", how) as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name given twice, which is what a test wants
        for name, content in files if isinstance(files, list) else files.items():
            opened.writestr(zipfile.ZipInfo(name), content, compress_type=how)
    return made.getvalue()


def saying(**manifest: Any) -> bytes:
    return packed(FILES | {MANIFEST: json.dumps({"spec": SPEC, **manifest}).encode()})


def refused(body: bytes, most: int = MOST) -> Refusal:
    with pytest.raises(Refusal) as found:
        parcel(body, most)
    assert len(found.value.detail) < 2_000
    assert found.value.detail.isascii()
    return found.value


@pytest.mark.parametrize(
    "body",
    [
        packed(FILES),
        packed(FILES, zipfile.ZIP_STORED),
        packed(dict(reversed(FILES.items()))),
        zipped(FILES, "mdl_01KAG2Z5X8Q0V7M4R3T6W9Y1B4-1.0.0"),
        zipped(FILES | {"history.json": b"[]", "summary.txt": b"u"}, "export"),
        packed({"a/": b"", **{f"a/{name}": each for name, each in FILES.items()}}),
        packed(FILES) + b"\0",
    ],
    ids=["deflated", "stored", "in another order", "in a folder", "an export", "with the folder's entry", "with a byte behind it"],
)
def test_what_is_taken(body: bytes) -> None:
    found = parcel(body, MOST)
    assert (found.spec, found.recipe, found.weights) == (ELSEWHERE_SPEC, None, FILES[WEIGHTS])


def test_what_the_manifest_leaves_out_is_the_specs_own_default() -> None:
    body = packed(FILES | {MANIFEST: b'{"spec": {"targets": ["a"], "split": {"fit": 0.6, "test": 0.24}}, "recipe": "mine", "entity": "u"}'})
    found = parcel(body, MOST)
    assert found.recipe == "mine"
    assert found.spec == ModelSpec(("a",)).override({"split": {"fit": 0.6, "test": 0.24}})


def lying(name: str, size: int) -> bytes:
    """A file that declares another size than it has, in both places where a zip tells it."""
    honest = packed(FILES)
    real = struct.pack("<I", len(FILES[name]))
    assert honest.count(real) == 2
    return honest.replace(real, struct.pack("<I", size))


def flagged(body: bytes, offset: int, value: int) -> bytes:
    """The 16 bits at this place of every entry of the directory."""
    changed = bytearray(body)
    at = changed.find(b"PK\x01\x02")
    while at >= 0:
        changed[at + offset : at + offset + 2] = struct.pack("<H", value)
        at = changed.find(b"PK\x01\x02", at + 4)
    return bytes(changed)


#: Zips that are refused: the code, and what is said.
ZIPS: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "malformed_request", "Not a zip"),
    "text": (b"x" * 1_000, "malformed_request", "Not a zip"),
    "cut off": (ELSEWHERE[:-40], "malformed_request", "Not a zip"),
    "without its head": (ELSEWHERE[40:], "malformed_request", "Not a zip"),
    "an empty zip": (packed({}), "validation_failed", "The zip has no weights.safetensors"),
    "no weights": (packed({MANIFEST: TOLD}), "validation_failed", "The zip has no weights.safetensors"),
    "no manifest": (packed({WEIGHTS: b"x"}), "validation_failed", "The zip has no manifest.json"),
    "a file more": (packed(FILES | {"evil.py": b""}), "validation_failed", "and has ['evil.py']"),
    "a pickle": (packed(FILES | {"model.pth": b""}), "validation_failed", "and has ['model.pth']"),
    "a root's own entry": (packed({"/": b"", **FILES}), "validation_failed", "side by side"),
    "a file twice": (packed([*FILES.items(), (WEIGHTS, b"")]), "validation_failed", "a file twice"),
    "two folders": (packed({f"a/{WEIGHTS}": b"", f"b/{MANIFEST}": TOLD}), "validation_failed", "side by side"),
    "beside a folder": (packed({WEIGHTS: b"", f"b/{MANIFEST}": TOLD}), "validation_failed", "side by side"),
    "up": (packed({f"../{name}": each for name, each in FILES.items()}), "validation_failed", "side by side"),
    "far up": (packed({f"../../etc/{name}": each for name, each in FILES.items()}), "validation_failed", "side by side"),
    "absolute": (packed({f"/{name}": each for name, each in FILES.items()}), "validation_failed", "side by side"),
    "a root": (packed({f"/etc/{name}": each for name, each in FILES.items()}), "validation_failed", "side by side"),
    "backslashes": (packed({f"a\\{name}": each for name, each in FILES.items()}), "validation_failed", "and has ["),
    "a drive": (packed({f"C:/{name}": each for name, each in FILES.items()}), "validation_failed", "side by side"),
    "a long name": (packed(FILES | {"x" * 60_000: b""}), "validation_failed", "and has ["),
    "a name that is no text": (
        packed(FILES | {"\udcff".encode("utf8", "surrogatepass").decode("latin1"): b""}),
        "validation_failed",
        "has [",
    ),
    "more than it may": (packed(FILES | {WEIGHTS: b"\0" * MOST}), "body_too_large", f"they may have {MOST}"),
    "many files": (packed([(f"{n}", b"") for n in range(200)]), "body_too_large", "names more than 100 files"),
    "other packing": (packed(FILES, zipfile.ZIP_LZMA), "validation_failed", "stored or deflated"),
    "and another": (packed(FILES, zipfile.ZIP_BZIP2), "validation_failed", "stored or deflated"),
    "encrypted": (flagged(packed(FILES), 8, 1), "validation_failed", "Encrypted"),
    "packed as nobody does": (flagged(packed(FILES), 10, 77), "validation_failed", "stored or deflated"),
    "less told than there is": (lying(WEIGHTS, 10), "malformed_request", "CRC"),
    "more told than there is": (lying(WEIGHTS, 50_000), "malformed_request", "Not a zip"),
    "much more told than there is": (lying(WEIGHTS, 2**31), "body_too_large", "bytes"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_that_is_refused(name: str) -> None:
    body, code, said = ZIPS[name]
    found = refused(body)
    assert (found.code, said in found.detail) == (code, True), (found.code, found.detail)


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousandth of it is sent; nothing of it is read."""
    bomb = packed(FILES | {WEIGHTS: b"\0" * 50 * MOST})
    assert len(bomb) < MOST
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was read"))
    assert refused(bomb).code == "body_too_large"


@pytest.mark.parametrize("checksum", ["of all of it", "of what is declared"])
def test_no_more_is_inflated_than_is_declared(monkeypatch: pytest.MonkeyPatch, checksum: str) -> None:
    """`ZipFile.read` inflates a file whole, up to a GiB, and cuts it to its declared size only then."""
    honest, declared = packed(FILES | {WEIGHTS: b"\0" * 2**23}), 1_000
    body = honest.replace(struct.pack("<I", 2**23), struct.pack("<I", declared))
    if checksum == "of what is declared":
        body = body.replace(struct.pack("<I", zlib.crc32(b"\0" * 2**23)), struct.pack("<I", zlib.crc32(b"\0" * declared)))
    inflated: list[int] = []
    real: Callable[[int], Any] = zipfile._get_decompressor

    class Counting:
        def __init__(self, how: int) -> None:
            self.real = real(how)

        def decompress(self, packed: bytes, most: int = 0) -> bytes:
            found: bytes = self.real.decompress(packed, most)
            inflated.append(len(found))
            return found

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    monkeypatch.setattr(zipfile, "_get_decompressor", Counting)
    with suppress(Refusal):
        parcel(body, MOST)
    assert 0 < sum(inflated) < 20_000


#: Manifests that are refused, and the pointer.
MANIFESTS: list[tuple[bytes, str]] = [
    (saying(spec=None), "/manifest.json/spec"),
    (saying(spec=[1]), "/manifest.json/spec"),
    (packed(FILES | {MANIFEST: b"{}"}), "/manifest.json/spec"),
    (packed(FILES | {MANIFEST: b"[]"}), "/manifest.json"),
    (saying(spec={}), "/manifest.json/spec/targets"),
    (saying(recipe=5), "/manifest.json/recipe"),
    (saying(recipe=""), "/manifest.json/recipe"),
    *((saying(spec=SPEC | change), f"/manifest.json/spec/{'/'.join(steps)}") for change, steps in (
        ({"targets": "rhr"}, ["targets"]),
        ({"targets": []}, ["targets"]),
        ({"targets": ["a", "a"]}, ["targets"]),
        ({"targets": [5]}, ["targets", "0"]),
        ({"targets": ["\0"]}, ["targets", "0"]),
        ({"covariates": ["rhr"]}, ["covariates"]),
        ({"hidden_size": 8.5}, ["hidden_size"]),
        ({"hidden_size": "8"}, ["hidden_size"]),
        ({"hidden_size": True}, ["hidden_size"]),
        ({"hidden_size": 10**9}, ["hidden_size"]),
        ({"num_layers": 0}, ["num_layers"]),
        ({"network": "transformer"}, ["network"]),
        ({"network": ["lstm"]}, ["network"]),
        ({"rolling": [1]}, ["rolling", "0"]),
        ({"split": {"fit": 0.9}}, ["split"]),
        ({"split": {"fit": 2.0}}, ["split", "fit"]),
        ({"dropout": None}, ["dropout"]),
        ({"cadence_s": 0}, ["cadence_s"]),
        ({"surprise": 1}, ["surprise"]),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("body", "where"), MANIFESTS, ids=[f"{n} {where}" for n, (_, where) in enumerate(MANIFESTS)])
def test_a_manifest_that_is_refused_at_its_place(body: bytes, where: str) -> None:
    found = refused(body)
    assert found.code == "validation_failed"
    assert found.extra["errors"][0]["pointer"] == where, found.extra


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'{"spec": NaN}', b'{"spec": 1, "spec": 2}', b"[" * 50_000, b"9" * 5_000])
def test_a_manifest_that_is_no_json(text: bytes) -> None:
    found = refused(packed(FILES | {MANIFEST: text}))
    assert (found.code, found.detail.startswith("manifest.json: ")) == ("malformed_request", True)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_bytes_made_up_are_refused(body: bytes) -> None:
    refused(body)


GOOD = {how: packed(FILES, how) for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)}


@given(st.sampled_from(list(GOOD)), st.data())
@settings(max_examples=600, deadline=None)
def test_a_good_zip_with_bytes_changed_is_taken_or_refused(how: int, data: st.DataObject) -> None:
    """Of what a zip tells about itself, mostly: the last bytes."""
    body = bytearray(GOOD[how])
    for _ in range(data.draw(st.integers(1, 4))):
        back = data.draw(st.one_of(st.integers(1, 200), st.integers(1, len(body))))
        body[-back] = data.draw(st.integers(0, 255))
    with suppress(Refusal):
        parcel(bytes(body), MOST)
