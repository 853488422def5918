"""The mind's customs: whether bytes from outside are the tensors that a spec declares. Found out with the standard library alone.

The format is safetensors': eight bytes with the header's length, the header as JSON, and the numbers, which it gives each tensor a place
in. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from ml.errors import WeightsInvalid
from ml.shapes import declared
from ml.spec import ModelSpec

#: Some thirty tensors take four kilobytes. A header is read as a whole before anything of it is known.
LARGEST_HEADER = 2**20
#: Characters of a name from outside that are repeated to its sender.
SHOWN = 100
#: Bytes that are looked at in one step.
_PIECE = 2**16
#: Of one float32 as it lies in the file: all of its exponent, the least of it, and its sign.
_LANES = (b"\0\0\x80\x7f", b"\0\0\x80\0", b"\0\0\0\x80")
#: A member of the header that is no tensor.
_METADATA = "__metadata__"
_MEMBERS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor's numbers lie behind the header."""

    name: str
    begin: int
    end: int


def require(content: bytes, spec: ModelSpec) -> None:
    """Raises WeightsInvalid for the first thing that is not as the spec declares it: name, type, shape, place, a number that is none."""
    header, body = _opened(content)
    shapes = declared(spec)
    _require_names(header, shapes)
    places = [_place(name, header[name], shape) for name, shape in shapes.items()]
    _require_tiled(places, len(body))
    for place in places:
        _require_finite(place, body[place.begin : place.end])


def packed(tensors: Mapping[str, Sequence[float]], spec: ModelSpec) -> bytes:
    """The numbers of every tensor of the spec, row by row, as a safetensors file."""
    header: dict[str, Any] = {}
    body = bytearray()
    for name, shape in declared(spec).items():
        begin = len(body)
        body += struct.pack(f"<{math.prod(shape)}f", *tensors[name])
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, len(body)]}
    told = json.dumps(header).encode()
    return len(told).to_bytes(8, "little") + told + bytes(body)


def _opened(content: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header's tensors, and all behind it."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(LARGEST_HEADER, len(content) - 8):
        most = max(0, min(LARGEST_HEADER, len(content) - 8))
        raise WeightsInvalid(None, f"no safetensors file: its header would have {length} bytes, {most} at most are possible")
    header = _parsed(content[8 : 8 + length])
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict):
        raise WeightsInvalid(_METADATA, "must be an object")
    return header, memoryview(content)[8 + length :]


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode(), parse_constant=_no_constant, object_pairs_hook=_plain)
    except (ValueError, RecursionError) as error:
        raise WeightsInvalid(None, f"its header is not JSON that can be read: {str(error)[:SHOWN]}") from error
    if not isinstance(header, dict):
        raise WeightsInvalid(None, "its header is no object")
    return header


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _require_names(header: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    missing = next((name for name in shapes if name not in header), None)
    if missing is not None:
        raise WeightsInvalid(missing, f"missing; the spec declares it as float32 {list(shapes[missing])}")
    unknown = next((name for name in header if name not in shapes), None)
    if unknown is not None:
        raise WeightsInvalid(unknown, f"the spec declares no such tensor; it declares {', '.join(shapes)}")


def _place(name: str, told: Any, shape: tuple[int, ...]) -> _Place:
    if not isinstance(told, dict) or told.keys() != _MEMBERS:
        raise WeightsInvalid(name, f"must be an object of {', '.join(sorted(_MEMBERS))}")
    if told["dtype"] != "F32":
        raise WeightsInvalid(name, f"is {_shown(told['dtype'])}; the network is float32 (F32): convert it with .float()")
    if not _whole(told["shape"]) or tuple(told["shape"]) != shape:
        raise WeightsInvalid(name, f"has the shape {_shown(told['shape'])}; the spec declares {list(shape)}")
    offsets = told["data_offsets"]
    if not _whole(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != 4 * math.prod(shape):
        raise WeightsInvalid(name, f"has the data_offsets {_shown(offsets)}; {list(shape)} of float32 take {4 * math.prod(shape)} bytes")
    return _Place(name, *offsets)


def _whole(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int and number >= 0 for number in numbers)


def _require_tiled(places: list[_Place], size: int) -> None:
    """One behind the other from the first byte to the last: no number is read twice, and nothing lies hidden between them."""
    at = 0
    for place in sorted(places, key=lambda place: place.begin):
        if place.begin != at or place.end > size:
            span = f"data_offsets [{place.begin}, {place.end}]"
            raise WeightsInvalid(place.name, f"has the {span}; it must begin at {at}, where the one before ends, and end by {size}")
        at = place.end
    if at != size:
        raise WeightsInvalid(None, f"{size - at} bytes behind the last tensor belong to none")


def _require_finite(place: _Place, numbers: memoryview) -> None:
    for at in range(0, len(numbers), _PIECE):
        piece = numbers[at : at + _PIECE]
        if not _all_finite(piece):
            where, value = next((n, value) for n, (value,) in enumerate(struct.iter_unpack("<f", piece)) if not math.isfinite(value))
            found = f"number {at // 4 + where} of {len(numbers) // 4} is {value}"
            raise WeightsInvalid(place.name, f"{found}; every number must be finite")


def _all_finite(numbers: memoryview) -> bool:
    """Whether no exponent is all ones: one more would carry into the sign's place. As one long integer, for a loop would hold others up."""
    exponents, one, signs = _masks(len(numbers) // 4)
    return not ((int.from_bytes(numbers, "little") & exponents) + one) & signs


@lru_cache(maxsize=8)
def _masks(lanes: int) -> tuple[int, int, int]:
    exponents, one, signs = (int.from_bytes(lane * lanes, "little") for lane in _LANES)
    return exponents, one, signs


def _shown(value: Any) -> str:
    return ascii(value)[:SHOWN]
