"""Bytes on the wire, headers and all, of a 60 s batch of four values a second over each wire. Needs root.

A gateway's transport sends to a real server over loopback; a packet socket counts what passes between the two (IP
headers included, the link layer not), in both directions, with acknowledgements. Packets that a real link of 1,500
bytes would have cut are counted as cut. ``first`` is all from the connection on: TLS, profiles, the first batch;
``batch`` the mean of those after it. Numbers are bytes; ``reading`` is bytes both ways for one second of four values.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from drivers.buses.mqtt_login import Session
from firmware_sim.mqtt import Broker
from gateway.compact.ranges import merged
from gateway.config.schema import Uplink
from gateway.mapping.mapper import GATEWAY, Mapper, Profile
from gateway.model import Batch, Link, Range
from gateway.uplink.compact_mqtt import CompactMqtt
from gateway.uplink.make import make_transport
from gateway.uplink.transport import Transport
from tests.bench.bench_payload import BATCH_S, FOUR, entries_of, metered
from tests.server.support import serving
from tests.sim.compact_wire import coap_wire

BATCHES = 15
QUIET_S = 0.3  # after a batch, for acknowledgements of TCP that come late
OUTGOING = 4  # sll_pkttype of what leaves: on loopback each packet passes twice
MSS = 1448
STREAM = "00112233445566778899aabbccddeeff"


class Wire(threading.Thread):
    """Counts bytes of IP from and to a port, of connections whose other port ``mine`` takes."""

    def __init__(self, port: int, mine: Callable[[int], bool]) -> None:
        super().__init__(daemon=True)
        self.port, self.mine = port, mine
        self.up = self.down = self.packets = 0
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 2**20)
        self._socket.bind(("lo", 0))

    def run(self) -> None:
        """Count until the program ends."""
        while True:
            data, address = self._socket.recvfrom(65_535)
            if address[2] == OUTGOING and data[0] >> 4 == 4:
                self._count(data)

    def _count(self, data: bytes) -> None:
        head = (data[0] & 15) * 4
        length, protocol = struct.unpack_from("!2xH5xB", data)
        source, target = struct.unpack_from("!HH", data, head)
        if self.port not in (source, target) or not self.mine(target if source == self.port else source):
            return
        if protocol == socket.IPPROTO_TCP:
            head += (data[head + 12] >> 4) * 4
        parts = max(1, math.ceil((length - head) / MSS))
        length += (parts - 1) * head
        self.packets += parts
        if target == self.port:
            self.up += length
        else:
            self.down += length

    def taken(self) -> dict[str, float]:
        """What passed since the last time."""
        found = {"up": self.up, "down": self.down, "packets": self.packets}
        self.up = self.down = self.packets = 0
        return found


def certificate(folder: Path) -> tuple[Path, Path]:
    """One that is its own authority."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return cert, key


def batches() -> list[Batch]:
    """Batches of a minute each, of a meter of the load model."""
    entries = entries_of(metered("all", (BATCHES + 1) * BATCH_S / 3600, 1_000_000), FOUR)
    made = []
    for begin in range(0, len(entries), BATCH_S):
        readings = tuple(reading for entry in entries[begin : begin + BATCH_S] for reading in entry.readings)
        made.append(Batch("hall", STREAM, merged(Range(r.seq, r.seq) for r in readings), readings))
    return made


@asynccontextmanager
async def site(name: str, folder: Path) -> AsyncIterator[tuple[dict[str, Any], dict[str, Any], int]]:
    """(settings of the server, of the uplink, the port to look at: 0 for that of HTTP)."""
    compact = {"language": "compact"}
    if name in ("http", "https", "ngsi-ld https"):
        cert, key = certificate(folder)
        tls = name != "http"
        server = {"certificate": cert, "key": key, "token": "a" * 43} if tls else {"token": "a" * 43}
        (folder / "token").write_text("a" * 43)
        uplink = {"token_file": folder / "token", **({"ca_file": cert} if tls else {})}
        yield server, uplink | ({} if name.startswith("ngsi") else compact), 0
    elif name in ("mqtt", "mqtts"):
        cert, key = certificate(folder)
        tls = name == "mqtts"
        lines = ("allow_anonymous true", *((f"certfile {cert}", f"keyfile {key}") if tls else ()))
        broker = Broker(folder, lines)
        await broker.up()
        session = Session(port=broker.port, tls=tls, ca_file=cert if tls else None)
        uplink = {"url": f"{name}://127.0.0.1:{broker.port}", **({"ca_file": cert} if tls else {})}
        yield {"mqtt": session}, uplink | compact, broker.port
        await broker.close()
    else:
        async with coap_wire(folder) as wire:
            port = int(wire.url.rpartition(":")[2])
            yield wire.server, {"url": wire.url, **wire.uplink, **compact}, port


async def measure(name: str, folder: Path, sent: Sequence[Batch]) -> dict[str, Any]:
    """Figures of one wire."""
    profiles = {"meter": Profile("ACMeasurement", 52.5, 13.4), GATEWAY: Profile("Device", 52.5, 13.4)}
    mapper = Mapper("hall" if "coap" not in name else "test", profiles)
    async with site(name, folder) as (server, uplink, port), serving(folder / "data", **server) as client:
        uplink = {"url": str(client.base_url).replace("http:", "https:" if "https" in name else "http:"), **uplink}
        transport = make_transport(Uplink(timeout=20, **uplink), mapper, Link("gsm", metered=True))

        def mine(other: int) -> bool:
            inner = transport._bus._client if isinstance(transport, CompactMqtt) else None
            sock = inner.socket() if inner is not None else None
            return not isinstance(transport, CompactMqtt) or (sock is not None and sock.getsockname()[1] == other)

        wire = Wire(port or client.base_url.port or 0, mine)
        wire.start()
        await deliver(transport, sent[0])
        first = wire.taken()
        for batch in sent[1:]:
            await deliver(transport, batch)
        await transport.close()
        total, number = wire.taken(), len(sent) - 1
        each = {key: round(value / number, 1) for key, value in total.items()}
        reading = round((total["up"] + total["down"]) / number / BATCH_S, 2)
        return {"first": first, "batch": each, "reading": reading}


async def deliver(transport: Transport, batch: Batch) -> None:
    """Send it, and let the wire fall silent."""
    await transport.send(batch)
    await asyncio.sleep(QUIET_S)


def main() -> None:
    """Run all and print."""
    if os.geteuid():
        print("counting packets needs root", file=sys.stderr)
        return
    sent = batches()
    result: dict[str, Any] = {"batch_s": BATCH_S, "batches": BATCHES}
    for name in ("coap", "mqtt", "mqtts", "http", "https", "ngsi-ld https"):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            result[name] = asyncio.run(measure(name, Path(folder), sent))
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    json.dump(result, sys.stdout, indent=1)
    print()
