"""Sensors over HTTP on real sockets: those that push, and those that are asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from drivers import registry, template
from drivers.base import Frame, Observation
from drivers.buses import http_listener
from drivers.buses.http import HttpBus
from drivers.errors import BadFrame, Misconfigured, NoPort, Refused, Timeout
from drivers.template import Field, Template
from firmware_sim.devices.air import Air
from firmware_sim.devices.http_air import AirGradient, AirRohr

STATION, MONITOR = template.load("sensor-community-airrohr"), template.load("airgradient-one")
JSON = Template(
    name="weather",
    kind="weather",
    vendor="v",
    model="m",
    protocol="http-json",
    data_model="Device",
    evidence="manual",
    silence_s=0.3,
    fields=(Field("temperature", "air.t[0]", 0.1), Field("relative_humidity", "air.rh")),
)


def values(observation: Observation) -> dict[str, Any]:
    return {m.quantity: m.value for m in observation.measurements}


def make_bus(**settings: Any) -> Any:
    return registry.make_bus("b", {"type": "http", "timeout": 0.5, **settings})


@pytest.fixture
async def bus() -> AsyncIterator[HttpBus]:
    made = make_bus(listen={"host": "127.0.0.1", "port": 0})
    await made.open()
    yield made
    await made.close()
    await made.close()


@pytest.fixture
async def monitor() -> AsyncIterator[AirGradient]:
    made = AirGradient(Air)
    await made.up()
    yield made
    await made.close()


async def say(port: int, request: bytes) -> bytes:
    """Whatever a client may send; the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        return await reader.read()
    finally:
        writer.close()


def post(body: bytes, path: str = "/", *headers: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: box", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


@contextlib.asynccontextmanager
async def listening(driver: Any) -> AsyncIterator[asyncio.Task[tuple[Observation, ...]]]:
    """The driver waits for what comes."""
    reading = asyncio.create_task(driver.read())
    await asyncio.sleep(0)
    try:
        yield reading
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await driver.close()


@pytest.mark.parametrize("address", ["13597771", "esp8266-13597771", "ESP8266-13597771"])
async def test_a_station_pushes(bus: HttpBus, address: str) -> None:
    seen: list[Frame] = []
    bus.tap = seen.append
    driver = registry.make_driver(STATION, bus, address, None, {})
    async with listening(driver) as reading:
        begun = time.monotonic_ns()
        station = AirRohr(Air)
        assert await station.push(bus.port) == 200
        (observation,) = await reading
    assert begun < observation.mono_ns < time.monotonic_ns()
    found = values(observation)
    assert (found["pm10"], found["pm25"], found["pressure"], found["rssi"]) == (11.0, 7.0, 1012.5, -71)
    assert seen[0].data == b"13597771\0" + station.message()


async def test_who_it_is_may_stand_in_the_message_or_in_the_path(bus: HttpBus) -> None:
    station = AirRohr(Air)
    async with listening(registry.make_driver(STATION, bus, "13597771", None, {})) as reading:
        assert b" 200 " in await say(bus.port, post(station.message()))
        assert len(await reading) == 1
    async with listening(registry.make_driver(JSON, bus, "roof", None, {})) as reading:
        assert b" 200 " in await say(bus.port, post(b'{"air": {"t": [215], "rh": "44"}}', "/push/roof"))
        (observation,) = await reading
    assert values(observation) == {"temperature": 21.5, "relative_humidity": 44}


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (post(b"{}"), 400, b"no list `sensordatavalues`"),
        (post(b"{", "/push/13597771"), 400, b"not JSON"),
        (post(b'{"sensordatavalues": []}'), 400, b"nothing says who pushes"),
        (post(b'{"sensordatavalues": []}', "/", "X-Sensor: esp8266-99"), 404, b"no device with the address '99'"),
        (post(b'{"sensordatavalues": []}', "/", "X-Sensor: a b"), 400, b"nothing says who pushes"),
        (b"GET / HTTP/1.1\r\nHost: box\r\n\r\n", 405, b"with POST"),
        (post(bytes(5000)), 413, b"more than 4096 bytes"),
        (b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n" + bytes(5000), 413, b"4096"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 400, b"not a request of HTTP/1.1"),
        (b"hello\r\n\r\n", 400, b"not a request of HTTP/1.1"),
        (b"GET /" + bytes(20_000), 431, b"not a request"),
        (b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400, b"not a request"),
    ],
)
async def test_what_is_refused_is_told_why(request_: bytes, status: int, words: bytes) -> None:
    bus = make_bus(listen={"port": 0}, body_max=4096)
    await bus.open()
    driver = registry.make_driver(STATION, bus, "13597771", None, {})
    async with listening(driver):
        answer = await say(bus.port, request_)
    await bus.close()
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert words in answer
    assert answer.count(b"\n") < 20


async def test_a_password_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    bus = make_bus(listen={"host": "127.0.0.1", "port": 0}, username="station", password_file=file)
    await bus.open()
    station = AirRohr(Air)
    async with listening(registry.make_driver(STATION, bus, "13597771", None, {})) as reading:
        for user, password in (("", ""), ("station", "wrong"), ("other", "s3cret")):
            assert await station.push(bus.port, user=user, password=password) == 401
        assert b" 401 " in await say(bus.port, post(b"{}", "/", "Authorization: Basic ???"))
        assert await station.push(bus.port, user="station", password="s3cret") == 200
        assert len(await reading) == 1
    await bus.close()
    file.unlink()
    with pytest.raises(Misconfigured, match=r"password file .* cannot be read"):
        await bus.open()


async def test_silence_and_nothing_but_rubbish(bus: HttpBus) -> None:
    driver: Any = registry.make_driver(STATION, bus, "13597771", None, {})
    driver.silence_s = 0.2
    with pytest.raises(Timeout):
        await driver.read()
    async with listening(driver) as reading:
        assert await AirRohr(Air).push(bus.port, body=b'{"sensordatavalues": [1]}') == 400
        with pytest.raises(BadFrame, match="nothing but damaged"):
            await reading


async def test_a_station_that_pushes_too_often_is_thinned(bus: HttpBus) -> None:
    async with listening(registry.make_driver(STATION, bus, "13597771", 60.0, {})) as reading:
        for _ in range(5):
            assert await AirRohr(Air).push(bus.port) == 200
        assert len(await reading) == 1


async def test_slow_and_many_clients_are_bounded(bus: HttpBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_listener, "EXCHANGE_S", 0.3)
    slow = [await asyncio.open_connection("127.0.0.1", bus.port) for _ in range(http_listener.CONNECTIONS_MAX)]
    for _, writer in slow:
        writer.write(b"POST / HTTP/1.1\r\n")
    await asyncio.sleep(0.05)
    with contextlib.suppress(ConnectionError):
        assert await say(bus.port, post(b"{}")) == b""
    assert bus._listener.refused == 1
    async with asyncio.timeout(5):
        for reader, writer in slow:
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
    assert b" 400 " in await say(bus.port, post(b"{}"))


async def test_two_listeners_on_one_port_and_two_stations_of_one_name(bus: HttpBus) -> None:
    with pytest.raises(Misconfigured, match=r"cannot listen on 127\.0\.0\.1"):
        await make_bus(listen={"port": bus.port}).open()
    async with listening(registry.make_driver(STATION, bus, "13597771", None, {})):
        other = registry.make_driver(STATION, bus, "esp8266-13597771", None, {})
        with pytest.raises(Misconfigured, match="two devices push as"):
            await other.read()
    with pytest.raises(Misconfigured, match="listens nowhere"):
        await registry.make_driver(STATION, make_bus(), "13597771", None, {}).read()


async def test_closing_drops_what_is_open(bus: HttpBus) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bus.port)
    writer.write(b"POST / HTTP/1.1\r\n")
    await asyncio.sleep(0.05)
    before = asyncio.all_tasks()
    await bus.close()
    async with asyncio.timeout(2):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    assert len(asyncio.all_tasks()) < len(before)
    await bus.open()
    assert bus.port


async def test_a_monitor_is_asked(monitor: AirGradient) -> None:
    bus = make_bus()
    driver = registry.make_driver(MONITOR, bus, monitor.url, None, {})
    assert driver.period_s == 60
    (observation,) = await driver.read()
    found = values(observation)
    assert (found["pm25"], found["temperature"], found["co2"]) == (5.6, 21.4, 640)
    monitor.readiness = "booted"
    assert [values(one) for one in await driver.read()] == [{"rssi": -52}]
    await driver.close()
    await driver.close()


async def test_failures_of_a_monitor_say_what_is_wrong(monitor: AirGradient) -> None:
    bus = make_bus()
    driver: Any = registry.make_driver(MONITOR, bus, monitor.url, None, {})
    monitor.status = 500
    with pytest.raises(Refused, match="status 500"):
        await driver.read()
    monitor.status, monitor.silent = 200, True
    with pytest.raises(Timeout):
        await driver.read()
    monitor.silent = False
    assert len(await driver.read()) == 1
    wrong: Any = registry.make_driver(MONITOR, bus, f"{monitor.url}/other", None, {})
    with pytest.raises(Refused, match="status 404"):
        await wrong.read()
    url = monitor.url
    await monitor.close()
    with pytest.raises(NoPort, match="Connection refused"):
        await registry.make_driver(MONITOR, bus, url, None, {}).read()


async def test_json_by_path(monitor: AirGradient) -> None:
    fields = (Field("co2", "rco2"), Field("particles_03um", "pm003Count", 0.01), Field("pm4", "nothing"))
    known = Template(**{name: getattr(JSON, name) for name in JSON.__slots__} | {"fields": fields})
    driver: Any = registry.make_driver(known, make_bus(), monitor.url, 5.0, {"path": "/measures/current"})
    (observation,) = await driver.read()
    assert values(observation) == {"co2": 640, "particles_03um": 2.7}
    assert driver.period_s == 5.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"listen": {"host": "0.0.0.0", "port": 0}}, "beyond this machine"),
        ({"listen": {"port": 0}, "username": "a"}, "go together"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        make_bus(**settings)


@pytest.mark.parametrize(
    ("known", "address", "options", "words"),
    [
        (STATION, "http://box", {}, "not the id"),
        (STATION, "a b", {}, "not the id"),
        (MONITOR, "ftp://box", {}, "not an http"),
        (MONITOR, "http://box", {"path": "/x"}, "unknown option 'path'"),
        (JSON, "http://box", {"field": "/x"}, "unknown option 'field'"),
    ],
)
def test_devices_that_are_refused(known: Template, address: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        registry.make_driver(known, make_bus(listen={"port": 0}), address, None, options)


async def test_https_is_verified(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(AirGradient(Air).measures()).encode()
        writer.write(b"HTTP/1.1 200 \r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    try:
        with pytest.raises(Misconfigured, match=r"TLS with localhost.* `ca_file`"):
            await registry.make_driver(MONITOR, make_bus(), url, None, {}).read()
        driver: Any = registry.make_driver(MONITOR, make_bus(ca_file=certificate), url, None, {})
        assert len(await driver.read()) == 1
        await driver.close()
    finally:
        server.close()
    with pytest.raises(Misconfigured, match="cannot be used"):
        registry.make_driver(MONITOR, make_bus(ca_file=key), url, None, {})
