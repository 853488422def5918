"""Tensors from outside: what the network's own writer wrote is taken, and nothing that torch could not load as the spec declares it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.errors import WeightsInvalid
from ml.networks import build
from ml.shapes import declared
from ml.spec import CHOICES, ModelSpec
from ml.weights import LARGEST_HEADER, packed, require

SPEC = ModelSpec(("a",), hidden_size=8, num_layers=1, horizon=2, window=4)
HEAD = "head.bias"
Header = dict[str, Any]


def learned(spec: ModelSpec = SPEC) -> dict[str, torch.Tensor]:
    return {name: torch.randn_like(tensor) for name, tensor in build(spec).state_dict().items()}


def file_of(header: Any, body: bytes) -> bytes:
    told = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(told)) + told + body


def parts(content: bytes) -> tuple[Header, bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


GOOD = safetensors.torch.save(learned())


@pytest.mark.parametrize("network", CHOICES["network"])
def test_what_the_library_writes_is_taken(network: str) -> None:
    spec = SPEC.override({"network": network, "future_covariates": ["p"], "num_layers": 2})
    require(safetensors.torch.save(learned(spec)), spec)
    require(safetensors.torch.save(learned(spec), metadata={"format": "pt"}), spec)


def test_what_we_write_is_read_by_the_library() -> None:
    tensors = learned()
    content = packed({name: tensor.flatten().tolist() for name, tensor in tensors.items()}, SPEC)
    require(content, SPEC)
    read = safetensors.torch.load(content)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_the_order_of_the_tensors_is_the_writers_own() -> None:
    header, body = parts(GOOD)
    require(file_of(dict(reversed(header.items())), body), SPEC)


def changed(**members: Any) -> Callable[[Header], Header]:
    return lambda header: header | {HEAD: header[HEAD] | members}


#: What is done to the header, the tensor that is named, and what the refusal says.
HARMS: list[tuple[Callable[[Header], Any], str | None, str]] = [
    (lambda header: {name: told for name, told in header.items() if name != HEAD}, HEAD, r"missing; .*float32 \[2\]"),
    (lambda header: header | {"fc.weight": header[HEAD]}, "fc.weight", "declares no such tensor; it declares layers.0"),
    (lambda header: header | {"x" * 9_000: header[HEAD]}, "x" * 200, "declares no such tensor"),
    (lambda header: header | {"a/~b\ud800": header[HEAD]}, "a/~b\\ud800", "declares no such tensor"),
    (lambda header: header | {HEAD: [1]}, HEAD, "must be an object of"),
    (lambda header: header | {HEAD: None}, HEAD, "must be an object of"),
    (changed(more=1), HEAD, "must be an object of"),
    (changed(dtype="F64"), HEAD, r"is 'F64'; .*\.float\(\)"),
    (changed(dtype="BF16"), HEAD, "is 'BF16'"),
    (changed(dtype=["F32"]), HEAD, "float32"),
    (changed(dtype="x" * 9_000), HEAD, "float32"),
    (changed(shape=[3]), HEAD, r"shape \[3\]; the spec declares \[2\]"),
    (changed(shape=[2, 1]), HEAD, "shape"),
    (changed(shape=[2.0]), HEAD, "shape"),
    (changed(shape=[True, True]), HEAD, "shape"),
    (changed(shape="2"), HEAD, "shape"),
    (changed(shape=[10**4000]), HEAD, "shape"),
    (changed(data_offsets=[0]), HEAD, "data_offsets"),
    (changed(data_offsets=[8, 0]), HEAD, "data_offsets"),
    (changed(data_offsets=[-8, 0]), HEAD, "data_offsets"),
    (changed(data_offsets=[0.0, 8.0]), HEAD, "data_offsets"),
    (changed(data_offsets={"0": 8}), HEAD, "data_offsets"),
    (lambda header: header | {"__metadata__": "pt"}, "__metadata__", "must be an object"),
    (lambda header: list(header), None, "no object"),
    (lambda _: b"{", None, "not JSON"),
    (lambda _: b"", None, "not JSON"),
    (lambda _: b"\xff", None, "not JSON"),
    (lambda _: b'{"a": NaN}', None, "NaN is no JSON number"),
    (lambda _: b'{"a": 1, "a": 1}', None, "same key twice"),
    (lambda _: b'{"a": ' + b"9" * 5_000 + b"}", None, "not JSON"),
    (lambda _: b'{"a":' * 50_000, None, "not JSON"),
    (lambda _: b"[" * 500_000, None, "not JSON"),
]


@pytest.mark.parametrize(("harm", "tensor", "said"), HARMS)
def test_a_header_that_does_not_fit_is_refused_by_name(harm: Callable[[Header], Any], tensor: str | None, said: str) -> None:
    header, body = parts(GOOD)
    with pytest.raises(WeightsInvalid, match=said) as refused:
        require(file_of(harm(header), body), SPEC)
    [fault] = refused.value.extra["errors"]
    shown = "" if tensor is None else "/" + tensor.replace("~", "~0").replace("/", "~1")
    assert fault["pointer"] == "/weights.safetensors" + shown
    assert len(refused.value.detail) < 1_000
    assert refused.value.detail.isascii()


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\0" * 8, b"\xff" * 64, struct.pack("<Q", LARGEST_HEADER + 1) + b" " * 2**21])
def test_what_is_no_safetensors_file(content: bytes) -> None:
    with pytest.raises(WeightsInvalid):
        require(content, SPEC)


def test_no_number_is_read_twice_and_none_lies_hidden() -> None:
    header, body = parts(GOOD)
    other = next(name for name, told in header.items() if told["data_offsets"][1] - told["data_offsets"][0] == 4 * 32 and name != HEAD)
    twin = next(name for name, told in header.items() if told["shape"] == header[other]["shape"] and name != other)
    with pytest.raises(WeightsInvalid, match="must begin at"):
        require(file_of(header | {other: header[twin]}, body), SPEC)
    far = header | {HEAD: header[HEAD] | {"data_offsets": [10**30, 10**30 + 8]}}
    with pytest.raises(WeightsInvalid, match="must begin at"):
        require(file_of(far, body), SPEC)
    with pytest.raises(WeightsInvalid, match="4 bytes behind the last tensor"):
        require(GOOD + b"\0" * 4, SPEC)
    with pytest.raises(WeightsInvalid, match="end by"):
        require(GOOD[:-4], SPEC)
    apart = {name: told | {"data_offsets": [at + 4 for at in told["data_offsets"]]} for name, told in header.items()}
    with pytest.raises(WeightsInvalid, match="must begin at 0"):
        require(file_of(apart, b"\0" * 4 + body), SPEC)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", declared(SPEC))
def test_every_number_must_be_finite(name: str, value: float) -> None:
    tensors = learned()
    tensors[name].view(-1)[-1] = value
    with pytest.raises(WeightsInvalid, match=f"Tensor {name}: number {tensors[name].numel() - 1} of {tensors[name].numel()} is"):
        require(safetensors.torch.save(tensors), SPEC)


def test_opposite_infinities_do_not_make_a_number() -> None:
    tensors = learned()
    tensors[HEAD][:] = torch.tensor([float("inf"), float("-inf")])
    with pytest.raises(WeightsInvalid, match="number 0 of 2 is inf"):
        require(safetensors.torch.save(tensors), SPEC)


def test_the_greatest_numbers_are_numbers() -> None:
    require(safetensors.torch.save({name: torch.full_like(t, torch.finfo(t.dtype).max) for name, t in learned().items()}), SPEC)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=4), max_leaves=6
)
MEMBERS = st.dictionaries(st.sampled_from(("dtype", "shape", "data_offsets", "more")), JSON | st.just("F32") | st.just([2]), max_size=4)
HEADERS = st.dictionaries(st.sampled_from((*declared(SPEC), "__metadata__", "other")), MEMBERS | JSON, max_size=8)


def taken(content: bytes) -> bool:
    """Whether it is taken; and if so, the library reads the tensors of the spec from it."""
    try:
        require(content, SPEC)
    except WeightsInvalid:
        return False
    read = safetensors.torch.load(content)
    assert {name: tuple(tensor.shape) for name, tensor in read.items()} == declared(SPEC)
    assert all(bool(torch.isfinite(tensor).all()) and tensor.dtype == torch.float32 for tensor in read.values())
    return True


@given(HEADERS, st.binary(max_size=64))
@settings(max_examples=200, deadline=None)
def test_a_header_made_up_is_refused_and_nothing_else_is_raised(header: Header, body: bytes) -> None:
    assert not taken(file_of(header, body))


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_bytes_made_up_are_refused(content: bytes) -> None:
    assert not taken(content)


@given(st.sampled_from(list(declared(SPEC))), MEMBERS)
@settings(max_examples=200, deadline=None)
def test_a_good_header_with_members_changed(name: str, members: dict[str, Any]) -> None:
    header, body = parts(GOOD)
    taken(file_of(header | {name: header[name] | members}, body))


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_a_good_file_with_bytes_changed(changes: list[tuple[int, int]]) -> None:
    harmed = bytearray(GOOD)
    for place, value in changes:
        harmed[place] = value
    taken(bytes(harmed))
