"""Air sensors over HTTP: an AirGradient monitor that is asked, an airRohr station that pushes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Literal

from firmware_sim.devices.air import Air

Readiness = Literal["booted", "warming", "ready"]


class AirGradient:
    """Serves ``GET /measures/current``. ``readiness`` plays what it says after power-up; ``asked`` counts requests."""

    def __init__(self, air: Callable[[], Air]) -> None:
        self.silent = False
        self.given = 0
        self.readiness: Readiness = "ready"
        self.status = 200
        self._air = air
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Its address."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def up(self, port: int = 0) -> None:
        """Begin to serve on loopback. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)

    async def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.close()

    def measures(self) -> dict[str, object]:
        """The document of the moment."""
        about: dict[str, object] = {"wifi": -52, "serialno": "84fce6000001", "firmware": "3.1.21", "model": "I-9PSL"}
        if self.readiness == "booted":
            return about | {"boot": 0, "rco2": None, "pm02": None, "atmp": None, "rhum": None, "tvocIndex": None}
        air = self._air()
        pm1, pm25, pm10 = (round(value) for value in air.pm)
        measured: dict[str, object] = {
            "pm01": pm1,
            "pm02": pm25,
            "pm10": pm10,
            "pm003Count": 270,
            "rco2": round(air.co2),
            "atmp": air.celsius + 2.1,
            "rhum": air.humidity - 6,
            "tvocIndex": 0 if self.readiness == "warming" else 99,
            "noxIndex": 0 if self.readiness == "warming" else 1,
        }
        ready = self.readiness == "ready"
        measured |= {
            "pm02Compensated": round(pm25 * 0.8, 2) if ready else 0,
            "atmpCompensated": air.celsius if ready else 0,
            "rhumCompensated": air.humidity if ready else 0,
        }
        return about | measured

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if self.silent:
                await reader.read()
                return
            right = head.startswith(b"GET /measures/current ")
            body = json.dumps(self.measures()).encode() if right else b"Not found"
            status = self.status if right else 404
            self.given += status == 200
            writer.write(
                b"HTTP/1.1 %d \r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)) + body
            )
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class AirRohr:
    """Pushes its message to a custom API, as its firmware does; gives the status that it got."""

    def __init__(self, air: Callable[[], Air], chip: str = "13597771") -> None:
        self.silent = False
        self.given = 0
        self.chip = chip
        self._air = air

    def message(self) -> bytes:
        """What it pushes: values are text, pressure is in Pa."""
        air = self._air()
        values = {
            "SDS_P1": air.pm[2],
            "SDS_P2": air.pm[1],
            "BME280_temperature": air.celsius,
            "BME280_pressure": air.hecto_pascal * 100,
            "BME280_humidity": air.humidity,
            "samples": 4_817_033,
            "min_micro": 28,
            "max_micro": 20_085,
            "interval": 145_000,
            "signal": -71,
        }
        rows = [{"value_type": kind, "value": f"{value:.2f}"} for kind, value in values.items()]
        about = {"esp8266id": self.chip, "software_version": "NRZ-2020-133"}
        return json.dumps(about | {"sensordatavalues": rows}).encode()

    async def push(self, port: int, *, user: str = "", password: str = "", body: bytes | None = None) -> int:
        """Push once. Raises OSError where nobody listens."""
        content = self.message() if body is None else body
        head = [
            "POST / HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Content-Type: application/json",
            f"X-Sensor: esp8266-{self.chip}",
            f"Content-Length: {len(content)}",
        ]
        if user:
            head.append("Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write("\r\n".join([*head, "", ""]).encode() + content)
            await writer.drain()
            answer = await reader.read()
        finally:
            writer.close()
        status = int(answer.split(b" ", 2)[1])
        self.given += status == 200
        return status
