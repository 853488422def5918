"""Where a webhook may lead: public addresses by https, and what the operator allows besides."""

from __future__ import annotations

import ipaddress

import pytest

from tasks.addresses import Guard, Refused
from tasks.settings import Settings

OURS = {
    "this host": ("127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::"),
    "private networks": ("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fd00::1", "fc00::1", "fec0::1"),
    "link-local, where clouds tell secrets": ("169.254.169.254", "169.254.0.1", "fe80::1", "fd00:ec2::254"),
    "other clouds' ways to tell them": ("100.100.100.200", "168.63.129.16", "192.0.0.192"),
    "a carrier's": ("100.64.0.1", "100.127.255.255"),
    "everybody's": ("224.0.0.1", "239.255.255.250", "255.255.255.255", "ff02::1"),
    "nobody's": ("240.0.0.1", "198.18.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1", "100::1", "5f00::1"),
    "IPv4 in IPv6": ("::ffff:10.0.0.1", "::ffff:8.8.8.8", "::10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
    "tunnels": ("2002:0a00:0001::1", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.88.99.1"),
}


@pytest.mark.parametrize("address", [address for each in OURS.values() for address in each])
def test_what_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(Refused, match="not a public one"):
        Guard().require(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "64:ff9b::8.8.8.8"])
def test_what_is_public_is_not(address: str) -> None:
    Guard().require(ipaddress.ip_address(address))


def test_the_operator_opens_networks_and_no_others() -> None:
    guard = Guard.of(Settings(webhook_networks="10.1.0.0/16, fd12::/48", webhook_schemes="https,http"))
    for allowed in ("10.1.2.3", "fd12::1"):
        guard.require(ipaddress.ip_address(allowed))
    for other in ("10.2.0.1", "fd13::1", "::ffff:10.1.2.3"):
        with pytest.raises(Refused):
            guard.require(ipaddress.ip_address(other))
    assert guard.host_of("http://10.1.2.3:8080/x") == "10.1.2.3"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://backend.example/fleetcast?a=1", "backend.example"),
        ("https://Backend.Example:8443", "backend.example"),
        ("https://8.8.8.8/", "8.8.8.8"),
        ("https://[2606:4700:4700::1111]/", "2606:4700:4700::1111"),
    ],
)
def test_an_address_that_may_be_tried(url: str, host: str) -> None:
    assert Guard().host_of(url) == host


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://backend.example/", "Must begin with https://"),
        ("ftp://backend.example/", "Must begin with https://"),
        ("backend.example", "Must begin with https://"),
        ("https://", "Must name a host"),
        ("https:///path", "Must name a host"),
        ("https://user@backend.example/", "no user"),
        ("https://user:pass@backend.example/", "no user"),
        ("https://backend.example/#x", "fragment"),
        ("https://backend.example:port/", "Is no URL"),
        ("https://backend.example:99999/", "Is no URL"),
        ("https://[::1/", "Is no URL"),
        ("https://bücher.example/", "ASCII"),
        ("https://backend.example/a b", "ASCII"),
        ("https://127.0.0.1/", "not a public one"),
        ("https://[::ffff:127.0.0.1]/", "not a public one"),
        ("https://[fe80::1]/", "not a public one"),
    ],
)
def test_one_that_may_not(url: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        Guard().host_of(url)
