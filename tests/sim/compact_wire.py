"""A real server with a gateway's transport over each wire of the compact protocol."""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from drivers.buses.mqtt_login import Session
from firmware_sim.mqtt import Broker
from gateway.compact.ranges import merged
from gateway.config.schema import Uplink
from gateway.mapping.mapper import GATEWAY, Mapper, Profile
from gateway.model import Batch, Link, Priority, Range, Reading
from gateway.server.settings import CoapSettings
from gateway.uplink.compact import Compact
from gateway.uplink.make import make_transport
from tests.server.compact_kit import STREAM, readings
from tests.server.support import history, serving

SITE = "test"


class Wire:
    """``settings`` of the server for this wire, the ``url`` that the gateway is told, more settings of its uplink."""

    def __init__(self, url: str = "", server: Mapping[str, Any] | None = None, **uplink: Any) -> None:
        self.url = url
        self.server = dict(server or {})
        self.uplink = uplink

    def transport(self, client: httpx.AsyncClient, timeout_s: float = 20.0) -> Compact:
        url = self.url or str(client.base_url)
        settings = Uplink(url=url, language="compact", timeout=timeout_s, **self.uplink)
        made = make_transport(settings, mapper(), Link("lan"))
        assert isinstance(made, Compact)
        return made


def mapper() -> Mapper:
    profiles = {str(n): Profile("ACMeasurement", 55.6, 12.5) for n in (1, 2)}
    return Mapper(SITE, {GATEWAY: Profile("Device", 55.6, 12.5), **profiles})


def batch(of: Iterable[int] | list[Reading], priority: Priority = Priority.LIVE) -> Batch:
    made = [one if isinstance(one, Reading) else readings([one])[0] for one in of]
    return Batch(SITE, STREAM, merged(Range(r.seq, r.seq) for r in made), tuple(made), priority)


@asynccontextmanager
async def http_wire(folder: Path) -> AsyncIterator[Wire]:
    yield Wire()


@asynccontextmanager
async def mqtt_wire(folder: Path) -> AsyncIterator[Wire]:
    broker = Broker(folder, ("allow_anonymous true", "max_packet_size 2000000"))
    await broker.up()
    try:
        yield Wire(f"mqtt://127.0.0.1:{broker.port}", {"mqtt": Session(port=broker.port)})
    finally:
        await broker.close()


@asynccontextmanager
async def coap_wire(folder: Path) -> AsyncIterator[Wire]:
    theirs, ours = key_files(folder)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield Wire(f"coap://127.0.0.1:{port}", {"coap": CoapSettings(theirs, port=port)}, credentials_file=ours)


def key_files(folder: Path, gateway: str = SITE) -> tuple[Path, Path]:
    """The server's keys of that gateway, and those of the gateway."""
    secret = secrets.token_hex(16)
    files = []
    for name, peer, own, other in (("server", gateway, "01", "02"), ("box", "server", "02", "01")):
        (folder / name).mkdir(exist_ok=True)
        path = folder / name / "keys.yaml"
        path.write_text(f'{peer}: {{secret: {secret}, sender_id: "{own}", recipient_id: "{other}"}}\n')
        path.chmod(0o600)
        files.append(path)
    return files[0], files[1]


WIRES = {"http": http_wire, "mqtt": mqtt_wire, "coap": coap_wire}


@asynccontextmanager
async def running(wire: Wire, data: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(data, **wire.server, **settings) as client:
        yield client


async def stored(client: httpx.AsyncClient, number: int = 1) -> list[float]:
    return [value for value, _ in await history(client, number)]
