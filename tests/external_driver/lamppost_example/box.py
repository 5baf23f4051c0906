"""A simulated box: what the tests, and a demonstration without the real one, run against.

``python -m lamppost_example.box PORT`` serves until it is stopped.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Literal

Condition = Literal["well", "silent", "garbage"]


class Box:
    """Answers ``READ n`` with the values of the room."""

    def __init__(self) -> None:
        self.port = 0
        self.condition: Condition = "well"
        self._server: asyncio.Server | None = None

    async def up(self, port: int = 0) -> None:
        """Listen on loopback."""
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Stop."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def be(self, condition: Condition) -> None:
        """Answer well, not at all, or with rubbish from now on."""
        self.condition = condition

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                if self.condition == "garbage":
                    writer.write(b"\xff\x00co2=lots\n")
                elif self.condition == "well" and line.startswith(b"READ "):
                    writer.write(b"co2=612 temp=213\n")
        except ConnectionError:
            pass
        finally:
            writer.close()


async def main(port: int) -> None:
    """Serve for ever."""
    box = Box()
    await box.up(port)
    print(box.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
