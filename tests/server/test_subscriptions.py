"""Subscriptions: matching, delivery to a real receiver, retries, isolation, restarts, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway.server.http import App
from gateway.server.platform import Platform
from gateway.server.settings import ServerSettings
from gateway.server.subscriptions import delivery
from tests.server.support import ENERGY, LD, LINK, ROOT, meter, serving, until, upsert

URL = f"{ROOT}/subscriptions"
BASE = "http://127.0.0.1:9090"


class Receiver:
    """An HTTP endpoint that keeps what it gets and answers what it is told; ``delay_s`` before each answer."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self.delay_s = 0.0
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers["content-length"]))
        await asyncio.sleep(self.delay_s)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.got.append(orjson.loads(body))
            self.headers.append(headers)
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        await writer.drain()
        writer.close()

    def values(self) -> list[Any]:
        return [n["data"][0].get("totalActivePower", {}).get("value") for n in self.got]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        server.close()


def subscription(url: str, **more: Any) -> dict[str, Any]:
    notification = {"endpoint": {"uri": url}, **more.pop("notification", {})}
    return {
        "@context": ENERGY,
        "id": "urn:ngsi-ld:Subscription:1",
        "type": "Subscription",
        "entities": [{"type": "ACMeasurement"}],
        "notification": notification,
        **more,
    }


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "BACK_OFF_S", 0.02)
    monkeypatch.setattr(delivery, "ATTEMPTS_MAX", 5)


async def test_a_change_is_notified(tmp_path: Path) -> None:
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        created = await client.post(URL, json=subscription(receiver.url), headers=LD)
        assert created.status_code == 201 and created.headers["location"] == f"{URL}/urn:ngsi-ld:Subscription:1"
        await upsert(client, meter(1, 10), meter(2, 20))
        await until(lambda: len(receiver.got) == 1)
        body = receiver.got[0]
        assert body["type"] == "Notification" and body["subscriptionId"] == "urn:ngsi-ld:Subscription:1"
        assert [entity["id"][-1] for entity in body["data"]] == ["1", "2"], "one operation, one notification"
        assert body["data"][0]["totalActivePower"]["value"] == 10
        assert ENERGY in receiver.headers[0]["link"]
        await upsert(client, meter(1, 10), meter(2, 20))
        await upsert(client, meter(1, 11, "2026-01-01T00:00:01Z"))
        await until(lambda: len(receiver.got) == 2)
        assert [e["id"][-1] for e in receiver.got[1]["data"]] == ["1"], "an equal rewrite is no change"
        shown = (await client.get(f"{URL}/urn:ngsi-ld:Subscription:1", headers=LINK)).json()
        assert shown["notification"]["timesSent"] == 2 and shown["notification"]["status"] == "ok"
        assert shown["status"] == "active" and "lastSuccess" in shown["notification"]


@pytest.mark.parametrize(
    ("more", "seen"),
    [
        ({"q": "totalActivePower>15"}, [20, 30]),
        ({"watchedAttributes": ["voltage"]}, []),
        ({"watchedAttributes": ["totalActivePower"]}, [10, 20, 30]),
        ({"entities": [{"type": "ACMeasurement", "idPattern": "test:[3-9]"}]}, []),
        ({"entities": [{"type": "*", "id": "urn:ngsi-ld:ACMeasurement:test:1"}]}, [10, 20, 30]),
        ({"isActive": False}, []),
        ({"notificationTrigger": ["entityCreated"]}, [10]),
        ({"notificationTrigger": ["entityDeleted"]}, [None]),
        ({"notificationTrigger": ["attributeUpdated"]}, [20, 30]),
        ({"throttling": 3600}, [10]),
    ],
)
async def test_conditions(tmp_path: Path, more: dict[str, Any], seen: list[Any]) -> None:
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        assert (await client.post(URL, json=subscription(receiver.url, **more), headers=LD)).status_code == 201
        for number, watts in enumerate((10, 20, 30)):
            await upsert(client, meter(1, watts, f"2026-01-01T00:00:0{number}Z"))
        await client.delete(f"{ROOT}/entities/urn:ngsi-ld:ACMeasurement:test:1")
        await until(lambda: len(receiver.got) >= len(seen))
        await asyncio.sleep(0.05)
        assert receiver.values() == seen


async def test_format_attributes_tenant_and_headers(tmp_path: Path) -> None:
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        endpoint = {
            "uri": receiver.url,
            "accept": "application/ld+json",
            "receiverInfo": [{"key": "X-Key", "value": "secret"}],
        }
        notification = {"format": "keyValues", "attributes": ["totalActivePower"], "endpoint": endpoint}
        asked = subscription(receiver.url, notification=notification)
        await client.post(URL, json=asked, headers={**LD, "NGSILD-Tenant": "oslo"})
        await upsert(client, meter(1, 10))
        await upsert(client, meter(2, 20, name={"type": "Property", "value": "x"}), **{"NGSILD-Tenant": "oslo"})
        await until(lambda: len(receiver.got) == 1)
        expected = {"id": "urn:ngsi-ld:ACMeasurement:test:2", "type": "ACMeasurement", "totalActivePower": 20}
        assert receiver.got[0]["data"] == [expected] and receiver.got[0]["@context"] == ENERGY
        assert receiver.headers[0]["x-key"] == "secret"
        assert receiver.headers[0]["ngsild-tenant"] == "oslo"
        assert (await client.get(URL)).json() == []


async def test_failures_are_tried_again_and_counted(tmp_path: Path) -> None:
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        receiver.statuses = [500, 302, 503]
        await client.post(URL, json=subscription(receiver.url), headers=LD)
        await upsert(client, meter(1, 10))
        await until(lambda: receiver.values() == [10])
        await asyncio.sleep(0.02)
        shown = (await client.get(URL, headers=LINK)).json()[0]["notification"]
        assert (shown["timesSent"], shown["timesFailed"], shown["status"]) == (4, 3, "ok")
        receiver.statuses = [500] * 5
        await upsert(client, meter(1, 20, "2026-01-01T00:00:01Z"))
        await until(lambda: not receiver.statuses)
        await upsert(client, meter(1, 30, "2026-01-01T00:00:02Z"))
        await until(lambda: receiver.values() == [10, 30])


async def test_a_slow_receiver_delays_nobody_else(tmp_path: Path) -> None:
    async with receiving() as slow, receiving() as fast:
        slow.delay_s = 30
        async with serving(tmp_path, notify_prefixes=(slow.url, fast.url)) as client:
            await client.post(URL, json=subscription(slow.url, id="urn:ngsi-ld:Subscription:2"), headers=LD)
            await client.post(URL, json=subscription(fast.url), headers=LD)
            for number in range(5):
                await upsert(client, meter(1, number, f"2026-01-01T00:00:0{number}Z"))
            await until(lambda: fast.values() == [0, 1, 2, 3, 4])


async def test_restart_keeps_subscription_and_counters(tmp_path: Path) -> None:
    async with receiving() as receiver:
        async with serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
            await client.post(URL, json=subscription(receiver.url, q="totalActivePower>5"), headers=LD)
            await upsert(client, meter(1, 10))
            await until(lambda: receiver.values() == [10])
            await asyncio.sleep(0.02)
        async with serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
            assert (await client.get(URL)).json()[0]["notification"]["timesSent"] == 1
            await upsert(client, meter(1, 20, "2026-01-01T00:00:01Z"))
            await until(lambda: receiver.values() == [10, 20])


async def test_update_and_delete(tmp_path: Path) -> None:
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        one = f"{URL}/urn:ngsi-ld:Subscription:1"
        await client.post(URL, json=subscription(receiver.url), headers=LD)
        assert (await client.post(URL, json=subscription(receiver.url), headers=LD)).status_code == 409
        plain = {"Content-Type": "application/json"}
        assert (await client.patch(one, json={"isActive": False}, headers=plain)).status_code == 204
        assert (await client.get(one)).json()["status"] == "paused"
        await upsert(client, meter(1, 10))
        merge = {"Content-Type": "application/merge-patch+json"}
        back = {"isActive": "urn:ngsi-ld:null", "q": "totalActivePower>15"}
        assert (await client.patch(one, json=back, headers={**merge, **LINK})).status_code == 204
        await upsert(client, meter(1, 20, "2026-01-01T00:00:01Z"))
        await until(lambda: receiver.values() == [20])
        assert (await client.patch(one, json={"type": "Other"}, headers=plain)).status_code == 400
        assert (await client.patch(one, json=[], headers=plain)).status_code == 400
        assert (await client.delete(one)).status_code == 204
        assert (await client.get(one)).status_code == 404
        await upsert(client, meter(1, 30, "2026-01-01T00:00:02Z"))
        await asyncio.sleep(0.05)
        assert receiver.values() == [20]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"type": "Thing"}, 400),
        ({"id": "no uri"}, 400),
        ({"entities": []}, 400),
        ({"entities": [{"id": "urn:x:1"}]}, 400),
        ({"entities": [{"type": "A", "idPattern": "("}]}, 400),
        ({"q": "a=="}, 400),
        ({"watchedAttributes": []}, 400),
        ({"watchedAttributes": [5]}, 400),
        ({"throttling": 0}, 400),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, 400),
        ({"notificationTrigger": ["sometimes"]}, 400),
        ({"notification": {"endpoint": {"uri": "http://10.0.0.1/"}}}, 400),
        ({"notification": {"endpoint": {"uri": "http://localhost:1/"}}}, 400),
        ({"notification": {"endpoint": {"uri": "http://user:pw@example.org/"}}}, 400),
        ({"notification": {"endpoint": {"uri": "file:///etc/passwd"}}}, 400),
        ({"notification": {"endpoint": {"uri": "mqtt://127.0.0.1/x"}}}, 400),
        ({"notification": {"format": "xml"}}, 400),
        ({"notification": 5}, 400),
        ({"timeInterval": 5, "throttling": 1}, 400),
        ({"temporalQ": {}}, 422),
        ({"nonsense": 5}, 400),
    ],
)
async def test_refusals(client: httpx.AsyncClient, more: dict[str, Any], status: int) -> None:
    body = {**subscription("http://example.org/"), **more}
    if isinstance(more.get("notification"), dict):
        body["notification"] = {"endpoint": {"uri": "http://example.org/"}, **more["notification"]}
    answer = await client.post(URL, json=body, headers=LD)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("key", ["Host", "Content-Length", "bad name", "x\r\ny"])
async def test_headers_that_cannot_be_set(client: httpx.AsyncClient, key: str) -> None:
    endpoint = {"uri": "http://example.org/", "receiverInfo": [{"key": key, "value": "1"}]}
    body = subscription("", notification={"endpoint": endpoint})
    assert (await client.post(URL, json=body, headers=LD)).status_code == 400


async def test_one_of_two_creations_at_a_time_is_refused(tmp_path: Path) -> None:
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        wanted = subscription(receiver.url)
        both = await asyncio.gather(*(client.post(URL, json=wanted, headers=LD) for _ in range(2)))
        assert sorted(answer.status_code for answer in both) == [201, 409]


async def test_counters_that_are_written_bring_nothing_back(tmp_path: Path) -> None:
    """What was changed or deleted while its counters were written stays so over a restart."""
    async with receiving() as receiver:
        app = App(Platform(ServerSettings(data=tmp_path, notify_prefixes=(receiver.url,))))
        async with app.running(), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as client:
            names = []
            for number in range(2):
                names.append(f"urn:ngsi-ld:Subscription:{number}")
                await client.post(URL, json={**subscription(receiver.url), "id": names[-1]}, headers=LD)
            await upsert(client, meter(0, 1.0, "2026-01-01T00:00:00Z"))
            await until(lambda: len(receiver.got) == 2)
            service = app.platform.subscriptions
            await until(lambda: all(service.get("", name).counters.sent == 1 for name in names))
            fragment = {"description": "new"}
            changes = client.patch(f"{URL}/{names[0]}", json=fragment), client.delete(f"{URL}/{names[1]}")
            answers = await asyncio.gather(*changes, service._flush())
            assert [answer.status_code for answer in answers[:2]] == [204, 204]
        again = App(Platform(ServerSettings(data=tmp_path, notify_prefixes=(receiver.url,))))
        async with again.running(), httpx.AsyncClient(transport=httpx.ASGITransport(again), base_url=BASE) as client:
            kept = (await client.get(URL)).json()
            assert [(one["id"], one["description"]) for one in kept] == [(names[0], "new")]
