"""What the temporal API asks of the storage beyond observed samples."""

from __future__ import annotations

from pathlib import Path

from gateway.server.storage.base import Sample, Span, Writer
from gateway.server.storage.sqlite import SqliteStorage

WHAT = "urn:a:1"


async def test_every_mark_in_one_order_of_time(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    await storage.start()

    def fill(writer: Writer) -> None:
        writer.put_subject("", "urn:x:1", ["urn:t:1"])
        writer.put_history("", "urn:x:1", [Sample(WHAT, "", 30, b"3", "deleted")], 100)
        writer.put_history("", "urn:x:1", [Sample(WHAT, "", 10, b"1"), Sample(WHAT, "", 20, b"2", "written")], 200)

    await storage.write(fill)

    async def marks(**more: object) -> list[str]:
        span = Span(**more)  # type: ignore[arg-type]  # a table of cases
        return [s.mark for s in await storage.read(lambda reader: reader.history("", "urn:x:1", span))]

    assert await marks(time_property="any") == ["observed", "written", "deleted"]
    assert await marks(time_property="any", last_n=2) == ["written", "deleted"]
    assert await marks(time_property="any", since_us=20, until_us=30) == ["written"]
    assert await marks(time_property="createdAt") == ["observed", "written"]
    assert await marks(time_property="deletedAt") == ["deleted"]
    assert await marks() == ["observed"]
    await storage.close()
