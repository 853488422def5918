"""Where a request of ours may go that somebody else chose: to public addresses, and to what the operator allows besides."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Self
from urllib.parse import SplitResult, urlsplit

from tasks.settings import Settings, networks

Address = IPv4Address | IPv6Address

#: What `ipaddress` of some releases takes for public and is not: protocols' own, relays, site-local, documentation; and one public address
#: that tells machines of a cloud their secrets (Azure's WireServer).
_NOT_PUBLIC = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "3fff::/20", "2001::/23", "2002::/16"))
)
#: All of IPv6 that is given out; and what stands for an IPv4 address behind a gateway (RFC 6052).
_UNICAST, _TRANSLATED = IPv6Network("2000::/3"), IPv6Network("64:ff9b::/96")
_WRITTEN = re.compile("[!-~]+")


class Refused(Exception):
    """It may not even be tried. The sentence is for the tenant, and tells nothing of our network."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Where requests may go: to public addresses by https, and to what the operator allows besides."""

    schemes: frozenset[str] = frozenset({"https"})
    allowed: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(frozenset(settings.webhook_schemes.split(",")), networks(settings.webhook_networks))

    def host_of(self, url: str) -> str:
        """The host of an address that may be tried. Raises Refused, with what is wrong with it; a name is not looked up here."""
        parts = _split(url)
        if parts.scheme not in self.schemes:
            raise Refused(f"Must begin with {' or '.join(f'{scheme}://' for scheme in sorted(self.schemes, reverse=True))}.")
        if not parts.hostname or parts.username is not None or parts.password is not None or parts.fragment:
            raise Refused("Must name a host, and no user, password or fragment.")
        literal = _literal(parts.hostname)
        if literal is not None:
            self.require(literal)
        return parts.hostname.lower()

    def require(self, address: Address) -> None:
        """Raises Refused for an address that is ours, our machine's, our network's or nobody's."""
        if any(address in network for network in self.allowed):
            return
        if not _public(address):
            raise Refused("The address is not a public one.")


def _split(url: str) -> SplitResult:
    if _WRITTEN.fullmatch(url) is None:
        raise Refused("Must be ASCII without spaces: a name in its xn-- form, the rest percent-encoded.")
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that is no number
    except ValueError:
        raise Refused("Is no URL.") from None
    return parts


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address in _TRANSLATED:
        return _public(IPv4Address(int(address) & 0xFFFFFFFF))
    if isinstance(address, IPv6Address) and address not in _UNICAST:  # mapped IPv4 among it
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved) and not any(address in each for each in _NOT_PUBLIC)
