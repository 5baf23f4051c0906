"""The control socket: framing, errors, bounds, permissions."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import NoPort
from gateway.edge.control import LINE_MAX, ControlServer
from gateway.errors import ControlError


async def echo(args: Mapping[str, Any]) -> Any:
    return dict(args)


async def fail(_args: Mapping[str, Any]) -> Any:
    raise NoPort("/dev/ttyUSB7 is not there")


async def count(_args: Mapping[str, Any]) -> AsyncIterator[int]:
    number = 0
    while True:
        yield number
        number += 1
        await asyncio.sleep(0.001)


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    server = ControlServer(tmp_path / "c.sock", {"echo": echo, "fail": fail}, {"count": count})
    await server.start()
    yield tmp_path / "c.sock"
    await server.close()


async def ask(path: Path, *lines: bytes) -> list[dict[str, Any]]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    answers = []
    for line in lines:
        writer.write(line + b"\n")
        answers.append(json.loads(await asyncio.wait_for(reader.readline(), 5)))
    writer.close()
    return answers


async def test_answers_by_id(path: Path) -> None:
    first, second = await ask(path, b'{"v":1,"id":7,"do":"echo","args":{"a":1}}', b'{"id":8,"do":"echo"}')
    assert first == {"id": 7, "ok": True, "result": {"a": 1}}
    assert second == {"id": 8, "ok": True, "result": {}}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"garbage", "control.bad-request"),
        (b"[]", "control.bad-request"),
        (b'{"do":"echo","args":[]}', "control.bad-request"),
        (b'{"do":"nothing"}', "control.unknown"),
        (b'{"v":9,"do":"echo"}', "control.version"),
        (b'{"do":"fail"}', "driver.no-port"),
    ],
)
async def test_every_failure_has_code_cause_and_fix(path: Path, line: bytes, code: str) -> None:
    (answer,) = await ask(path, line)
    assert answer["ok"] is False
    assert answer["error"]["code"] == code
    assert answer["error"]["cause"]
    assert answer["error"]["fix"]


async def test_stream_ends_when_the_client_goes(path: Path) -> None:
    before = len(asyncio.all_tasks())
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b'{"id":1,"do":"count"}\n')
    items = [json.loads(await reader.readline())["item"] for _ in range(5)]
    writer.close()
    await asyncio.sleep(0.1)
    assert items == [0, 1, 2, 3, 4]
    assert len(asyncio.all_tasks()) <= before


async def test_a_line_without_end_is_cut_off(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"x" * (2 * LINE_MAX))
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_group_may_use_it_others_not(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


async def test_second_daemon_is_refused_and_a_stale_socket_replaced(path: Path) -> None:
    with pytest.raises(ControlError, match="another daemon"):
        await ControlServer(path, {}, {}).start()
    stale = path.with_name("stale.sock")
    stale.touch()
    server = ControlServer(stale, {"echo": echo}, {})
    await server.start()
    assert (await ask(stale, b'{"do":"echo"}'))[0]["ok"]
    await server.close()
