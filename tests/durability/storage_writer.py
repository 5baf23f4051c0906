"""Writes to the storage of the server under full load and prints each number once it was answered.

``python -m tests.durability.storage_writer FOLDER FIRST [SYNCHRONOUS]``. Work n puts n into an entity, its history, a
document and a notification. The write-behind is in a hurry, so that it is cut off too.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway.server.storage import chunks, engine, opening, write_behind
from gateway.server.storage.base import Note, Sample, Writer
from gateway.server.storage.sqlite import SqliteStorage

ENTITIES, WRITERS = 5, 8


def put(writer: Writer, number: int) -> None:
    """Everything of one work."""
    name = f"urn:x:{number % ENTITIES}"
    writer.put_entity("t", name, ["urn:t"], b"%d" % number)
    instance = b'{"type":"Property","value":%d}' % number
    writer.put_history("t", name, [Sample("urn:a", "", number, instance), Sample("urn:b", "", -number, instance)], 1)
    writer.put_document("context", "t", name, b"%d" % number)
    writer.put_notes([Note(str(number), "t", "urn:s", number, 0, b"")])
    writer.settle_notes([str(number - 50)])


async def main(folder: Path, first: int) -> None:
    """Until it is killed."""
    engine.LAG_SECONDS = 0.02
    write_behind.COMPACT_CHANGES, chunks.SIZE = 40, 64
    storage = SqliteStorage(folder)
    await storage.start()
    print("open", flush=True)
    numbers = iter(range(first, 2**62))

    async def one() -> None:
        for number in numbers:
            await storage.write(lambda w, n=number: put(w, n))
            print(number, flush=True)

    await asyncio.gather(*(one() for _ in range(WRITERS)))


if __name__ == "__main__":
    if len(sys.argv) > 3:  # of SQLite
        opening.SYNCHRONOUS = sys.argv[3]
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
