"""Subscriptions that go on to other sources, and what these notify of, over real sockets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from gateway.server.distributed import remotes
from tests.server.federation import DEFAULT, Odd, Server, brokers, odd, register, room
from tests.server.support import until

ROOT = "/ngsi-ld/v1"
SUB = "urn:ngsi-ld:Subscription:s1"
ONE = "/entities/urn:ngsi-ld:Room:1"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotes, "LOOK_S", 0.05)
    monkeypatch.setattr(remotes, "BACK_OFF_S", 0.1)


def subscription(url: str, **more: Any) -> dict[str, Any]:
    return {
        "id": SUB,
        "type": "Subscription",
        "entities": [{"type": "Room"}],
        "notification": {"endpoint": {"uri": f"{url}/notify"}, "format": "keyValues"},
        **more,
    }


def told(receiver: Odd) -> list[dict[str, Any]]:
    return [seen.body for seen in receiver.seen if seen.path == "/notify"]


def data(receiver: Odd) -> list[dict[str, Any]]:
    return [entity for body in told(receiver) for entity in body["data"]]


async def remote(server: Server) -> list[dict[str, Any]]:
    found = (await server.get("/subscriptions")).json()
    assert isinstance(found, list)
    return found


async def test_changes_at_a_source_are_told_here_until_the_subscription_goes(tmp_path: Path) -> None:
    async with odd(POST=(200, None)) as receiver, brokers(tmp_path, "a", "b", sources=[receiver]) as (a, b):
        await register(a, b.url)
        assert (await a.post("/subscriptions", subscription(receiver.url, q="humidity>10"))).status_code == 201
        (there,) = await remote(b)
        assert there["id"] != SUB and there["q"] == "humidity>10"
        await b.post("/entities", room(1, humidity=50))
        await until(lambda: len(told(receiver)) == 1)
        assert told(receiver)[0]["subscriptionId"] == SUB
        assert data(receiver) == [{"id": "urn:ngsi-ld:Room:1", "type": "Room", "humidity": 50}]
        assert (await a.patch(f"/subscriptions/{SUB}", {"q": "humidity>60"})).status_code == 204
        assert (await remote(b))[0]["q"] == "humidity>60"
        await b.patch(f"{ONE}/attrs", {"humidity": 55})
        await b.patch(f"{ONE}/attrs", {"humidity": 65})
        await until(lambda: len(told(receiver)) == 2)
        assert data(receiver)[1]["humidity"] == 65
        await a.post("/entities", room(2, humidity=70), local="true")  # and those here as before
        await until(lambda: len(told(receiver)) == 3)
        assert (await a.patch(f"/subscriptions/{SUB}", {"q": "urn:ngsi-ld:null"})).status_code == 204
        assert "q" not in (await remote(b))[0]
        assert (await a.client.delete(f"{ROOT}/subscriptions/{SUB}")).status_code == 204
        assert await remote(b) == []


async def test_only_what_a_registration_offers_is_asked_and_taken(tmp_path: Path) -> None:
    async with odd(POST=(200, None)) as receiver, brokers(tmp_path, "a", "b", sources=[receiver]) as (a, b):
        part = [{"entities": [{"type": "Room", "id": "urn:ngsi-ld:Room:1"}], "propertyNames": ["humidity"]}]
        await register(a, b.url, information=part)
        await register(a, b.url, operations=["retrieveOps"])
        await a.post("/subscriptions", subscription(receiver.url))
        (there,) = await remote(b)
        assert there["entities"] == [{"type": "Room", "id": "urn:ngsi-ld:Room:1"}]
        assert there["notification"]["attributes"] == ["humidity"]
        await b.post("/entities", room(2, humidity=1))
        await b.post("/entities", room(1, humidity=2, light=3))
        await until(lambda: len(told(receiver)) == 1)
        assert data(receiver) == [{"id": "urn:ngsi-ld:Room:1", "type": "Room", "humidity": 2}]
        uri = there["notification"]["endpoint"]["uri"]
        bodies = [
            {"type": "Notification", "subscriptionId": there["id"], "data": 1},
            {"type": "Notification", "subscriptionId": "urn:x:y", "data": []},
            [],
        ]
        answers = [(await a.client.post(uri, json=body)).status_code for body in bodies]
        assert answers == [400, 404, 404]
        assert (await a.client.post(uri + "x", json=bodies[0])).status_code == 404


async def test_local_ones_stay_here(tmp_path: Path) -> None:
    async with odd(POST=(201, None)) as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        await register(a, source.url)
        made = await a.post("/subscriptions", subscription(source.url, localOnly=True))
        assert made.status_code == 201
        assert not source.seen
        assert (await a.patch(f"/subscriptions/{SUB}", {"localOnly": False})).status_code == 204
        assert [(seen.method, seen.path) for seen in source.seen] == [("POST", "/subscriptions")]
        assert source.seen[0].headers["via"] == "1.1 a" and "link" in source.seen[0].headers
        assert (await a.patch(f"/subscriptions/{SUB}", {"localOnly": True})).status_code == 204
        assert source.seen[-1].method == "DELETE"


async def test_registrations_come_and_go_and_all_survives_a_restart(tmp_path: Path) -> None:
    def asked(method: str) -> list[str]:
        return [seen.path for seen in source.seen if seen.method == method and seen.path.startswith("/subscriptions")]

    async with odd(POST=(201, None), DELETE=(204, None)) as source:
        async with brokers(tmp_path, "a", sources=[source]) as (a,):
            await a.post("/subscriptions", subscription(source.url))
            name = await register(a, source.url)
            await until(lambda: len(asked("POST")) == 1)
            there = source.seen[0].body
        async with brokers(tmp_path, "a", sources=[source]) as (a,):
            path = urlsplit(there["notification"]["endpoint"]["uri"]).path
            entity = {**room(1, humidity=5), "type": "Room"}
            note = {"type": "Notification", "subscriptionId": there["id"], "data": [entity]}
            assert (await a.client.post(path, json=note)).status_code == 204
            await until(lambda: len(told(source)) == 1)
            assert data(source) == [{"id": "urn:ngsi-ld:Room:1", "type": "Room", "humidity": 5}]
            assert (await a.client.delete(f"{ROOT}/csourceRegistrations/{name}")).status_code == 204
            await until(lambda: asked("DELETE") == [f"/subscriptions/{there['id']}"])
            assert len(asked("POST")) == 1
            assert (await a.client.post(path, json=note)).status_code == 404


async def test_a_source_that_fails_is_told_again(tmp_path: Path) -> None:
    async with odd(POST=(503, None)) as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        await register(a, source.url)
        assert (await a.post("/subscriptions", subscription(source.url))).status_code == 201
        first = [seen.body["id"] for seen in source.seen]
        assert len(first) == 1
        source.answers["POST"] = (409, {})
        source.answers["PATCH"] = (204, None)
        await until(lambda: source.seen[-1].method == "PATCH")
        assert [seen.body["id"] for seen in source.seen if seen.method == "POST"] == first * 2
        source.answers["DELETE"] = (503, None)
        assert (await a.client.delete(f"{ROOT}/subscriptions/{SUB}")).status_code == 204
        source.answers["DELETE"] = (404, None)
        await until(lambda: [seen.method for seen in source.seen].count("DELETE") == 2)


async def test_a_slow_source_keeps_no_client_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotes, "WAIT_S", 0.1)

    def methods() -> list[str]:
        return [seen.method for seen in source.seen]

    async with odd(POST=(201, None), PATCH=(204, None), DELETE=(204, None)) as source:
        async with brokers(tmp_path, "a", sources=[source]) as (a,):
            await register(a, source.url)
            source.delay_s = 1.0
            began = time.monotonic()
            assert (await a.post("/subscriptions", subscription(source.url))).status_code == 201
            for number in range(3):
                answer = await a.patch(f"/subscriptions/{SUB}", {"q": f"humidity>{number}"})
                assert answer.status_code == 204
            took_s, source.delay_s = time.monotonic() - began, 0.0
            assert took_s < 0.9 and methods() == ["POST"]
            await until(lambda: methods() == ["POST", "PATCH"])  # the changes meanwhile are one
            assert source.seen[-1].body["q"] == "humidity>2"
            source.delay_s = 1.0
            assert (await a.client.delete(f"{ROOT}/subscriptions/{SUB}")).status_code == 204
            assert (await a.get(f"/subscriptions/{SUB}")).status_code == 404
        source.delay_s = 0.0  # the end came before the answer
        async with brokers(tmp_path, "a", sources=[source]):
            await until(lambda: methods() == ["POST", "PATCH", "DELETE", "DELETE"])


async def test_brokers_that_use_each_other_do_not_go_round(tmp_path: Path) -> None:
    async with odd(POST=(200, None)) as receiver, brokers(tmp_path, "a", "b", sources=[receiver]) as (a, b):
        await register(a, b.url)
        await register(b, a.url)
        assert (await a.post("/subscriptions", subscription(receiver.url))).status_code == 201
        assert len(await remote(a)) == 1 and len(await remote(b)) == 1
        await b.post("/entities", room(1, humidity=1), local="true")
        await until(lambda: len(told(receiver)) == 1)


async def test_parts_of_an_entity_are_put_together_before_it_is_judged(tmp_path: Path) -> None:
    async with odd(POST=(200, None)) as receiver, brokers(tmp_path, "a", "b", sources=[receiver]) as (a, b):
        await a.post("/entities", room(1, light=1))
        await register(a, b.url)
        await a.post("/subscriptions", subscription(receiver.url, q="light==1", splitEntities=True))
        assert "q" not in (await remote(b))[0]
        await b.post("/entities", room(1, humidity=2))
        await until(lambda: len(told(receiver)) == 1)
        assert data(receiver)[0] == {"id": "urn:ngsi-ld:Room:1", "type": "Room", "light": 1, "humidity": 2}


async def test_what_was_deleted_at_a_source_is_told(tmp_path: Path) -> None:
    triggers = ["attributeDeleted", "entityDeleted"]
    async with odd(POST=(200, None)) as receiver, brokers(tmp_path, "a", "b", sources=[receiver]) as (a, b):
        await register(a, b.url)
        await a.post("/subscriptions", subscription(receiver.url, notificationTrigger=triggers))
        await b.post("/entities", room(1, humidity=1, light=2))
        await b.client.delete(f"{ROOT}{ONE}/attrs/light")
        await until(lambda: len(told(receiver)) == 1)
        assert data(receiver)[0]["light"] == "urn:ngsi-ld:null" and data(receiver)[0]["humidity"] == 1
        await b.client.delete(f"{ROOT}{ONE}")
        await until(lambda: len(told(receiver)) == 2)
        assert "deletedAt" in data(receiver)[1] and DEFAULT not in str(data(receiver))


async def test_who_was_given_the_address_needs_no_token(tmp_path: Path) -> None:
    async with (
        odd(POST=(201, None)) as source,
        brokers(tmp_path, "a", sources=[source], token="a-token-of-more-than-16-characters") as (a,),
    ):
        await register(a, source.url)
        await a.post("/subscriptions", subscription(source.url))
        there = source.seen[0].body
        uri = there["notification"]["endpoint"]["uri"]
        note = {"type": "Notification", "subscriptionId": there["id"], "data": [room(1, humidity=5)]}
        async with httpx.AsyncClient() as stranger:
            assert (await stranger.post(uri + "x", json=note)).status_code == 401
            assert (await stranger.get(uri)).status_code == 401
            assert (await stranger.post(uri, json=note)).status_code == 204
        await until(lambda: len(told(source)) == 1)


async def test_a_source_with_names_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "context.jsonld"
    file.write_text('{"@context": {"Zimmer": "https://uri.etsi.org/ngsi-ld/default-context/Room",'
                    ' "feuchte": "https://uri.etsi.org/ngsi-ld/default-context/humidity"}}')  # fmt: skip
    url = "https://example.org/context.jsonld"
    async with odd(POST=(201, None)) as source, brokers(tmp_path, "a", sources=[source], files={url: file}) as (a,):
        await register(a, source.url, contextSourceInfo=[{"key": "jsonldContext", "value": url}])
        more: dict[str, Any] = {"q": "humidity>10", "watchedAttributes": ["humidity"]}
        await a.post("/subscriptions", subscription(source.url, **more))
        there = source.seen[0].body
        assert there["entities"] == [{"type": "Zimmer"}] and there["watchedAttributes"] == ["feuchte"]
        assert "q" not in there and url in source.seen[0].headers["link"]  # judged here
        uri = there["notification"]["endpoint"]["uri"]
        link = f'<{url}>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'
        for value in (5, 15):
            entity = {"id": "urn:ngsi-ld:Room:1", "type": "Zimmer", "feuchte": {"type": "Property", "value": value}}
            note = {"type": "Notification", "subscriptionId": there["id"], "data": [entity]}
            assert (await a.client.post(uri, json=note, headers={"Link": link})).status_code == 204
        await until(lambda: len(told(source)) == 1)
        assert data(source) == [{"id": "urn:ngsi-ld:Room:1", "type": "Room", "humidity": 15}]


async def test_receivers_get_headers_of_the_request_that_subscribed(tmp_path: Path) -> None:
    copied = "urn:ngsi-ld:request"
    info = [{"key": "X-Key", "value": copied}, {"key": "X-None", "value": copied}, {"key": "X-Own", "value": "1"}]
    async with odd(POST=(200, None)) as receiver, brokers(tmp_path, "a", sources=[receiver]) as (a,):
        body = subscription(receiver.url)
        body["notification"]["endpoint"]["receiverInfo"] = info
        made = await a.client.post(f"{ROOT}/subscriptions", json=body, headers={"X-Key": "from the request"})
        assert made.status_code == 201
        await a.post("/entities", room(1, humidity=1))
        await until(lambda: len(told(receiver)) == 1)
        headers = receiver.seen[0].headers
        assert (headers["x-key"], headers["x-own"]) == ("from the request", "1") and "x-none" not in headers
