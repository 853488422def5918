"""The world outside: one POST to an address that a tenant chose, looked up once, never led elsewhere, and over in time."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import certifi
import httpcore

from tasks.addresses import Guard, Refused

#: Every address of a name, from one look.
Resolve = Callable[[str, int], Sequence[str]]

#: Of an answer's body: nothing in it is kept, and a receiver that goes on is hung up on.
READ_BYTES = 65_536


class Unreachable(Exception):
    """Nothing was answered. The sentence is for the tenant."""


def resolve(host: str, port: int) -> list[str]:
    """What the system's resolver says. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass
class Line(httpcore.NetworkBackend):
    """Connections for one request: its host is looked up once, every address of it is looked at, and that very address is connected to.

    So nobody can show one address to the guard and another one to the connection. All together take no longer than until `deadline`.
    """

    guard: Guard
    deadline: float
    look_up: Resolve = resolve
    _inner: httpcore.SyncBackend = field(default_factory=httpcore.SyncBackend)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._addresses(host, port)
        for address in addresses[:-1]:
            try:
                return self._connect(address, port, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(addresses[-1], port, socket_options)

    def _addresses(self, host: str, port: int) -> list[str]:
        """All of them must be allowed: a name that leads to both sides is not a mistake to be lenient with."""
        try:
            found = self.look_up(host, port)
        except (OSError, UnicodeError):
            raise httpcore.ConnectError("The name has no address.") from None
        if not found:
            raise httpcore.ConnectError("The name has no address.")
        for address in found:
            self.guard.require(ipaddress.ip_address(address.partition("%")[0]))
        return list(found)

    def _connect(self, address: str, port: int, socket_options: Iterable[Any] | None) -> httpcore.NetworkStream:
        stream = self._inner.connect_tcp(address, port, left(self.deadline), socket_options=socket_options)
        return Hurried(stream, self.deadline)


@dataclass
class Hurried(httpcore.NetworkStream):
    """A connection on which each step may take what is left of the whole: one that sends a byte now and then gains nothing."""

    inner: httpcore.NetworkStream
    deadline: float

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self.inner.read(max_bytes, left(self.deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self.inner.write(buffer, left(self.deadline))

    def close(self) -> None:
        self.inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        return Hurried(self.inner.start_tls(ssl_context, server_hostname, left(self.deadline)), self.deadline)

    def get_extra_info(self, info: str) -> Any:
        return self.inner.get_extra_info(info)


def left(deadline: float) -> float:
    """Seconds until then; httpcore's timeout where there are none."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise httpcore.ReadTimeout("The time is over.")
    return seconds


def trust() -> ssl.SSLContext:
    """Certificates that Mozilla trusts, and those that this machine does besides."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


@dataclass(frozen=True)
class Outside:
    """Sends; holds no connection between two requests, for each belongs to somebody else."""

    guard: Guard
    timeout_s: float
    look_up: Resolve = resolve
    ssl_context: ssl.SSLContext = field(default_factory=trust)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer; redirects are not followed. Raises Unreachable where there is none, and where none may be."""
        line = Line(self.guard, time.monotonic() + self.timeout_s, self.look_up)
        with httpcore.ConnectionPool(ssl_context=self.ssl_context, network_backend=line) as pool:
            try:
                self.guard.host_of(url)
                with pool.stream("POST", url, headers=list(headers.items()), content=body) as answer:
                    _hear_out(answer)
                    return answer.status
            except Refused as error:
                raise Unreachable(str(error)) from None
            except httpcore.TimeoutException:
                raise Unreachable(f"No answer within {self.timeout_s:g} s.") from None
            except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
                raise Unreachable(_why(error)) from None


def _hear_out(answer: httpcore.Response) -> None:
    """Some of the body, so that a short one ends well. What goes wrong in it changes nothing: the status has been heard."""
    heard = 0
    try:
        for part in answer.iter_stream():
            heard += len(part)
            if heard >= READ_BYTES:
                return
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
        return


def _why(error: Exception) -> str:
    if isinstance(error, httpcore.ConnectError | ssl.SSLError | OSError):
        return f"No connection: {str(error) or type(error).__name__}"
    return f"The connection broke: {str(error) or type(error).__name__}"
