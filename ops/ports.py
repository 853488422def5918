"""Ports to listen on, where the wished ones may be taken."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from ops.house import HouseError


def free_ports(host: str, *preferred: int) -> list[int]:
    """For each the preferred port when nobody has it, else any free one; 0 asks for any. All are held meanwhile, so no two are the same."""
    with ExitStack() as held:
        return [_hold(host, port, held) for port in preferred]


def _hold(host: str, preferred: int, held: ExitStack) -> int:
    for port in (preferred, 0):
        probe = held.enter_context(socket.socket())
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            continue
        probe.listen()  # merely bound, a port could be bound a second time
        return int(probe.getsockname()[1])
    raise HouseError(f"Nothing can listen on {host!r}. Set API_HOST to an address of this machine, 127.0.0.1 or 0.0.0.0.")
