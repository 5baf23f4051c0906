"""Many Modbus TCP units behind one port, as light as can be: ``python -m tests.bench.tcp_units PORT [DEAD_UNIT ...]``.

Every register counts the reads of its unit, so that a delivered value names the read it is from.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from collections import Counter


class Units(asyncio.Protocol):
    """Answers functions 3 and 4 of every unit, except of the dead ones."""

    def __init__(self, dead: set[int], reads: Counter[int]) -> None:
        self.dead, self.reads, self.waiting = dead, reads, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while len(self.waiting) >= 12:
            transaction, _, _, unit, function, _, count = struct.unpack(">HHHBBHH", self.waiting[:12])
            self.waiting = self.waiting[12:]
            if unit in self.dead:
                continue
            self.reads[unit] += 1
            registers = struct.pack(">H", self.reads[unit] & 0x7FFF) * count
            head = struct.pack(">HHHBBB", transaction, 0, 3 + 2 * count, unit, function, 2 * count)
            self.transport.write(head + registers)


async def serve(port: int, dead: set[int]) -> None:
    """Serve until killed."""
    reads: Counter[int] = Counter()
    server = await asyncio.get_running_loop().create_server(lambda: Units(dead, reads), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), {int(unit) for unit in sys.argv[2:]}))
