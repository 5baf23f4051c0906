"""A real platform on a free port, fed by real batch upserts made by the real mapping, and Debian's Chromium."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import ConsoleMessage, Error, Page, Request

from drivers.base import Quality, Reading, Reason, Value
from drivers.quantities import QUANTITIES
from gateway.mapping.mapper import Mapper, Profile
from gateway.server.serve import serve
from gateway.server.settings import ServerSettings

CHROMIUM = "/usr/bin/chromium"
ARGS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DEVICES = {
    "main-meter": ("ThreePhaseAcMeasurement", "Main board"),
    "classroom-co2": ("AirQualityObserved", "Classroom 2b"),
    "corridor-climate": ("AirQualityObserved", "Corridor"),
    "yard-dust": ("AirQualityObserved", "School yard"),
    "test-bike": ("CyclingMeasurement", "Bicycle stand"),
    "gateway": ("Device", ""),
}
EVIDENCE = {"main-meter": "one source"}


class Platform:
    """The server role in a thread of its own. It can be stopped and started again on the same port and data."""

    def __init__(self, data: Path, token: str | None = None) -> None:
        self._data = data
        self._token = token
        profiles = {
            name: Profile(model, 52.4, 4.9, place, {"evidence": EVIDENCE[name]} if name in EVIDENCE else {})
            for name, (model, place) in DEVICES.items()
        }
        self._mapper = Mapper("school", profiles)
        self.url = "http://127.0.0.1:0"
        self.start()

    def start(self) -> None:
        ready = threading.Event()
        settings = ServerSettings(self._data, port=urlsplit(self.url).port or 0, token=self._token)

        def answering(url: str) -> None:
            self.url = url
            ready.set()

        async def run() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            await serve(settings, ready=answering, stop=self._stop)

        self._thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
        self._thread.start()
        assert ready.wait(20), "the platform did not start"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the platform does not stop"

    def send(self, device: str, ago_s: float = 0.0, quality: Quality = Quality.GOOD, **values: Value) -> None:
        """One observation of a device, as the gateway would send it."""
        reason = Reason.NONE if quality is Quality.GOOD else Reason.JUMP
        at_ns = time.time_ns() - int(ago_s * 1e9)
        self.post(
            self._mapper.entities(
                [_reading(device, name, value, at_ns, quality, reason) for name, value in values.items()]
            )
        )

    def history(self, device: str, quantity: str, samples: list[tuple[float, float]]) -> None:
        """Many values in one batch: (seconds ago, value)."""
        now = time.time_ns()
        readings = [_reading(device, quantity, value, now - int(ago_s * 1e9)) for ago_s, value in samples]
        self.post(self._mapper.entities(readings))

    def post(self, entities: list[dict[str, Any]]) -> None:
        request = urllib.request.Request(
            f"{self.url}/ngsi-ld/v1/entityOperations/upsert?options=update",
            json.dumps(entities).encode(),
            {"Content-Type": "application/ld+json", "Authorization": f"Bearer {self._token}"},
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            assert response.status in (201, 204)

    def fill(self) -> None:
        """A school: everything that the page has a card for, with half an hour of power."""
        past = [(float(ago), 2400.0 if 600 < ago < 1100 else 400.0) for ago in range(1800, 0, -10)]
        self.history("main-meter", "active_power_total", past)
        self.history(
            "main-meter/heat_pump",
            "active_power_total",
            [(ago, 2000.0 if watts > 1000 else 0.0) for ago, watts in past],
        )
        self.history("main-meter/fridge", "active_power_total", [(ago, 90.0) for ago, _ in past])
        self.history("classroom-co2", "co2", [(float(ago), 700.0 + ago / 10) for ago in range(1800, 0, -30)])
        self.send(
            "main-meter", active_power_total=412.0, voltage_l1=230.1, voltage_l2=229.4, energy_import_total=1234.5
        )
        self.send("main-meter/heat_pump", active_power_total=0.0)
        self.send("main-meter/fridge", active_power_total=90.0)
        self.send("classroom-co2", co2=702)
        self.send("corridor-climate", temperature=21.3, relative_humidity=47.3, pressure=1009.2)
        self.send("yard-dust", pm25=11.4, pm10=19.0)
        self.send("test-bike", speed=18.4, cadence=62)
        self.send("gateway", outbox_depth=12, outbox_age=3.5, link_name="default", link_up=True, devices_up=6,
                  devices_configured=6, readings_made=12345, readings_dropped=0, crash_cost=0)  # fmt: skip


def _reading(
    device: str, quantity: str, value: Value, at_ns: int, quality: Quality = Quality.GOOD, reason: Reason = Reason.NONE
) -> Reading:
    return Reading(device, quantity, value, QUANTITIES[quantity].unit, at_ns, quality=quality, reason=reason)


class Visit:
    """A page that is watched: what it asked for and what it complained of."""

    def __init__(self, page: Page, platform: Platform) -> None:
        self.page = page
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        page.on("request", self._asked)
        page.on("pageerror", self._failed)
        page.on("console", self._heard)
        self._platform = platform

    def _asked(self, request: Request) -> None:
        self.hosts.add(urlsplit(request.url).netloc)

    def _failed(self, error: Error) -> None:
        self.complaints.append(str(error))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    async def open(self, query: str = "") -> Page:
        await self.page.goto(f"{self._platform.url}/{query}")
        await self.page.wait_for_selector("#live[data-state=live]")
        return self.page
