"""What the broker says of a write: the change with what was there before, and the hook inside the commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.server.broker.model import Change, Stored
from gateway.server.broker.parse import parse_entity
from gateway.server.broker.service import Broker
from gateway.server.contexts import Contexts
from gateway.server.errors import BadRequestData
from gateway.server.storage.base import Writer
from gateway.server.storage.sqlite import SqliteStorage

CORE = Contexts().core
ONE = "urn:x:1"
VOCAB = "https://uri.etsi.org/ngsi-ld/default-context/"


def stored(**attributes: Any) -> Stored:
    return parse_entity({"id": ONE, "type": "T", **attributes}, CORE, nulls=True)


def values(change: Change) -> dict[str, Any]:
    return {name.removeprefix(VOCAB): value["value"] for name, value in change.previous.items()}  # type: ignore[call-overload]


async def test_changes_carry_what_was_there_before(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    await storage.start()
    broker = Broker(storage)
    seen: list[Change] = []
    broker.observe(seen.extend)
    await broker.create("", stored(a=1, b=2))
    assert (seen[-1].event, dict(seen[-1].previous)) == ("created", {})
    await broker.append("", ONE, stored(a=1, b=3, c=4))
    assert values(seen[-1]) == {"b": 2}, "only what differs"
    await broker.append("", ONE, stored(b="urn:ngsi-ld:null"))
    assert values(seen[-1]) == {"b": 3} and len(seen[-1].removed) == 1
    await broker.upsert_batch("", [stored(a=5)])
    assert values(seen[-1]) == {"a": 1, "c": 4}, "replace"
    await broker.upsert_batch("", [stored(a=6, d=1), stored(a=7, d=2)], replace=False)
    assert values(seen[-1]) == {"a": 5}, "of the first of a batch; d is new"
    await broker.delete("", ONE)
    assert seen[-1].event == "deleted" and values(seen[-1]) == {"a": 7, "d": 2}
    await storage.close()


async def test_what_a_hook_writes_is_in_the_same_commit(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    await storage.start()
    broker = Broker(storage)
    refuse = False

    def hook(writer: Writer, changes: Sequence[Change]) -> None:
        for change in changes:
            writer.put_document("context", "", change.event, orjson.dumps(change.entity["id"]))
        if refuse:
            raise BadRequestData("no")

    broker.before_commit(hook)
    await broker.create("", stored(a=1))
    await broker.append("", ONE, stored(a=2))
    refuse = True
    with pytest.raises(BadRequestData):
        await broker.delete("", ONE)
    found = await storage.read(lambda reader: [name for _, name, _ in reader.documents("context")])
    assert found == ["created", "updated"]
    assert await storage.lookup("", ONE) is not None, "nothing is kept of a write whose hook raises"
    refuse = False
    await broker.delete("", ONE)
    assert await storage.read(lambda reader: reader.document("context", "", "deleted")) is not None
    await storage.close()
