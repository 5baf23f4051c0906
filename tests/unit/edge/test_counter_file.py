"""The counters' memory on disk: whole or not at all, written by the one daemon that keeps it."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest

from gateway.edge import counter_file
from gateway.edge.counter_file import NAME, CounterFile
from gateway.pipeline.counters import Counters

SECOND = 1_000_000_000


def restart_of_the_device(counters: Counters) -> None:
    for at, raw in enumerate((1000, 1004, 3, 5)):
        counters.follow("loop", "bicycle_count", raw, at * SECOND, 10**18 + at * SECOND)


async def until(path: Path) -> None:
    async with asyncio.timeout(10):
        while not path.exists():
            await asyncio.sleep(0.01)


async def test_a_changed_offset_is_on_disk_soon_and_without_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counter_file, "LOOK_S", 0.01)
    file = CounterFile(tmp_path)
    task = asyncio.create_task(file.keep())
    file.counters.follow("loop", "bicycle_count", 1000, 0, None)
    await asyncio.sleep(0.1)
    assert not (tmp_path / NAME).exists(), "a count that just counts costs no write"
    restart_of_the_device(file.counters)
    await until(tmp_path / NAME)
    task.cancel()
    again = CounterFile(tmp_path).counters
    assert again.offsets("loop") == {"bicycle_count": 1004}
    assert list(tmp_path.iterdir()) == [tmp_path / NAME]


async def test_it_is_written_at_the_end_by_the_one_who_keeps_it_only(tmp_path: Path) -> None:
    owner, other = CounterFile(tmp_path), CounterFile(tmp_path)
    task = asyncio.create_task(owner.keep())
    await asyncio.sleep(0)
    restart_of_the_device(owner.counters)
    task.cancel()
    owner.close()
    before = (tmp_path / NAME).read_bytes()
    other.counters.follow("loop", "bicycle_count", 1, 0, None)
    other.close()
    assert (tmp_path / NAME).read_bytes() == before
    assert json.loads(before)["loop"]["bicycle_count"][:2] == [5, 1004]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"loop": {"bicycle_count": [1]}}', b"\xff\xfe"])
def test_a_damaged_file_is_set_aside_and_told(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / NAME).write_bytes(content)
    with caplog.at_level(logging.ERROR, "lamppost.edge"):
        assert CounterFile(tmp_path).counters.offsets("loop") == {}
    assert "totals begin anew" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["counters.damaged"]


async def test_a_disk_that_cannot_be_written_is_told_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(counter_file, "LOOK_S", 0.01)
    folder = tmp_path / "not-there"
    file = CounterFile(folder)
    restart_of_the_device(file.counters)
    task = asyncio.create_task(file.keep())
    await asyncio.sleep(0.2)
    assert caplog.text.count("cannot be written") == 1
    folder.mkdir()
    await until(folder / NAME)
    task.cancel()
