"""The search for secrets finds what is there: a secret planted in any of its guises, and nothing where there is none."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.leaks import guises, leaked

SECRET = "s3cr/t+w0rd&of=Jana"
#: How a secret may come to stand in what a program writes.
PLANTED: dict[str, Callable[[str], bytes]] = {
    "as it is": lambda secret: f"password={secret};".encode(),
    "in a URL": lambda secret: f"redis://:{quote(secret, safe='')}@127.0.0.1".encode(),
    "in a URL, each byte of it": lambda secret: "".join(f"%{byte:02x}" for byte in secret.encode()).encode(),
    "in JSON": lambda secret: json.dumps({"error": f'of "{secret}"'}).encode(),
    "in hex": lambda secret: secret.encode().hex().encode(),
    "in Basic": lambda secret: b"Basic " + base64.b64encode(f"operator:{secret}".encode()),
    "in a cookie": lambda secret: base64.urlsafe_b64encode(f"x{secret}".encode()),
    "in base64 after two bytes": lambda secret: base64.b64encode(b"xy" + secret.encode() + b"z"),
    "on a shelf, as Flower keeps it": lambda secret: b"\x80\x04}\x8c\x03key\x8c\x14" + secret.encode() + b"s.",
    "its beginning": lambda secret: secret[: len(secret) // 2].encode(),
    "its end": lambda secret: secret[len(secret) // 2 :].encode(),
}


@pytest.mark.parametrize("how", PLANTED)
def test_a_planted_secret_is_found(how: str) -> None:
    content = b'{"event": "request"}\n' + PLANTED[how](SECRET) + b"\nand on it goes"
    assert leaked({"other": "nobody-knows-this-one", "planted": SECRET}, content) == ["planted"]


@given(
    secret=st.text(string.ascii_letters + string.digits + "_-", min_size=16, max_size=64),
    before=st.binary(max_size=7),
    after=st.binary(max_size=7),
    how=st.sampled_from(["plain", "base64", "percent"]),
)
def test_any_secret_is_found_wherever_it_stands(secret: str, before: bytes, after: bytes, how: str) -> None:
    whole = before + secret.encode() + after
    written = {"plain": whole, "base64": base64.b64encode(whole), "percent": quote(whole, safe="").encode()}[how]
    assert leaked({"it": secret}, written) == ["it"]


def test_where_there_is_none_none_is_found() -> None:
    harmless = json.dumps({"event": "request", "route": "/api/v1/jobs/{job}", "key": "fk_0123456789ab_***"}).encode()
    assert leaked({"planted": SECRET}, harmless * 1000) == []


def test_what_is_too_short_to_look_for_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        guises("short")
