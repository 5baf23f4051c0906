"""Kill -9 and power cuts of a server that notifies: every update it acknowledged is notified of, in the end."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.server.broker.model import time_text
from tests.durability.powercut import PowerCut
from tests.server.support import LD, ROOT, meter, until
from tests.server.test_kill import PROGRAM, START_US
from tests.server.test_subscriptions import URL, receiving, subscription

CLIENTS = 3
PAUSE_S = 0.03  # beyond 1,000 that wait for a receiver the oldest go, as they should: it must keep up


def start(data: Path, prefix: str, environment: Mapping[str, str]) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, PROGRAM, data, "0", prefix]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=PROGRAM.parents[2], env=dict(environment)
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


async def write(client: httpx.AsyncClient, number: int, next_value: list[int], acknowledged: set[int]) -> None:
    """One new value after the other, until the server is gone."""
    while True:
        value = next_value[0]
        next_value[0] += 1
        body = [meter(number, value, time_text(START_US + value * 1_000_000))]
        answer = await client.post(f"{ROOT}/entityOperations/upsert?options=update", json=body, headers=LD)
        assert answer.status_code in (201, 204), answer.text
        acknowledged.add(value)
        await asyncio.sleep(PAUSE_S)


async def update_and_kill(
    process: subprocess.Popen[str], address: str, seconds: float, values: list[int], acknowledged: set[int]
) -> None:
    async with httpx.AsyncClient(base_url=address, timeout=10) as client:
        writers = [asyncio.ensure_future(write(client, n, values, acknowledged)) for n in range(CLIENTS)]
        await asyncio.sleep(seconds)
        process.kill()
        for result in await asyncio.gather(*writers, return_exceptions=True):
            assert isinstance(result, httpx.TransportError), result
    process.wait()


@pytest.mark.parametrize("rounds", [3, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
@pytest.mark.parametrize("power_cut", [False, True], ids=["kill", "power-cut"])
async def test_no_notification_is_lost(tmp_path: Path, rounds: int, power_cut: bool) -> None:
    chance, data = random.Random(rounds), tmp_path / "data"
    cut = PowerCut(data) if power_cut else None
    acknowledged: set[int] = set()
    values = [0]
    async with receiving() as receiver:
        receiver.delay_s = 0.002
        process, address = start(data, receiver.url, cut.env() if cut else os.environ)
        async with httpx.AsyncClient(base_url=address) as client:
            asked = subscription(receiver.url, entities=[{"type": "ACMeasurement"}])
            assert (await client.post(URL, json=asked, headers=LD)).status_code == 201
        for _ in range(rounds):
            await update_and_kill(process, address, chance.uniform(0.1, 0.5), values, acknowledged)
            if cut is not None:
                cut.cut()
            process, address = start(data, receiver.url, cut.env() if cut else os.environ)
            assert address.startswith("http"), "it comes back by itself"
        try:
            await until(lambda: acknowledged <= set(receiver.values()), 60)
        except TimeoutError:
            missing = sorted(acknowledged - set(receiver.values()))
            raise AssertionError(f"{len(missing)} of {len(acknowledged)} are lost: {missing[:20]}") from None
        process.terminate()
        assert process.wait(10) == 0
    meant: dict[str, set[Any]] = {}
    for note in receiver.got:
        meant.setdefault(note["id"], set()).update(e["totalActivePower"]["value"] for e in note["data"])
    assert all(len(found) == 1 for found in meant.values()), "what comes again has the same id"
    assert len(acknowledged) > 5 * rounds
