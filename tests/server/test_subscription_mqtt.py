"""Notifications over MQTT with TLS and a login: a real broker, certificates made for the test."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from gateway.server.errors import ServerError
from tests.server.support import LD, meter, serving, until, upsert
from tests.server.test_subscription_delivery import open_port
from tests.server.test_subscriptions import URL, subscription

SECRET = "p%20/w@d"
LOGIN = "city:p%2520%2Fw%40d"  # percent-encoded, as in a URL


class Certificates(NamedTuple):
    ca: Path
    certificate: Path
    key: Path


def certificates(folder: Path) -> Certificates:
    """An authority of its own, and a certificate of 127.0.0.1 and localhost."""
    files = Certificates(folder / "ca.pem", folder / "broker.pem", folder / "broker.key")
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("authority", "broker")]
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.datetime.now(datetime.UTC)
    for index, path in enumerate((files.ca, files.certificate)):
        builder = x509.CertificateBuilder(names[0], names[index], keys[index].public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=index == 0, path_length=None), critical=True)
        if index:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        path.write_bytes(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files.key.write_bytes(keys[1].private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    return files


@asynccontextmanager
async def secure_broker(folder: Path, files: Certificates) -> AsyncIterator[tuple[int, int]]:
    """TLS and a login at the first port, neither at the second."""
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed")
    passwords, settings = folder / "passwords", folder / "mosquitto.conf"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "city", SECRET], check=True, capture_output=True)
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(int(free.getsockname()[1]))
    settings.write_text(
        "user root\nper_listener_settings true\n"  # not root it could not read the folder of a test
        f"listener {ports[0]} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
        f"certfile {files.certificate}\nkeyfile {files.key}\n"
        f"listener {ports[1]} 127.0.0.1\nallow_anonymous true\n"
    )
    process = subprocess.Popen(["mosquitto", "-c", settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await until(lambda: all(map(open_port, ports)))
        yield ports[0], ports[1]
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def listening(port: int, topic: str) -> Iterator[list[Any]]:
    got: list[Any] = []
    loop = asyncio.get_running_loop()
    listener = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    listener.on_message = lambda *told: loop.call_soon_threadsafe(got.append, orjson.loads(told[2].payload))
    listener.on_connect = lambda *_: listener.subscribe(topic, qos=2)
    listener.connect("127.0.0.1", port)
    listener.loop_start()
    try:
        yield got
    finally:
        listener.disconnect()
        listener.loop_stop()


async def subscribe(client: httpx.AsyncClient, url: str) -> None:
    answer = await client.post(URL, json=subscription(url), headers=LD)
    assert answer.status_code == 201, answer.text


async def told(client: httpx.AsyncClient) -> dict[str, Any]:
    notification: dict[str, Any] = (await client.get(f"{URL}/urn:ngsi-ld:Subscription:1")).json()["notification"]
    return notification


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_over_tls_with_a_login(tmp_path: Path, host: str) -> None:
    files = certificates(tmp_path)
    async with secure_broker(tmp_path, files) as (port, plain):
        granted = (f"mqtts://{host}:{port}/",)
        with listening(plain, "city/power rooms") as got:
            async with serving(tmp_path / "data", notify_prefixes=granted, ca_file=files.ca) as client:
                await subscribe(client, f"mqtts://{LOGIN}@{host}:{port}/city/power%20rooms")
                watts = 10
                while not got:  # the listener may come after the first
                    await upsert(client, meter(1, watts := watts + 1))
                    await asyncio.sleep(0.1)
                assert (await told(client))["status"] == "ok"
        assert got[0]["body"]["type"] == "Notification" and got[0]["metadata"]["Content-Type"] == "application/json"


async def test_an_authority_that_is_not_trusted_gets_nothing(tmp_path: Path) -> None:
    files = certificates(tmp_path)
    async with secure_broker(tmp_path, files) as (port, plain):
        granted = (f"mqtts://127.0.0.1:{port}/",)
        with listening(plain, "#") as got:
            async with serving(tmp_path / "data", notify_prefixes=granted) as client:
                await subscribe(client, f"mqtts://{LOGIN}@127.0.0.1:{port}/city")
                await upsert(client, meter(1, 10))
                await until(lambda: _failed(client))
                queue = await client.get("/api/subscriptions/urn:ngsi-ld:Subscription:1/notifications")
                assert "certificate verify failed" in queue.json()["notifications"][0]["why"]
        assert not got


async def test_a_login_that_is_refused_is_a_failure_without_acknowledgements_too(tmp_path: Path) -> None:
    files = certificates(tmp_path)
    async with secure_broker(tmp_path, files) as (port, _):
        granted = (f"mqtts://127.0.0.1:{port}/",)
        async with serving(tmp_path / "data", notify_prefixes=granted, ca_file=files.ca) as client:
            await subscribe(client, f"mqtts://city:wrong@127.0.0.1:{port}/city")
            await upsert(client, meter(1, 10))
            await until(lambda: _failed(client))
            queue = await client.get("/api/subscriptions/urn:ngsi-ld:Subscription:1/notifications")
            assert "does not let us in" in queue.json()["notifications"][0]["why"]


async def _failed(client: httpx.AsyncClient) -> bool:
    shown = await told(client)
    return shown.get("status") == "failed" and shown["timesFailed"] > 0 and "lastSuccess" not in shown


async def test_a_file_without_authorities_is_found_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing\n")
    with pytest.raises(ExceptionGroup) as caught:
        async with serving(tmp_path, ca_file=tmp_path / "ca.pem"):
            pass
    assert caught.group_contains(ServerError, match="authorities")
