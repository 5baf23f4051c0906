"""The uplink against a Lamppost server on loopback: the first new value after an outage, and how fast a backlog drains.

An hour of 30 values at 1 Hz waits, and new values come while it is sent.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC
from pathlib import Path
from typing import Literal

from gateway.clock import SystemClock
from gateway.config.schema import Uplink
from gateway.mapping.mapper import GATEWAY, Mapper, Profile
from gateway.model import Reading
from gateway.outbox.retention import Limits
from gateway.outbox.store import Outbox
from gateway.uplink.carrier import InterfaceCarriers
from gateway.uplink.link_manager import Links, Settings
from gateway.uplink.make import make_transport
from gateway.uplink.pace import INTERVAL_S
from gateway.uplink.sender import Uplink as Sender

Language = Literal["ngsi-ld", "compact"]
LANGUAGES: tuple[Language, ...] = ("ngsi-ld", "compact")
SECOND = 1_000_000_000
SERVER = Path(__file__).parents[1] / "server" / "server_process.py"
SECONDS, VALUES, DEVICES = 3600, 30, 3
UNITS = [("active_power_l1", "W"), ("current_l1", "A"), ("voltage_l1", "V"), ("energy_import_total", "kWh")]


def observation(device: int, second: int, at_ns: int, values: int) -> list[Reading]:
    """``values`` readings of one meter; the ones beyond the four known quantities get names of their own."""
    known = [Reading(f"m{device}", name, (second % 1000) + 0.5, unit, at_ns) for name, unit in UNITS]
    more = [Reading(f"m{device}", f"value_{n}", float(second + n), "W", at_ns) for n in range(values - len(known))]
    return (known + more)[:values]


def main() -> None:
    """Print one line of JSON for each language."""
    for language in LANGUAGES:
        asyncio.run(_main(language, SECONDS, VALUES))


async def _main(language: Language, seconds: int, values: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, str(SERVER), str(folder / "server")]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            print(json.dumps(await measure(language, folder, server.stdout.readline().strip(), seconds, values)))
        finally:
            server.terminate()
            server.wait()


async def measure(language: Language, folder: Path, url: str, seconds: int, values: int) -> dict[str, object]:
    """Fill an outbox, start the uplink while new values go on coming, and wait until nothing is left."""
    clock = SystemClock(configured=True)
    limits = Limits(2**30)
    outbox = Outbox(folder / "outbox.sqlite", limits=limits, commit_interval_s=1.0, clock=clock, gateway="box")
    await outbox.start()
    profiles = {f"m{n}": Profile("ACMeasurement", 50.0, 8.0) for n in range(DEVICES)}
    mapper = Mapper("box", {**profiles, GATEWAY: Profile("Device", 50.0, 8.0)})
    start_ns = time.time_ns() - seconds * SECOND
    fresh_s, outbox.fresh_s = outbox.fresh_s, 0.1
    for second in range(seconds):
        for device in range(DEVICES):
            outbox.append(observation(device, second, start_ns + second * SECOND, values // DEVICES))
        if second % 100 == 99:
            await asyncio.sleep(0.02)
    await asyncio.sleep(2.5)
    outbox.fresh_s = fresh_s
    waiting = outbox.stats().depth
    settings = Uplink(url=url, language=language)
    sending = Settings(url, None, INTERVAL_S, settings.batch_max)
    links = Links([], sending, InterfaceCarriers(), clock=clock, zone=UTC, folder=folder)
    uplink = Sender(outbox, links, lambda link: make_transport(settings, mapper, link), clock=clock)
    outbox.append(observation(0, 0, time.time_ns(), values // DEVICES))
    began = time.monotonic()
    cpu = time.process_time()
    tasks = [asyncio.create_task(links.run()), asyncio.create_task(uplink.run())]
    while uplink.stats().live_age_s is None:
        await asyncio.sleep(0.001)
    first_s = time.monotonic() - began
    oldest_live_s = 0.0
    while outbox.stats().depth > values:
        outbox.append(observation(0, 0, time.time_ns(), values // DEVICES))
        await asyncio.sleep(0.1)
        oldest_live_s = max(oldest_live_s, uplink.stats().live_age_s or 0.0)
    took_s = time.monotonic() - began
    state = uplink.state()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await outbox.close()
    return {
        "language": language,
        "backlog": waiting,
        "first_live_s": round(first_s, 3),
        "live_age_max_s": round(oldest_live_s, 2),
        "drain_values_per_s": round(waiting / took_s),
        "times_real_time": round(seconds / took_s),
        "edge_cpu_us_per_value": round((time.process_time() - cpu) / waiting * 1e6, 1),
        "bytes_per_value": round(state.bytes_sent / waiting, 2),
    }
