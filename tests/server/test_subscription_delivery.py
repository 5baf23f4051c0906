"""Notifications that can be trusted: dead letters, restarts, kill -9, and MQTT with a real broker."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from gateway.server.subscriptions import delivery
from tests.server.support import ENERGY, LD, meter, serving, until, upsert
from tests.server.test_subscriptions import URL, Receiver, receiving, subscription

PROGRAM = Path(__file__).with_name("server_process.py")
SERVICE = "/api/subscriptions/urn:ngsi-ld:Subscription:1"


async def test_dead_letters_are_seen_and_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "BACK_OFF_S", 0.02)
    monkeypatch.setattr(delivery, "ATTEMPTS_MAX", 2)
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        receiver.statuses = [500, 503]
        await client.post(URL, json=subscription(receiver.url), headers=LD)
        await upsert(client, meter(1, 10))

        async def dead() -> bool:
            return (await client.get(f"{SERVICE}/notifications")).json()["queue"]["dead"] == 1

        await until(dead)
        assert "\nlamppost_server_notifications_dead 1\n" in (await client.get("/metrics")).text
        found = (await client.get(f"{SERVICE}/notifications", params={"state": "dead"})).json()["notifications"]
        assert found[0]["why"] == "status 503" and receiver.got == []
        assert (await client.post(f"{SERVICE}/redeliver")).json() == {"redelivered": 1}
        await until(lambda: receiver.values() == [10])
        assert receiver.got[0]["id"] == found[0]["notification"]["id"]
        assert (await client.get("/api/subscriptions/urn:ngsi-ld:Subscription:2/notifications")).status_code == 404


async def test_what_waits_survives_a_restart_in_order(tmp_path: Path) -> None:
    async with receiving() as receiver:
        receiver.statuses = [500] * 3
        async with serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
            await client.post(URL, json=subscription(receiver.url), headers=LD)
            for number in range(5):
                await upsert(client, meter(1, number, f"2026-01-01T00:00:0{number}Z"))
        async with serving(tmp_path, notify_prefixes=(receiver.url,)):
            await until(lambda: len(receiver.got) >= 5, 60)
        assert list(dict.fromkeys(receiver.values())) == [0, 1, 2, 3, 4]


async def test_one_that_hangs_delays_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that may be held at once would be its own, were it not bounded by receiver."""
    monkeypatch.setattr(delivery, "HELD_MAX", 20)
    monkeypatch.setattr(delivery, "HELD_PER_RECEIVER", 5)

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)
        writer.close()

    hanging = await asyncio.start_server(hang, "127.0.0.1", 0)
    deaf = f"http://127.0.0.1:{hanging.sockets[0].getsockname()[1]}/"
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url, deaf)) as client:
        for number in range(60):
            body = subscription(deaf) | {"id": f"urn:ngsi-ld:Subscription:deaf-{number}"}
            body["notification"]["endpoint"]["timeout"] = 30_000
            assert (await client.post(URL, json=body, headers=LD)).status_code == 201
        assert (await client.post(URL, json=subscription(receiver.url), headers=LD)).status_code == 201
        for number in range(5):
            await upsert(client, meter(1, number, f"2026-01-01T00:00:0{number}Z"))
        await until(lambda: receiver.values() == [0, 1, 2, 3, 4], 20)  # less than the time-out of one attempt
    hanging.close()


def start(data: Path, receiver: Receiver) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, PROGRAM, data, "0", receiver.url], stdout=subprocess.PIPE, text=True, cwd=PROGRAM.parents[2]
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


async def test_kill_9_loses_no_notification(tmp_path: Path) -> None:
    async with receiving() as receiver:
        acknowledged: list[int] = []
        for round_number in range(3):
            process, address = await asyncio.to_thread(start, tmp_path, receiver)
            try:
                async with httpx.AsyncClient(base_url=address, timeout=10) as client:
                    if not round_number:
                        await client.post(URL, json=subscription(receiver.url), headers=LD)
                    await load(client, acknowledged, process)
            finally:
                process.kill()
                process.wait()
        process, _ = await asyncio.to_thread(start, tmp_path, receiver)
        try:
            await until(lambda: set(acknowledged) <= set(receiver.values()), 60)
        finally:
            process.kill()
            process.wait()
        ids: dict[int, set[str]] = {}
        for body in receiver.got:
            ids.setdefault(body["data"][0]["totalActivePower"]["value"], set()).add(body["id"])
        assert len(acknowledged) > 30 and all(len(same) == 1 for same in ids.values()), "repeated with another id"


async def load(client: httpx.AsyncClient, acknowledged: list[int], process: subprocess.Popen[str]) -> None:
    """Updates, each another value, until the server is gone; what was sent without an answer is not sent again."""
    asyncio.get_running_loop().call_later(1.0, process.kill)
    number = (max(acknowledged) if acknowledged else 0) + 1000
    try:
        while True:
            number += 1
            answer = await upsert(
                client, meter(1, number, f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z")
            )
            assert answer.status_code in (201, 204), answer.text
            acknowledged.append(number)
    except httpx.TransportError:
        return


@asynccontextmanager
async def mosquitto(folder: Path) -> AsyncIterator[int]:
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen(["mosquitto", "-c", settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await until(lambda: open_port(port))
        yield port
    finally:
        process.terminate()
        process.wait(10)


def open_port(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(("version", "qos"), [("mqtt3.1.1", "0"), ("mqtt5.0", "1"), ("mqtt5.0", "2")])
async def test_mqtt(tmp_path: Path, version: str, qos: str) -> None:
    async with mosquitto(tmp_path) as port:
        got: list[dict[str, Any]] = []
        ready = asyncio.Event()
        loop = asyncio.get_running_loop()
        listener = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        listener.on_message = lambda *a: loop.call_soon_threadsafe(got.append, orjson.loads(a[2].payload))
        listener.on_subscribe = lambda *a: loop.call_soon_threadsafe(ready.set)
        listener.connect("127.0.0.1", port)
        listener.subscribe("city/power", qos=2)
        listener.loop_start()
        try:
            await asyncio.wait_for(ready.wait(), 10)
            url = f"mqtt://127.0.0.1:{port}/city/power"
            async with serving(tmp_path / "data", notify_prefixes=(f"mqtt://127.0.0.1:{port}/",)) as client:
                info = [{"key": "MQTT-Version", "value": version}, {"key": "MQTT-QoS", "value": qos}]
                endpoint = {"uri": url, "notifierInfo": info, "receiverInfo": [{"key": "X-Key", "value": "v"}]}
                body = subscription(url, notification={"endpoint": endpoint})
                created = await client.post(URL, json=body, headers={**LD, "NGSILD-Tenant": "oslo"})
                assert created.status_code == 201, created.text
                await upsert(client, meter(1, 10), **{"NGSILD-Tenant": "oslo"})
                await until(lambda: len(got) == 1)
        finally:
            listener.disconnect()
            listener.loop_stop()
        metadata, sent = got[0]["metadata"], got[0]["body"]
        assert metadata["Content-Type"] == "application/json" and ENERGY in metadata["Link"]
        assert metadata["NGSILD-Tenant"] == "oslo" and metadata["X-Key"] == "v"
        assert sent["type"] == "Notification" and sent["data"][0]["totalActivePower"]["value"] == 10
