"""What the server's ends of MQTT and CoAP refuse: strangers, garbage, floods. They answer on, and nothing is stored."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.buses.coap_message import CON, POST, PUT, Code, Message, Option, encode, parse, uint
from drivers.buses.mqtt import Listener, MqttBus
from drivers.buses.mqtt import Message as Heard
from drivers.buses.mqtt_login import Session
from firmware_sim.mqtt import Broker
from gateway.compact.message import AckMessage, HeldMessage
from gateway.config.schema import Uplink
from gateway.model import Link
from gateway.server.errors import ServerError
from gateway.server.ingest import mqtt as mqtt_end
from gateway.server.settings import CoapSettings
from gateway.uplink.compact_coap import CompactCoap
from gateway.uplink.compact_mqtt import CompactMqtt
from gateway.uplink.make import make_transport
from gateway.uplink.transport import RejectedError, UnreachableError
from tests.server.compact_kit import PROFILES, STREAM, message
from tests.server.compact_kit import readings as made
from tests.server.test_ingest import mutate
from tests.sim.compact_wire import SITE, Wire, batch, coap_wire, key_files, mapper, mqtt_wire, running, stored
from tests.sim.test_compact_wires import delivered


class Publisher:
    """A client of the broker that may publish whatever it likes."""

    def __init__(self, bus: MqttBus) -> None:
        self.bus = bus
        self.answers: asyncio.Queue[Heard] = asyncio.Queue()
        bus.listen(Listener(("lamppost/v1/+/ack/+",), self.answers.put_nowait, lambda _why, _kind: None))

    def say(self, topic: str, payload: bytes) -> None:
        assert self.bus.command(f"lamppost/v1/{topic}", payload, 1)

    async def answer(self) -> Heard:
        async with asyncio.timeout(30):
            return await self.answers.get()

    async def ask(self, topic: str, payload: bytes) -> bytes:
        """Again until the server is there."""
        while True:
            self.say(topic, payload)
            try:
                async with asyncio.timeout(1):
                    return (await self.answers.get()).payload
            except TimeoutError:
                continue


@asynccontextmanager
async def publisher(url: str) -> AsyncIterator[Publisher]:
    bus = MqttBus("p", Session(port=int(url.rpartition(":")[2])))
    made = Publisher(bus)
    await bus.open()
    try:
        yield made
    finally:
        await bus.close()


async def test_mqtt_refuses_what_it_cannot_read_and_goes_on(tmp_path: Path) -> None:
    chance = random.Random(3)
    async with mqtt_wire(tmp_path) as wire, running(wire, tmp_path / "data") as client, publisher(wire.url) as p:
        assert not HeldMessage.from_bytes(await p.ask(f"{SITE}/streams/1", b"")).streams
        for number in range(30):
            kind = chance.choice(("batch", "profiles"))
            bad = chance.choice((b"", os.urandom(chance.randrange(1, 300)), mutate(message(made([1])), number)))
            p.say(f"{SITE}/{kind}/{number}", bad)
            answer = await p.answer()
            assert answer.topic.endswith(f"/ack/{number}")
            if kind == "batch":
                ack = AckMessage.from_bytes(answer.payload)
                assert ack.problems or ack.unknown_profiles, "nothing is taken"
            else:
                assert answer.payload, "it says why"
        good = message(made([1]), gateway="another")
        p.say(f"{SITE}/batch/9", good)
        assert "another" in AckMessage.from_bytes((await p.answer()).payload).problems[0]
        p.say(f"{SITE}/profiles/7", PROFILES.to_bytes())
        assert (await p.answer()).payload == b""
        p.say(f"{SITE}/batch/8", message(made([1]), gateway=SITE))
        assert AckMessage.from_bytes((await p.answer()).payload).ranges and await stored(client) == [1]


async def test_mqtt_more_than_is_taken_on_is_asked_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_end, "WAITING_MAX", 0)
    async with mqtt_wire(tmp_path) as wire, running(wire, tmp_path / "data"), publisher(wire.url) as p:
        ack = AckMessage.from_bytes(await p.ask(f"{SITE}/batch/1", message(made([1]))))
        assert ack.retry_after_s == 1 and ack.stream == STREAM and not ack.ranges


async def test_mqtt_the_broker_may_come_later(tmp_path: Path) -> None:
    """The server runs without it, and is found once it is there."""
    async with mqtt_wire(tmp_path) as wire:
        pass
    async with running(wire, tmp_path / "data") as client:
        box = wire.transport(client, timeout_s=1.0)
        assert (await client.get("/healthz")).status_code == 200
        with pytest.raises(UnreachableError):
            await box.send(batch([1]))
        await box.close()


async def test_mqtt_with_the_rights_that_the_manual_gives(tmp_path: Path) -> None:
    """Each box publishes below its own name only; a wrong password is said, and nothing goes without."""
    manual = (Path(__file__).parents[2] / "docs" / "howto" / "run-a-server.md").read_text(encoding="utf-8")
    rights = tmp_path / "acl"
    rights.write_text("pattern write" + manual.partition("```\npattern write")[2].partition("```")[0])
    rights.chmod(0o600)
    known = tmp_path / "passwords"
    known.touch(0o600)
    for name in ("city", SITE):
        subprocess.run(["mosquitto_passwd", "-b", str(known), name, f"{name}-secret"], check=True)
        (tmp_path / name).write_text(f"{name}-secret")
    broker = Broker(tmp_path, ("allow_anonymous false", f"password_file {known}", f"acl_file {rights}"))
    await broker.up()
    session = Session(port=broker.port, username="city", password_file=tmp_path / "city")
    wire = Wire(f"mqtt://127.0.0.1:{broker.port}", {"mqtt": session}, username=SITE, password_file=tmp_path / SITE)
    async with running(wire, tmp_path / "data") as client:
        box = wire.transport(client, timeout_s=2.0)
        assert isinstance(box, CompactMqtt)
        await delivered(box, 10)
        assert await stored(client) == list(range(10))
        await box.close()
        box._root = box._root.replace(SITE, "another")
        with pytest.raises(UnreachableError):
            await box.send(batch([11]))
        await box.close()
        wire.uplink["password_file"] = tmp_path / "city"
        box = wire.transport(client)
        with pytest.raises(RejectedError, match="refused the session") as caught:
            await box.send(batch([12]))
        assert caught.value.code == "uplink.auth" and await stored(client) == list(range(10))
        await box.close()
    await broker.close()


@pytest.mark.parametrize(("metered", "seconds"), [(False, 60), (True, 1200)])
async def test_mqtt_keeps_its_session_alive_with_few_bytes_where_they_cost_money(metered: bool, seconds: int) -> None:
    """What stands in CONNECT (MQTT 3.1.1, 3.1.2.10): where batches go each quarter of an hour no ping is ever sent."""
    connect: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connect.set_result(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(broker, "127.0.0.1", 0)
    settings = Uplink(url=f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}", language="compact", timeout=5.0)
    box = make_transport(settings, mapper(), Link("gsm", None, metered))
    with pytest.raises(UnreachableError):
        await box.held()
    await box.close()
    server.close()
    name = (await connect).index(b"MQTT")
    assert int.from_bytes((await connect)[name + 6 : name + 8], "big") == seconds


async def asked(port: int, data: bytes) -> Message | None:
    """The answer to a datagram."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(("127.0.0.1", port))
        await loop.sock_sendall(sock, data)
        try:
            async with asyncio.timeout(0.1):
                return parse(await loop.sock_recv(sock, 65_536))
        except TimeoutError:
            return None


async def test_coap_takes_nothing_unprotected(tmp_path: Path) -> None:
    chance = random.Random(5)
    async with coap_wire(tmp_path) as wire, running(wire, tmp_path / "data") as client:
        port = int(wire.url.rpartition(":")[2])
        path = tuple((int(Option.URI_PATH), part) for part in (b"lamppost", b"v1", b"batches"))
        plain = encode(Message(CON, POST, 7, b"t", (*path, (Option.CONTENT_FORMAT, uint(60))), message(made([1]))))
        answer = None
        while answer is None:
            answer = await asked(port, plain)
        assert answer is not None and answer.code == Code.UNAUTHORIZED
        for seed in range(20):
            garbled = await asked(port, chance.choice((os.urandom(chance.randrange(60)), mutate(plain, seed))))
            assert garbled is None or garbled.code in (0, Code.UNAUTHORIZED, Code.BAD_OPTION, Code.BAD_REQUEST)
        box = wire.transport(client)
        assert await box.held() == {}
        await box.close()


async def test_coap_a_gateway_speaks_for_itself_alone(tmp_path: Path) -> None:
    async with coap_wire(tmp_path) as wire, running(wire, tmp_path / "data") as client:
        box = wire.transport(client)
        now_ns = await box.server_time()
        assert now_ns is not None and now_ns > 10**18
        box._gateway = "another"
        with pytest.raises(RejectedError, match="keys are for test"):
            await box.held()
        with pytest.raises(RejectedError, match="sends batches of another"):
            await box.send(batch([1]))
        await box.close()


async def test_coap_garbage_under_good_keys_is_refused(tmp_path: Path) -> None:
    chance = random.Random(8)
    async with coap_wire(tmp_path) as wire, running(wire, tmp_path / "data") as client:
        box = wire.transport(client)
        assert isinstance(box, CompactCoap)
        for seed in range(40):
            bad = chance.choice((chance.randbytes(chance.randrange(1, 3000)), mutate(message(made([1])), seed)))
            path = chance.choice(("/lamppost/v1/batches", f"/lamppost/v1/gateways/{SITE}/profiles/00", "/nowhere"))
            with pytest.raises(RejectedError, match=r"4\.\d\d|knows nothing"):
                answer = await box._request(PUT if "profiles" in path else POST, path, bad)
                assert AckMessage.from_bytes(answer.body).unknown_profiles
                raise RejectedError("knows nothing")
        await box.send(batch([1]))
        assert await stored(client) == [1]
        await box.close()


async def test_coap_with_other_keys(tmp_path: Path) -> None:
    async with coap_wire(tmp_path) as wire, running(wire, tmp_path / "data") as client:
        (tmp_path / "more").mkdir()
        wire.uplink["credentials_file"] = key_files(tmp_path / "more")[1]
        box = wire.transport(client)
        with pytest.raises((RejectedError, UnreachableError)):
            await box.send(batch([1]))
        await box.close()


async def test_coap_that_cannot_start(tmp_path: Path) -> None:
    async with coap_wire(tmp_path) as wire:
        keys = wire.server["coap"].credentials
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            wire.server["coap"] = CoapSettings(keys, port=taken.getsockname()[1])
            with pytest.raises(ExceptionGroup) as caught:
                async with running(wire, tmp_path / "data"):
                    pass
        (error,) = caught.value.exceptions
        assert isinstance(error, ServerError) and error.code == "server.coap"
