"""The wires: a process that passes bytes between parts of the product and their servers, and cuts, swallows or delays them when told.

    python -m tests.chaos.wires '{"web-redis": [16001, 16000], …}'        # name: [port to listen on, port of the server]

It obeys lines on its standard input: `<wire> pass`, `<wire> cut` (connections break, new ones are refused), `<wire> hole` (nothing comes
through and nothing is said: the worst way to be gone) or `<wire> delay <seconds>` for every piece, each way. It ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import dataclass, field

HOST = "127.0.0.1"
PIECE = 65_536


@dataclass
class Wire:
    """One listening port and everything that goes through it."""

    server: int
    mode: str = "pass"
    delay_s: float = 0.0
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    #: Set while bytes go through.
    clear: asyncio.Event = field(default_factory=asyncio.Event)

    def become(self, mode: str, delay_s: float = 0.0) -> None:
        self.mode, self.delay_s = mode, delay_s
        (self.clear.clear if mode == "hole" else self.clear.set)()
        if mode == "cut":
            for writer in self.open:
                writer.transport.abort()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client came: refused while the wire is cut, kept waiting while it is a hole."""
        await self.clear.wait()
        try:
            if self.mode == "cut":
                raise ConnectionResetError
            there, back = await asyncio.open_connection(HOST, self.server)
        except OSError:
            writer.transport.abort()
            return
        self.open |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        self.open -= {writer, back}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(PIECE):
                await self.clear.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                sink.write(piece)
                await sink.drain()
        with suppress(OSError, RuntimeError):
            sink.close()


async def main(plan: dict[str, tuple[int, int]]) -> None:
    wires = {name: Wire(server) for name, (_, server) in plan.items()}
    for name, (port, _) in plan.items():
        wires[name].become("pass")
        await asyncio.start_server(wires[name].connect, HOST, port)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print("ready", flush=True)
    while line := (await orders.readline()).decode().split():
        wires[line[0]].become(line[1], *map(float, line[2:]))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
