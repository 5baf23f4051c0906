"""The server role as a process of its own, for tests that kill it: ``server_process.py DATA [PORT [PREFIX ...]]``.

``LAMPPOST_SERVER_DATABASE`` is the URL of PostgreSQL, where the data is to be there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from gateway.server.serve import serve
from gateway.server.settings import ServerSettings


async def main(data: Path, port: int, prefixes: tuple[str, ...]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    database = os.environ.get("LAMPPOST_SERVER_DATABASE")
    settings = ServerSettings(data=data, port=port, notify_prefixes=prefixes, database=database)
    await serve(settings, ready=lambda address: print(address, flush=True), stop=stop)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, tuple(sys.argv[3:])))
