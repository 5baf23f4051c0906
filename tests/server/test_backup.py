"""Backup while the server writes, restore, verify: by the command."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

from click.testing import CliRunner, Result

from gateway.cli.server import command
from gateway.errors import LamppostError
from gateway.server.storage.base import Sample, Span, Writer
from gateway.server.storage.sqlite import SqliteStorage


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments], standalone_mode=False)


def code(result: Result) -> str:
    assert isinstance(result.exception, LamppostError)
    return result.exception.code


def put(writer: Writer, number: int) -> None:
    writer.put_entity("", "urn:x:1", ["urn:t"], b"%d" % number)
    writer.put_history("", "urn:x:1", [Sample("urn:a", "", number, b"%d" % number)], number)


async def test_a_backup_of_a_running_server_is_one_state(tmp_path: Path) -> None:
    data, file, other = tmp_path / "data", tmp_path / "copy.db", tmp_path / "other"
    storage = SqliteStorage(data)
    await storage.start()
    for number in range(20):
        await storage.write(lambda w, n=number: put(w, n))
    copying = asyncio.create_task(asyncio.to_thread(run, "backup", "--data", data, file))
    number = 20
    while not copying.done():
        await storage.write(lambda w, n=number: put(w, n))
        number += 1
    assert copying.result().exception is None
    assert code(run("backup", "--data", data, file)) == "server.backup-exists"
    assert code(run("restore", "--data", data, file)) == "server.data-in-use"
    assert run("verify", "--data", data).return_value == 0
    await storage.close()
    assert code(run("restore", "--data", data, file)) == "server.restore-refused"
    assert run("restore", "--data", other, file).exception is None
    again = SqliteStorage(other)
    await again.start()
    document = await again.read(lambda r: r.entity("", "urn:x:1"))
    samples = await again.read(lambda r: r.history("", "urn:x:1", Span()))
    assert [one.at_us for one in samples] == list(range(len(samples)))
    assert document == samples[-1].instance and 20 <= len(samples) <= number
    await again.close()


async def test_damage_is_found_and_never_restored(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "copy.db"
    storage = SqliteStorage(data)
    await storage.start()
    await storage.write(lambda w: [put(w, n) for n in range(3_000)] and None)
    await storage.close()
    assert run("backup", "--data", data, file).exception is None
    with sqlite3.connect(data / "server.db") as broken:
        broken.execute("UPDATE chunk SET body = zeroblob(9)")
    result = run("verify", "--data", data, "--json")
    assert result.return_value == 1 and "of chunk" in json.loads(result.output)["faults"][0]
    file.write_bytes(file.read_bytes()[:5000])
    assert code(run("restore", "--data", tmp_path / "new", file)) == "server.backup-damaged"
    assert code(run("verify", "--data", tmp_path / "nothing")) == "server.no-database"
