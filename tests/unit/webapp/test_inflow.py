"""Bodies that flow in: unpacked within bounds, cut into lines, refused where they break."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from collections.abc import Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from webapp import inflow
from webapp.inflow import UNPACKED, Body, lines
from webapp.problems import Refusal

PACK = {"identity": bytes, "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}
PLENTY = 2**30


def unpacked(sent: bytes, encoding: str, most: int = PLENTY) -> Iterator[bytes]:
    body = io.BufferedReader(Body(UNPACKED[encoding](io.BytesIO(sent)), most), inflow.PIECE)
    return iter(lambda: body.read(inflow.PIECE), b"")


@pytest.mark.parametrize("encoding", UNPACKED)
@given(content=st.binary(max_size=300), copies=st.integers(1, 2_000), cut=st.integers(0, 300))
def test_what_was_packed_comes_out_in_one_part_or_in_two(encoding: str, content: bytes, copies: int, cut: int) -> None:
    whole, pack = content * copies, PACK[encoding]
    assert b"".join(unpacked(pack(whole), encoding)) == whole
    assert b"".join(unpacked(pack(whole[:cut]) + pack(whole[cut:]), encoding)) == whole


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_body_that_is_torn_is_refused_wherever_it_is(encoding: str) -> None:
    sent = PACK[encoding](bytes(range(256)) * 50)
    for end in range(1, len(sent)):
        with pytest.raises(Refusal, match="cannot be unpacked"):
            b"".join(unpacked(sent[:end], encoding))
    for garbage in (b"plain text", sent + b"more"):
        with pytest.raises(Refusal, match="cannot be unpacked"):
            b"".join(unpacked(garbage, encoding))


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_refused_before_it_is_unpacked(encoding: str) -> None:
    """400 MB of zeros in some kilobytes: refused at the limit, with no more than a few megabytes ever held."""
    sent = PACK[encoding](bytes(4 * 2**20)) * 100
    tracemalloc.start()
    try:
        with pytest.raises(Refusal, match="MAX_STREAM_BYTES") as refusal:
            assert max(len(piece) for piece in unpacked(sent, encoding, 50 * 2**20)) <= inflow.PIECE
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refusal.value.code == "body_too_large"
    assert held < 25 * 2**20, held


def test_a_frame_that_asks_for_much_memory_is_refused() -> None:
    greedy = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=greedy).compressobj()
    with pytest.raises(Refusal, match="cannot be unpacked"):
        b"".join(unpacked(packer.compress(b"x" * 1000) + packer.flush(), "zstd"))


@given(text=st.text(st.sampled_from('a"\r\n,é€🜁')))
def test_lines_are_those_of_the_whole_text(text: str) -> None:
    assert list(lines(io.BytesIO(text.encode()), 10**6)) == list(io.StringIO(text, newline=""))
    assert list(lines(io.BytesIO(b"\xef\xbb\xbf" + text.encode()), 10**6)) == list(io.StringIO(text, newline=""))


def test_a_line_has_a_length_and_a_body_a_number_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflow, "LONGEST_LINE", 10)
    assert list(lines(io.BytesIO(b"123456789\nb"), 2)) == ["123456789\n", "b"]
    for content, code in (
        (b"a\n1234567890\n", "Line 2 is longer"),
        (b"\n\n\n", "may bring 2 lines"),
        (b"a\n\xff\n", "not UTF-8, near line"),
    ):
        with pytest.raises(Refusal, match=code):
            list(lines(io.BytesIO(content), 2))
