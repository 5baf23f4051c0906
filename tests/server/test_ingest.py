"""Compact batches over HTTP: each reading once in history, whatever is sent again, lost, restored or broken."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from pathlib import Path

import cbor2
import httpx
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.compact.codec import Entry, encode
from gateway.compact.message import BatchMessage, ProfilesMessage, digest
from gateway.compact.ranges import contains
from gateway.mapping.mapper import GATEWAY
from gateway.model import Priority, Quality, Range, Reason
from gateway.server.ingest import model
from gateway.uplink.compact import entries_of
from tests.server.compact_kit import BOX, CBOR, PROFILES, ROOT, STREAM, held, message, post, profiles, put, reading
from tests.server.compact_kit import readings as made
from tests.server.support import LINK, history, serving, upsert
from tests.server.support import meter as meter_entity
from tests.server.test_kill import start

METER = "/ngsi-ld/v1/entities/urn:ngsi-ld:ACMeasurement:test:1"


async def values(client: httpx.AsyncClient, number: int = 1) -> list[float]:
    return [value for value, _ in await history(client, number)]


async def current(client: httpx.AsyncClient) -> dict[str, object]:
    answer = await client.get(METER, params={"options": "keyValues"}, headers=LINK)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


async def test_profiles_are_asked_for_then_the_batch_is_taken(client: httpx.AsyncClient) -> None:
    batch = message(made(range(1, 11)))
    answer = await post(client, batch)
    assert answer.unknown_profiles and not answer.ranges
    assert await held(client) == {}
    assert (await put(client)).status_code == 204
    answer = await post(client, batch)
    assert answer.ranges == (Range(1, 10),) and answer.refused == 0
    assert await values(client) == list(range(1, 11))
    entity = await current(client)
    assert entity["totalActivePower"] == 10 and entity["description"] == "cellar"
    assert await held(client) == {STREAM: (Range(1, 10),)}


async def test_the_same_entities_as_by_ngsi_ld(client: httpx.AsyncClient) -> None:
    """What the server makes of a batch is what it would have made of the upsert that the edge sends."""
    batch = [
        reading(n, device=str(device), at_s=n // 3) for device in (1, 2) for n in range(30 * device, 30 * device + 9)
    ]
    batch.append(reading(100, 1.5, "1", quality=Quality.SUSPECT, reason=Reason.RANGE))
    known = profiles("1", "2")
    site = model.site_of(known.to_bytes())
    assert (await upsert(client, *site.mapper().entities(batch), **{"NGSILD-Tenant": "there"})).status_code == 201
    await put(client, known)
    assert (await post(client, message(batch, known=known))).ranges
    for number in (1, 2):
        url = METER.replace(":1", f":{number}")
        plain = await client.get(url, headers=LINK)
        reference = await client.get(url, headers={**LINK, "NGSILD-Tenant": "there"})
        assert plain.json() == reference.json() and plain.status_code == 200
        temporal = url.replace("/entities/", "/temporal/entities/")
        histories = [await client.get(temporal, headers={**LINK, **more}) for more in ({}, {"NGSILD-Tenant": "there"})]
        instances = [found.json()["totalActivePower"] for found in histories]
        assert all([i.pop("instanceId") for i in series] for series in instances)
        assert instances[0] == instances[1]


async def test_sent_again_it_is_acknowledged_again_and_ignored(client: httpx.AsyncClient) -> None:
    await put(client)
    batch = message(made(range(5)))
    first = await post(client, batch)
    await client.delete("/ngsi-ld/v1/temporal/entities/urn:ngsi-ld:ACMeasurement:test:1")
    assert await post(client, batch) == first
    assert await values(client) == [], "what came again was not written again"
    both = message(made(range(3, 8)))
    assert (await post(client, both)).ranges == (Range(0, 7),)
    assert await values(client) == [5, 6, 7]


async def test_any_order_any_overlap_each_reading_once(client: httpx.AsyncClient) -> None:
    await put(client)
    chance = random.Random(4)
    sent: set[int] = set()
    for _ in range(60):
        first = chance.randrange(500)
        numbers = [n for n in range(first, first + chance.randrange(1, 40)) if chance.random() < 0.8]
        if not numbers:
            continue
        answer = await post(client, message(made(numbers)))
        sent |= set(numbers)
        assert all(contains(answer.ranges, n) for n in numbers)
        assert all(n in sent for one in answer.ranges for n in range(one.first, one.last + 1)), "no gap is claimed"
    assert await values(client) == sorted(sent)
    ranges = (await held(client))[STREAM]
    assert {n for one in ranges for n in range(one.first, one.last + 1)} == sent
    assert (await current(client))["totalActivePower"] == max(sent), "a late one never replaces a newer one"


async def test_what_waited_says_nothing_of_the_present(client: httpx.AsyncClient) -> None:
    await put(client)
    await post(client, message(made([100])))
    before = await current(client)
    await post(client, message(made(range(50)), priority=Priority.HISTORY))
    after = await current(client)
    assert after == before and len(await values(client)) == 51


async def test_bad_readings_are_reported_and_block_nothing(client: httpx.AsyncClient) -> None:
    await put(client)
    batch = [
        reading(1),
        reading(2, 2**60),
        reading(3, device="not a name"),
        reading(4, quantity="@context"),
        reading(5),
    ]
    answer = await post(client, message(batch))
    assert answer.refused == 3 and answer.ranges == (Range(1, 5),)
    assert len(answer.problems) == 3 and "too large" in answer.problems[0]
    assert await values(client) == [1, 5]
    assert (await post(client, message(batch))).refused == 0, "done with"
    text = (await client.get("/metrics")).text
    assert 'lamppost_server_readings_total{result="taken"} 2' in text
    assert 'lamppost_server_readings_total{result="repeated"} 5' in text


async def test_subscriptions_hear_of_compact_batches(tmp_path: Path) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def receiver(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await heard.put(await reader.read(65536))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(receiver, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, serving(tmp_path, notify_prefixes=(f"http://127.0.0.1:{port}",)) as client:
        subscription = {
            "type": "Subscription",
            "entities": [{"type": "https://smartdatamodels.org/dataModel.Energy/ACMeasurement"}],
            "notification": {"endpoint": {"uri": f"http://127.0.0.1:{port}/", "accept": "application/json"}},
        }
        answer = await client.post("/ngsi-ld/v1/subscriptions", json=subscription)
        assert answer.status_code == 201, answer.text
        await put(client)
        await post(client, message(made([7])))
        async with asyncio.timeout(20):
            assert b"urn:ngsi-ld:ACMeasurement:test:1" in await heard.get()


async def test_a_tenant_is_part_of_the_profiles(client: httpx.AsyncClient) -> None:
    known = profiles(tenant="city")
    assert (await put(client, known)).status_code == 204
    await post(client, message(made([1]), known=known))
    assert (await client.get(METER)).status_code == 404
    assert (await client.get(METER, headers={"NGSILD-Tenant": "city"})).status_code == 200


async def test_profiles_are_kept_over_a_restart_and_of_each_gateway(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await put(client)
    async with serving(tmp_path) as client:
        assert (await post(client, message(made([1])))).ranges
        assert (await post(client, message(made([1]), gateway="box-2"))).unknown_profiles
        for number in range(model.PROFILES_KEPT):
            await put(client, profiles(f"more-{number}"))
    async with serving(tmp_path) as client:
        assert (await post(client, message(made([2])))).unknown_profiles, "only the newest stay"


async def test_a_restored_older_database_says_that_it_has_less(tmp_path: Path) -> None:
    async with serving(tmp_path / "now") as client:
        await put(client)
        await post(client, message(made(range(10))))
    shutil.copytree(tmp_path / "now", tmp_path / "backup")
    async with serving(tmp_path / "now") as client:
        await post(client, message(made(range(10, 20))))
        assert await held(client) == {STREAM: (Range(0, 19),)}
    async with serving(tmp_path / "backup") as client:
        assert await held(client) == {STREAM: (Range(0, 9),)}
        assert await held(client, "nobody") == {}
        await post(client, message(made(range(5, 20)), priority=Priority.HISTORY))
        assert await values(client) == list(range(20))


async def test_kill_9_between_and_within_batches(tmp_path: Path) -> None:
    """What was acknowledged is there and is told so; what was not is sent again, and is there once."""
    chance = random.Random(9)
    acknowledged = at = 0
    for _ in range(2):
        process, address = start(tmp_path)
        try:
            async with httpx.AsyncClient(base_url=address, timeout=30) as client:
                ranges = (await held(client)).get(STREAM, ())
                assert all(contains(ranges, n) for n in range(acknowledged))
                await put(client)
                killer = asyncio.get_running_loop().call_later(chance.uniform(0.1, 0.5), process.kill)
                try:
                    at = max(0, acknowledged - 5)
                    while process.poll() is None:
                        await post(client, message(made(range(at, at + 20))))
                        at = acknowledged = at + 20
                except httpx.TransportError:
                    pass
                finally:
                    killer.cancel()
        finally:
            process.kill()
            process.wait()
    process, address = start(tmp_path)
    try:
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            ranges = (await held(client))[STREAM]
            stored = await values(client)
            assert stored == [n for one in ranges for n in range(one.first, one.last + 1)]
            assert len(ranges) == 1 and ranges[0].first == 0 and ranges[0].last + 1 >= acknowledged > 0
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait()


def test_what_is_forgotten_is_never_a_gap() -> None:
    many = (*(Range(3 * n, 3 * n) for n in range(model.RANGES_KEPT)), Range(10**6, 2 * 10**6))
    left = model.kept(many, (Range(10**7, 10**7),))
    assert len(left) == model.RANGES_KEPT and set(left) < {*many, Range(10**7, 10**7)}
    assert Range(10**6, 2 * 10**6) in left and Range(10**7, 10**7) in left, "the longest and the newest stay"


# what is refused


async def test_only_with_the_token(tmp_path: Path) -> None:
    async with serving(tmp_path, token="0123456789abcdef") as client:
        for bearer in ({}, {"Authorization": "Bearer 0123456789abcdeX"}):
            headers = {**CBOR, **bearer}
            assert (await client.post(f"{ROOT}/batches", content=b"x", headers=headers)).status_code == 401
            assert (await client.get(f"{ROOT}/gateways/{BOX}/streams", headers=headers)).status_code == 401
            url = f"{ROOT}/gateways/{BOX}/profiles/{PROFILES.digest}"
            assert (await client.put(url, content=PROFILES.to_bytes(), headers=headers)).status_code == 401
        client.headers["Authorization"] = "Bearer 0123456789abcdef"
        await put(client)
        assert (await post(client, message(made([1])))).ranges == (Range(1, 1),)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", CBOR, 400),
        (b"\xff" * 100, CBOR, 400),
        (cbor2.dumps({0: 1, 1: 1}), CBOR, 400),
        (cbor2.dumps({0: 2, 1: 1, 2: BOX}), CBOR, 400),
        (message(made([1])), {"Content-Type": "text/plain"}, 415),
        (b"x" * (1 << 20) + b"x", CBOR, 413),
        (b"x" * (5 << 20), CBOR, 413),
    ],
)
async def test_garbage_is_refused(client: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = await client.post(f"{ROOT}/batches", content=body, headers=headers)
    assert answer.status_code == status and answer.json()["code"].startswith("server.")


async def test_bodies_that_are_none(client: httpx.AsyncClient) -> None:
    await put(client)
    bomb = zstandard.ZstdCompressor().compress(bytes(200 * 2**20))
    for body in (b"\x00", os.urandom(500), bomb, encode(entries_of(made([1])))[:-1]):
        data = BatchMessage(BOX, STREAM, PROFILES.digest, Priority.LIVE, body).to_bytes()
        answer = await client.post(f"{ROOT}/batches", content=data, headers=CBOR)
        assert answer.status_code == 400 and answer.json()["code"] == "server.bad-message"
    assert await held(client) == {}


async def test_too_many_ranges_and_no_readings(client: httpx.AsyncClient) -> None:
    await put(client)
    empty = BatchMessage(BOX, STREAM, PROFILES.digest, Priority.LIVE, encode([Entry(1, ())])).to_bytes()
    for data, why in ((message(made(range(0, 10_000, 2))), "ranges"), (empty, "no readings")):
        answer = await client.post(f"{ROOT}/batches", content=data, headers=CBOR)
        assert answer.status_code == 400 and why in answer.json()["detail"]


async def test_profiles_that_are_none(client: httpx.AsyncClient) -> None:
    plain = {"data_model": "Device", "latitude": 1.0, "longitude": 2.0}
    good = ProfilesMessage("test", {GATEWAY: plain})
    for known in (
        ProfilesMessage("test", {"1": plain}),
        ProfilesMessage("test", {GATEWAY: {**plain, "data_model": "Unheard"}}),
        ProfilesMessage("test", {GATEWAY: {**plain, "latitude": 91}}),
        ProfilesMessage("test", {GATEWAY: plain}, "a tenant"),
    ):
        assert (await put(client, known)).status_code == 400
    url = f"{ROOT}/gateways/{BOX}/profiles/{PROFILES.digest}"
    assert (await client.put(url, content=good.to_bytes(), headers=CBOR)).status_code == 400, "another hash"
    assert (await client.put(url, content=b"\x80", headers=CBOR)).status_code == 400
    assert (await put(client, good)).status_code == 204


MUTATED = message(made(range(1, 6)))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_any_bytes_only_give_refusals(client: httpx.AsyncClient, data: st.DataObject) -> None:
    await put(client)
    body = data.draw(st.binary(max_size=300) | st.builds(mutate, st.just(MUTATED), st.integers(0, 2**32)))
    answer = await client.post(f"{ROOT}/batches", content=body, headers=CBOR)
    assert answer.status_code in (200, 400), answer.text


def mutate(good: bytes, seed: int) -> bytes:
    """The message with some bytes changed, lost, doubled or put in."""
    chance = random.Random(seed)
    bad = bytearray(good)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(bad))
        match chance.randrange(4):
            case 0:
                bad[at] ^= 1 << chance.randrange(8)
            case 1:
                del bad[at : at + chance.randint(1, 8)]
            case 2:
                bad[at:at] = bad[at : at + chance.randint(1, 16)]
            case 3:
                bad[at] = chance.randrange(256)
        if not bad:
            bad = bytearray(good[:1])
    return bytes(bad)


@pytest.mark.slow
async def test_thousands_of_mutations(client: httpx.AsyncClient) -> None:
    """Of the message, of the body within it, and of the profiles."""
    await put(client)
    body = encode(entries_of(made(range(50))))
    url = f"{ROOT}/gateways/{BOX}/profiles/"
    for seed in range(2000):
        inner = BatchMessage(BOX, STREAM, PROFILES.digest, Priority.LIVE, mutate(body, seed)).to_bytes()
        for bad in (inner, mutate(message(made(range(9))), seed)):
            answer = await client.post(f"{ROOT}/batches", content=bad, headers=CBOR)
            assert answer.status_code in (200, 400), (seed, answer.text)
        document = mutate(PROFILES.to_bytes(), seed)
        answer = await client.put(url + digest(document), content=document, headers=CBOR)
        assert answer.status_code in (204, 400), (seed, answer.text)
    assert (await client.get("/healthz")).status_code == 200
    assert (await post(client, message(made([10**6])))).ranges
    assert isinstance(await held(client), dict)


async def test_a_meter_entity_and_a_batch_share_the_entity(client: httpx.AsyncClient) -> None:
    await upsert(client, meter_entity(1, 5.0, "2026-01-01T00:00:05Z"))
    await put(client)
    await post(client, message(made([4])))
    assert (await current(client))["totalActivePower"] == 5 and await values(client) == [4, 5]
