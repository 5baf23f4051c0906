"""Kill -9 of a real server under load: what was acknowledged is there, once."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from gateway.server.broker.model import time_text
from tests.server.support import LD, ROOT, history, meter

PROGRAM = Path(__file__).with_name("server_process.py")
CLIENTS = 4
START_US = 1_767_225_600_000_000


def start(data: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, PROGRAM, data], stdout=subprocess.PIPE, text=True, cwd=PROGRAM.parents[2]
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


async def write(client: httpx.AsyncClient, number: int, first: int, acknowledged: list[int]) -> None:
    """Batches of ten readings, sent again when there was no answer, until the server is gone."""
    url = f"{ROOT}/entityOperations/upsert?options=update"
    for at in range(first, first + 100_000, 10):
        batch = [meter(number, second, time_text(START_US + second * 1_000_000)) for second in range(at, at + 10)]
        for _ in range(2):  # every batch is sent twice: history must have it once
            answer = await client.post(url, json=batch, headers=LD)
            assert answer.status_code in (201, 204), answer.text
        acknowledged[number] = at + 10


async def load_and_kill(process: subprocess.Popen[str], address: str, after_s: float, done: list[int]) -> None:
    async with httpx.AsyncClient(base_url=address, timeout=10) as client:
        writers = [asyncio.ensure_future(write(client, n, done[n], done)) for n in range(CLIENTS)]
        await asyncio.sleep(after_s)
        process.kill()
        for result in await asyncio.gather(*writers, return_exceptions=True):
            assert isinstance(result, httpx.TransportError), result
    process.wait()


async def check(address: str, done: list[int]) -> None:
    async with httpx.AsyncClient(base_url=address, timeout=10) as client:
        for number, count in enumerate(done):
            if count == 0:
                continue
            values = [int(value) for value, _ in await history(client, number)]
            assert values[:count] == list(range(count)), "acknowledged and not there, or twice"
            assert values == sorted(set(values))
            found = await client.get(
                f"{ROOT}/entities/urn:ngsi-ld:ACMeasurement:test:{number}", params={"options": "keyValues"}
            )
            assert int(next(v for k, v in found.json().items() if k.endswith("Power"))) == values[-1]


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.slow)])
async def test_kill_9_under_load(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(rounds)
    done = [0] * CLIENTS
    process, address = start(tmp_path)
    for _ in range(rounds):
        await load_and_kill(process, address, chance.uniform(0.1, 0.8), done)
        process, address = start(tmp_path)
        assert address.startswith("http"), "it comes back by itself"
        await check(address, done)
    process.terminate()
    assert process.wait(5) == 0
    assert sum(done) > 100
