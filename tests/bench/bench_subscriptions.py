"""10,000 subscriptions, 1,000 updates a second: from the request to the receiver, in a server process of its own.

Every update matches one subscription. Prints what was notified, latency percentiles and the CPU of the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.server.support import LD, ROOT

PROGRAM = Path(__file__).parents[1] / "server" / "server_process.py"
SUBSCRIPTIONS, UPDATES_S, SECONDS, PER_REQUEST = 10_000, 1_000, 20, 10
CORE = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8.jsonld"


class Sink:
    """The receiver: when which value came first, and how many came again."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}
        self.again = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection that is kept, as servers do."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                self.take(orjson.loads(await reader.readexactly(length)))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        writer.close()

    def take(self, body: dict[str, Any]) -> None:
        for entity in body["data"]:
            number = entity["n"]["value"]
            self.again += number in self.at
            self.at.setdefault(number, time.perf_counter())


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def entity(number: int) -> dict[str, Any]:
    at = f"urn:ngsi-ld:Thing:{number % SUBSCRIPTIONS}"
    return {"@context": CORE, "id": at, "type": "Thing", "n": {"type": "Property", "value": number}}


async def subscribe(client: httpx.AsyncClient, url: str) -> None:
    for first in range(0, SUBSCRIPTIONS, 20):
        bodies = [
            {
                "@context": CORE,
                "type": "Subscription",
                "entities": [{"type": "Thing", "id": f"urn:ngsi-ld:Thing:{number}"}],
                "notification": {"endpoint": {"uri": url}},
            }
            for number in range(first, first + 20)
        ]
        for answer in await asyncio.gather(*(client.post(f"{ROOT}/subscriptions", json=b, headers=LD) for b in bodies)):
            assert answer.status_code == 201, answer.text


async def update(client: httpx.AsyncClient, sent: dict[int, float]) -> int:
    """At the set rate, whatever the answers do. Returns how many requests failed."""
    tasks = []
    began = time.perf_counter()
    for first in range(0, UPDATES_S * SECONDS, PER_REQUEST):
        await asyncio.sleep(max(0.0, began + first / UPDATES_S - time.perf_counter()))
        numbers = range(first, first + PER_REQUEST)
        sent.update(dict.fromkeys(numbers, time.perf_counter()))
        body = [entity(number) for number in numbers]
        tasks.append(asyncio.ensure_future(client.post(f"{ROOT}/entityOperations/upsert", json=body, headers=LD)))
    answers = await asyncio.gather(*tasks)
    return sum(answer.status_code not in (201, 204) for answer in answers)


async def measure(folder: Path) -> None:
    sink = Sink()
    server = await asyncio.start_server(sink.handle, "127.0.0.1", 0, backlog=1000)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    command = [sys.executable, str(PROGRAM), str(folder), "0", url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROGRAM.parents[2])
    try:
        assert process.stdout is not None
        address = await asyncio.to_thread(process.stdout.readline)
        async with httpx.AsyncClient(base_url=address.strip(), timeout=60) as client:
            began = time.perf_counter()
            await subscribe(client, url)
            print(f"{SUBSCRIPTIONS} subscriptions made in {time.perf_counter() - began:.1f} s")
            before, sent = cpu_s(process.pid), dict[int, float]()
            failed = await update(client, sent)
            deadline = time.perf_counter() + 60
            while len(sink.at) < len(sent) and time.perf_counter() < deadline:
                await asyncio.sleep(0.1)
        delays = sorted(at - sent[number] for number, at in sink.at.items())
        used = cpu_s(process.pid) - before
        print(f"updates {len(sent)}, requests failed {failed}, notified {len(delays)}, again {sink.again}")
        if delays:
            parts = ", ".join(
                f"p{p} {delays[min(len(delays) - 1, len(delays) * p // 100)]:.3f} s" for p in (50, 95, 99)
            )
            print(f"request to receiver: {parts}, most {delays[-1]:.3f} s")
        print(f"CPU of the server {used:.1f} s for {SECONDS} s of load")
    finally:
        process.kill()
        process.wait()
        server.close()


def main() -> None:
    """Run it."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder)))
