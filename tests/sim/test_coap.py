"""The CoAP bus against simulated sensors over real UDP: observe, push, blocks, losses, restarts, OSCORE, garbage."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiocoap
import pytest

from drivers import registry, template
from drivers.base import Frame
from drivers.buses import coap
from drivers.buses import coap_message as wire
from drivers.buses.coap_message import Message, Option
from drivers.errors import BadFrame, Disconnected, DriverError, Misconfigured, NoPort, Refused, Timeout
from firmware_sim import oscore as simulated_oscore
from firmware_sim.devices import coap as simulated
from firmware_sim.devices.coap import Pusher, Sensor, as_cbor, as_json, history, records

AIR = template.load("coap-senml-air")
NOW = {"co2": (612.0, "ppm"), "temperature": (21.3, "Cel")}
HOST = "127.0.0.1"
SALT = "9e7ca92223786340"
SECRETS = {"asked": "0102030405060708090a0b0c0d0e0f10", "mast": "a1a2a3a4a5a6a7a8a9aaabacadaeafb0"}


class Site:
    """A bus under test with a sensor to ask and one that pushes; all keys under one folder where there are any."""

    def __init__(self, folder: Path, *, keys: bool) -> None:
        self.folder = folder
        self.keys = keys
        self.sensor = Sensor(NOW, keys=self.context("asked", "02", "01") if keys else None)
        self.pusher = Pusher(self.context("mast", "03", "00") if keys else None)
        self.bus: Any = None
        self._drivers: list[Any] = []

    def context(self, name: str, sender_id: str, recipient_id: str, *, secret: str = "") -> Any:
        made = {"secret": secret or SECRETS[name], "salt": SALT, "sender_id": sender_id, "recipient_id": recipient_id}
        return simulated_oscore.context(self.folder / f"{name}{secret[:4]}", **made)

    async def up(self, **settings: Any) -> None:
        await self.sensor.up()
        await self.pusher.up()
        if self.keys:
            settings["credentials_file"] = self.credentials()
        self.open(**settings)

    def credentials(self) -> Path:
        path = self.folder / "keys.yaml"
        peers = {f"coap://{HOST}:{self.sensor.port}": ("asked", "01", "02"), "mast": ("mast", "00", "03")}
        parts = [
            f"{peer}: {{secret: {SECRETS[name]}, salt: {SALT}, sender_id: '{ours}', recipient_id: '{theirs}'}}\n"
            for peer, (name, ours, theirs) in peers.items()
        ]
        path.write_text("".join(parts), encoding="utf-8")
        path.chmod(0o600)
        return path

    def open(self, **settings: Any) -> None:
        wanted = {"type": "coap", "listen": {"host": HOST, "port": 0}, "timeout": 8.0} | settings
        self.bus = registry.make_bus("b", wanted)

    def driver(self, address: str, **options: Any) -> Any:
        made = registry.make_driver(AIR, self.bus, address, options.pop("period", None), options)
        self._drivers.append(made)
        return made

    def asked(self, path: str = "air", **options: Any) -> Any:
        return self.driver(f"coap://{HOST}:{self.sensor.port}/{path}", **options)

    async def pushed(self, name: str = "mast") -> Any:
        """A driver that listens."""
        driver = self.driver(name)
        silence, driver.silence_s = driver.silence_s, 0.01
        with pytest.raises(Timeout):
            await driver.read()
        driver.silence_s = silence
        return driver

    def url(self, name: str = "mast") -> str:
        return f"coap://{HOST}:{self.bus.port}/push/{name}"

    async def close(self) -> None:
        for driver in self._drivers:
            await driver.close()
        await self.bus.close()
        await self.pusher.down()
        await self.sensor.down()


@pytest.fixture(params=[False, True], ids=["plain", "oscore"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path, keys=request.param)
    await made.up()
    yield made
    await made.close()


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path, keys=False)
    await made.up()
    yield made
    await made.close()


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path, keys=True)
    await made.up()
    yield made
    await made.close()


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """No task runs on, and nothing was raised in a callback."""
    trouble: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: trouble.append(context))
    before = asyncio.all_tasks()
    yield
    for _ in range(5):
        await asyncio.sleep(0)
    assert not trouble
    assert not {task for task in asyncio.all_tasks() - before if not task.done()} - {asyncio.current_task()}


def values(observations: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [{m.quantity: m.value for m in observation.measurements} for observation in observations]


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_observed_sensor_tells_what_changes(site: Site) -> None:
    driver = site.asked()
    assert driver.period_s is None
    before = asyncio.get_running_loop().time()
    first = await driver.read()
    assert values(first) == [{"co2": 612, "temperature": 21.3}]
    assert before * 1e9 <= first[0].mono_ns <= asyncio.get_running_loop().time() * 1e9
    assert site.sensor.observers == 1
    for co2 in (700, 701, 702):
        site.sensor.say({"co2": (co2, "ppm")})
        assert values(await driver.read()) == [{"co2": co2}]
    assert site.sensor.given == 4  # one question, three notifications


async def test_stale_value_is_asked_for_again(plain: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coap, "GRACE_S", 0.1)
    plain.sensor.max_age_s = 0
    driver = plain.asked()
    await driver.read()
    plain.sensor.silent = True
    plain.sensor.say({"co2": (800, "ppm")})
    assert values(await driver.read()) == [{"co2": 800}]
    plain.sensor.silent = False
    plain.sensor.say({"co2": (801, "ppm")})
    assert values(await driver.read()) == [{"co2": 801}]


async def test_sensor_restarts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coap, "GRACE_S", 0.1)
    site.sensor.max_age_s = 0
    driver = site.asked()
    await driver.read()
    await site.sensor.down()
    with pytest.raises(Disconnected, match="cannot be reached"):  # the kernel says that the port is closed
        await driver.read()
    await site.sensor.up()
    assert values(await driver.read()) == [{"co2": 612, "temperature": 21.3}]
    await soon(lambda: site.sensor.observers == 1)
    site.sensor.say({"co2": (900, "ppm")})
    assert values(await driver.read()) == [{"co2": 900}]


async def test_sensor_that_cannot_be_observed_is_polled(site: Site) -> None:
    driver = site.asked("still", period=0.2)
    first, second = await driver.read(), await driver.read()
    assert 0.15e9 < second[0].mono_ns - first[0].mono_ns < 2e9
    polled = site.asked(period=30.0, observe=False)
    assert polled.period_s == 30
    await polled.read()
    assert site.sensor.observers == 0


async def test_long_bodies_come_in_blocks(site: Site) -> None:
    past = await site.asked("history").read()
    assert [v["co2"] for v in values(past)] == [400 + age for age in range(299, -1, -1)]
    steps = {round((b.mono_ns - a.mono_ns) / 1e9) for a, b in pairwise(past)}
    assert steps == {simulated.HISTORY_STEP_S}
    observed = site.asked("log")
    assert len(await observed.read()) == 60
    site.sensor.say(NOW)
    assert len(await observed.read()) == 60  # a notification is a first block too


async def test_body_beyond_the_bound(tmp_path: Path) -> None:
    site = Site(tmp_path, keys=False)
    await site.up(body_max=4096)
    with pytest.raises(BadFrame, match="more than 4096 bytes"):
        await site.asked("history").read()
    driver = await site.pushed()
    assert await site.pusher.push(site.url(), as_json(history(300)), 110) == "4.13 4096 bytes are taken"
    assert await site.pusher.push(site.url(), as_json(history(90)), 110) == "2.04"
    assert len(await driver.read()) == 90
    await site.close()


async def test_pushed_values(site: Site) -> None:
    driver = await site.pushed()
    taps: list[Frame] = []
    site.bus.tap = taps.append
    for body, kind in ((as_cbor(records(NOW)), 112), (as_json(records(NOW)), 110), (as_json(records(NOW)), 50)):
        assert await site.pusher.push(site.url(), body, kind, code=aiocoap.PUT) == "2.04"
        assert values(await driver.read()) == [{"co2": 612, "temperature": 21.3}]
        assert taps[-1].data == b"mast\0" + body
    assert await site.pusher.push(site.url(), as_json(history(200)), 110) == "2.04"  # in blocks
    assert len(await driver.read()) == 200


async def test_what_is_not_taken_is_told(site: Site) -> None:
    driver = await site.pushed()
    push, good = site.pusher.push, as_cbor(records(NOW))
    assert await push(site.url(), b"x") == "4.00 CBOR ends 1 bytes early"
    assert await push(site.url(), as_cbor(records({"door": (1, "")}))) == (
        "4.00 SenML with nothing that is known here: urn:dev:mac:0024befffe804ff1/door"
    )
    assert await push(site.url(), good, 0) == "4.15 SenML in JSON (110) or CBOR (112)"
    assert await push(site.url(), good, code=aiocoap.GET) == "4.05 POST or PUT"
    other = "4.03 these keys are for /push/mast" if site.keys else "4.04 no device of that name pushes here"
    assert (await push(site.url("pole"), good)).startswith(other)
    assert driver.bad_frames == 2
    assert site.bus.refused == 3
    driver.silence_s = 0.05
    with pytest.raises(Timeout):
        await driver.read()


async def test_full_mailbox_sends_the_sensor_away(plain: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coap, "PUSHED_MAX", 100)
    driver = await plain.pushed()
    body = as_json(history(60))
    assert await plain.pusher.push(plain.url(), body, 110) == "2.04"
    assert (await plain.pusher.push(plain.url(), body, 110)).startswith("5.03")
    assert len(await driver.read()) == 60
    assert await plain.pusher.push(plain.url(), body, 110) == "2.04"


Lost = set[tuple[str, int]]


@asynccontextmanager
async def lossy(port: int, lost: Lost) -> AsyncIterator[int]:
    """A relay to a UDP port: its own port. ``lost``: the datagrams that vanish, as (to or from, how many before)."""
    loop = asyncio.get_running_loop()
    counts = {"to": 0, "from": 0}
    front, back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(2))
    front.bind((HOST, 0))
    back.connect((HOST, port))
    client: list[Any] = []

    def pass_on(way: str, data: bytes, send: Callable[[bytes], object]) -> None:
        if (way, counts[way]) not in lost:
            send(data)
        counts[way] += 1

    def forth() -> None:
        data, sender = front.recvfrom(65_535)
        client[:] = [sender]
        pass_on("to", data, back.send)

    loop.add_reader(front, forth)
    loop.add_reader(back, lambda: pass_on("from", back.recv(65_535), lambda data: front.sendto(data, client[0])))
    try:
        yield int(front.getsockname()[1])
    finally:
        for end in (front, back):
            loop.remove_reader(end)
            end.close()


def relayed(site: Site, port: int) -> Any:
    """A driver that reaches the sensor by a relay; the keys are of the sensor, wherever it is reached."""
    site.bus._contexts[f"coap://{HOST}:{port}"] = site.bus.context(f"coap://{HOST}:{site.sensor.port}")
    return site.driver(f"coap://{HOST}:{port}/air")


async def test_lost_datagrams_cost_time_and_nothing_else(secure: Site) -> None:
    """Each loss costs a retransmission of 2 to 3 s (RFC 7252, 4.8), so all are had at once."""
    pushed = await secure.pushed()

    async def question_or_answer_lost(lost: Lost) -> None:
        async with lossy(secure.sensor.port, lost) as port:
            assert values(await relayed(secure, port).read()) == [{"co2": 612, "temperature": 21.3}]

    async def notification_lost() -> None:
        async with lossy(secure.sensor.port, {("from", 1)}) as port:
            driver = relayed(secure, port)
            await driver.read()
            secure.sensor.say(NOW)
            assert values(await driver.read()) == [{"co2": 612, "temperature": 21.3}]

    async def block_and_acknowledgement_lost() -> None:
        async with lossy(secure.bus.port, {("to", 1), ("from", 3)}) as port:
            url = secure.url().replace(str(secure.bus.port), str(port))
            assert await secure.pusher.push(url, as_json(history(100)), 110) == "2.04"
        assert len(await pushed.read()) == 100
        pushed.silence_s = 0.05
        with pytest.raises(Timeout):  # what came twice is taken once
            await pushed.read()

    lost: tuple[Lost, ...] = ({("to", 0)}, {("from", 0)})
    jobs = [question_or_answer_lost(one) for one in lost]
    await asyncio.gather(*jobs, notification_lost(), block_and_acknowledgement_lost())


async def test_nothing_is_logged_of_what_is_protected(secure: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    driver = await secure.pushed()
    assert await secure.pusher.push(secure.url(), as_json(records(NOW)), 110) == "2.04"
    await driver.read()
    await secure.asked("air.json").read()
    assert not [one.getMessage() for one in caplog.records if one.name.startswith(("lamppost", "aiocoap"))]


async def test_keys_that_differ(secure: Site) -> None:
    await secure.pushed()
    liar = Pusher(secure.context("mast", "03", "00", secret="ffffffffffffffffffffffffffffffff"))
    stranger = Pusher(secure.context("mast", "05", "00", secret="eeffffffffffffffffffffffffffffff"))
    bare = Pusher()
    good = as_cbor(records(NOW))
    for pusher, told in ((liar, "4.00 decryption failed"), (stranger, "4.01 security context not found")):
        await pusher.up()
        assert await pusher.push(secure.url(), good) == told
        await pusher.down()
    await bare.up()
    assert await bare.push(secure.url(), good) == "4.01 OSCORE is needed here"
    await bare.down()
    assert secure.bus.refused == 3


async def test_asking_with_keys_that_differ(secure: Site) -> None:
    await secure.sensor.down()
    secure.sensor._keys = secure.context("asked", "02", "01", secret="ffffffffffffffffffffffffffffffff")
    await secure.sensor.up()
    with pytest.raises(Refused, match=r"does not accept the OSCORE keys: 4\.00"):
        await secure.asked().read()
    with pytest.raises(Misconfigured, match="has no keys for coap://localhost"):
        await secure.driver("coap://localhost/air").read()


async def test_unprotected_answers_are_no_values(secure: Site) -> None:
    await secure.sensor.down()
    bare = Sensor(NOW, port=secure.sensor.port)
    await bare.up()
    with pytest.raises(Refused, match="does not accept the OSCORE keys"):
        await secure.asked().read()
    await bare.down()


def raw(port: int, datagram: bytes) -> bytes:
    """Send from a socket of our own and wait for the answer in the kernel's hands."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(5)
        end.connect((HOST, port))
        end.send(datagram)
        return end.recv(65_535)


async def replayed(site: Site, datagram: bytes) -> Message:
    answer = await asyncio.get_running_loop().run_in_executor(None, raw, site.bus.port, datagram)
    return wire.parse(answer)


async def test_replay_is_refused_now_after_a_restart_and_after_a_power_cut(secure: Site) -> None:
    driver = await secure.pushed()
    good = as_cbor(records(NOW))
    assert await secure.pusher.push(secure.url(), good) == "2.04"
    await driver.read()
    (caught,) = secure.pusher.sent
    assert (await replayed(secure, caught)).payload == b"replay detected"
    at_the_cut = secure.folder / "cut"
    shutil.copytree(secure.folder / "oscore", at_the_cut)

    async def restart(state: Path) -> None:
        await driver.close()
        await secure.bus.close()
        secure.open(credentials_file=secure.folder / "keys.yaml", state_path=state)

    await restart(secure.folder / "oscore")
    again = await secure.pushed()
    assert (await replayed(secure, caught)).payload == b"replay detected"
    assert await secure.pusher.push(secure.url(), good) == "2.04"
    assert len(await again.read()) == 1
    await again.close()

    await restart(at_the_cut)
    again = await secure.pushed()
    assert secure.bus.context("mast").sender_sequence_number >= 1024
    answer = await replayed(secure, caught)
    assert (answer.code, answer.option(Option.OSCORE) is not None) == (wire.Code.CHANGED, True)  # an Echo, protected
    again.silence_s = 0.05
    with pytest.raises(Timeout):
        await again.read()
    assert await secure.pusher.push(secure.url(), good) == "2.04"  # the sensor repeats the Echo by itself
    again.silence_s = 5
    assert len(await again.read()) == 1
    assert (await replayed(secure, caught)).payload == b"replay detected"


async def test_notification_that_comes_again_is_no_news(secure: Site) -> None:
    """Somebody on the way keeps a notification and sends it again: OSCORE numbers them."""
    loop = asyncio.get_running_loop()
    kept: list[bytes] = []
    front, back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(2))
    front.bind((HOST, 0))
    back.connect((HOST, secure.sensor.port))
    client: list[Any] = []

    def forth() -> None:
        data, sender = front.recvfrom(65_535)
        client[:] = [sender]
        back.send(data)

    def home() -> None:
        kept.append(back.recv(65_535))
        front.sendto(kept[-1], client[0])

    loop.add_reader(front, forth)
    loop.add_reader(back, home)
    port = int(front.getsockname()[1])
    await secure.bus.open()
    driver = relayed(secure, port)
    await driver.read()
    secure.sensor.say({"co2": (700, "ppm")})
    assert values(await driver.read()) == [{"co2": 700}]
    old = bytearray(kept[-1])
    secure.sensor.say({"co2": (701, "ppm")})
    assert values(await driver.read()) == [{"co2": 701}]
    old[2:4] = (int.from_bytes(old[2:4], "big") ^ 0x5555).to_bytes(2, "big")  # as a new message
    before = len(kept)
    front.sendto(bytes(old), client[0])
    secure.sensor.say({"co2": (702, "ppm")})
    assert values(await driver.read()) == [{"co2": 702}]
    assert len(kept) > before
    for end in (front, back):
        loop.remove_reader(end)
        end.close()


async def test_garbage_datagrams(site: Site) -> None:
    driver = await site.pushed()
    good = wire.encode(
        Message(wire.CON, wire.POST, 7, b"t", ((Option.URI_PATH, b"push"), (Option.URI_PATH, b"mast")), b"\x81\xa0")
    )
    dice = random.Random(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as end:
        end.connect((HOST, site.bus.port))
        for _ in range(40):
            for _ in range(50):
                data = bytearray(good if dice.random() < 0.7 else dice.randbytes(dice.randrange(60)))
                for _ in range(dice.randrange(4)):
                    if data:
                        data[dice.randrange(len(data))] = dice.randrange(256)
                end.send(bytes(data[: dice.randrange(len(data) + 1)]) if dice.random() < 0.3 else bytes(data))
            await asyncio.sleep(0)
    assert site.bus.refused > 300
    assert await site.pusher.push(site.url(), as_cbor(records(NOW))) == "2.04"
    assert values(await driver.read()) == [{"co2": 612, "temperature": 21.3}]


class Fool(asyncio.DatagramProtocol):
    """A sensor that answers with what it is told to; {token} of the question in it."""

    def __init__(self) -> None:
        self.answer: Callable[[Message], Message | bytes] = lambda question: b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, sender: Any) -> None:
        question = wire.parse(data)
        if question.is_request:
            answer = self.answer(question)
            self.transport.sendto(answer if isinstance(answer, bytes) else wire.encode(answer), sender)


async def test_answers_that_are_not_whole(plain: Site) -> None:
    fool = Fool()
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: fool, local_addr=(HOST, 0))
    port = fool.transport.get_extra_info("sockname")[1]
    plain.bus.endpoint = coap.Endpoint(timeout_s=0.3, body_max=4096)
    driver = plain.driver(f"coap://{HOST}:{port}/x")
    body = as_json(records(NOW))

    def answer(code: int = 0x45, payload: bytes = body, **options: bytes) -> Callable[[Message], Message]:
        told = tuple((int(Option[name]), value) for name, value in options.items())
        return lambda question: Message(wire.ACK, code, question.mid, question.token, told, payload)

    fool.answer = answer()
    assert values(await driver.read()) == [{"co2": 612, "temperature": 21.3}]
    driver._due = 0
    cases: list[tuple[Callable[[Message], Any], type[DriverError]]] = [
        (lambda _question: b"", Timeout),
        (lambda _question: b"\xff" * 40, Timeout),
        (lambda question: wire.encode(Message(wire.RST, 0, question.mid)), Refused),
        (answer(0x84, b"no such thing"), Refused),
        (answer(0x43), Refused),
        (answer(CONTENT_FORMAT=b"\x00"), BadFrame),
        (answer(payload=b"[]"), BadFrame),
        (answer(payload=b""), BadFrame),
        (answer(OSCORE=b"\x09\x01\x02"), BadFrame),
        (answer(BLOCK2=b"\x0e"), BadFrame),  # a first block of 1024 bytes that has fewer
        (answer(BLOCK2=b"\x1e"), BadFrame),  # not the first
        (answer(payload=b"[" + b" " * 1023, BLOCK2=b"\x0e"), BadFrame),  # the same first block for ever
        (lambda question: Message(wire.ACK, 0x45, question.mid, b"other", (), body), Timeout),
        (lambda question: Message(wire.ACK, 0x45, question.mid, question.token, ((2041, b""),), body), Timeout),
    ]
    for case, kind in cases:
        fool.answer = case
        with pytest.raises(kind):
            await driver.read()
        driver._due = 0
    fool.answer = answer()
    assert values(await driver.read()) == [{"co2": 612, "temperature": 21.3}]
    fool.transport.close()


async def test_answer_leaves_from_the_address_that_was_asked(plain: Site) -> None:
    plain.open(listen={"host": "0.0.0.0", "port": 0}, unprotected=True)
    await plain.pushed()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as end:
        end.connect(("127.0.0.2", plain.bus.port))  # the kernel gives nothing that comes from elsewhere
        end.send(wire.encode(Message(wire.CON, 0, 77)))
        async with asyncio.timeout(5):
            answer = await asyncio.get_running_loop().sock_recv(end, 100)
    assert wire.parse(answer) == Message(wire.RST, 0, 77)


async def test_stop_and_start_leaves_nothing(site: Site) -> None:
    def open_files() -> int:
        gc.collect()  # what other tests left
        return len(list(Path("/proc/self/fd").iterdir()))

    for turn in range(4):
        asked, pushed = site.asked(), await site.pushed()
        await asked.read()
        assert await site.pusher.push(site.url(), as_cbor(records(NOW))) == "2.04"
        await pushed.read()
        waiting = [asyncio.create_task(one.read()) for one in (asked, pushed)]
        await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        await asked.close()
        await pushed.close()
        await site.bus.close()
        await site.pusher.down()
        await site.pusher.up()
        await asyncio.sleep(0.01)
        if turn == 0:
            before = open_files()
    assert open_files() <= before


async def test_bus_that_is_closed_under_its_device(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coap, "GRACE_S", 0.05)
    site.sensor.max_age_s = 0
    driver = site.asked()
    await driver.read()
    await site.bus.close()
    if site.keys:
        with pytest.raises(Disconnected, match="has been closed"):
            await driver.read()
    assert values(await driver.read()) == [{"co2": 612, "temperature": 21.3}]


async def test_taken_port_and_taken_name(plain: Site) -> None:
    await plain.pushed()
    other: Any = registry.make_bus("o", {"type": "coap", "listen": {"host": HOST, "port": plain.bus.port}})
    with pytest.raises(NoPort, match="nothing can listen"):
        await other.open()
    twin = plain.driver("mast")
    with pytest.raises(Misconfigured, match="two devices"):
        await twin.read()


def test_listening_for_everybody_must_be_said() -> None:
    everywhere = {"type": "coap", "listen": {"host": "0.0.0.0", "port": 0}}
    with pytest.raises(Misconfigured, match="anybody could push wrong values"):
        registry.make_bus("b", everywhere)
    registry.make_bus("b", everywhere | {"unprotected": True})
    registry.make_bus("b", everywhere | {"credentials_file": "/nowhere/keys.yaml"})
    registry.make_bus("b", {"type": "coap", "listen": {"host": "::1", "port": 0}})


@pytest.mark.parametrize(
    ("address", "period", "options", "words"),
    [
        (None, None, {}, "needs an address"),
        (7, None, {}, "needs an address"),
        ("coaps://host/air", None, {}, "DTLS"),
        ("http://host/air", None, {}, "not the address"),
        ("coap:///air", None, {}, "not the address"),
        ("coap://host:99999/air", None, {}, "not the address"),
        ("coap://user@host/air", None, {}, "not the address"),
        ("coap://host/air", None, {"observe": "no"}, "true or false"),
        ("coap://host/air", None, {"colour": 1}, "unknown option 'colour'"),
        ("mast", None, {}, "has no listen"),
    ],
)
def test_settings_that_do_not_fit(address: Any, period: float | None, options: dict[str, Any], words: str) -> None:
    bus = registry.make_bus("b", {"type": "coap"})
    with pytest.raises(Misconfigured, match=words):
        registry.make_driver(AIR, bus, address, period, options)
    listening = registry.make_bus("b", {"type": "coap", "listen": {"host": HOST, "port": 0}})
    with pytest.raises(Misconfigured, match="by itself"):
        registry.make_driver(AIR, listening, "mast", 5.0, {})
