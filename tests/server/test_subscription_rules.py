"""Subscriptions at their corners: contexts that differ, null, members that are none, tenants, what has changed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway.server.broker.model import NULL, time_text
from gateway.server.contexts import Contexts
from gateway.server.storage.base import Writer
from gateway.server.storage.sqlite import SqliteStorage
from gateway.server.subscriptions.form import check_form
from tests.server.support import ENERGY, LD, LINK, ROOT, meter, serving, until, upsert
from tests.server.test_subscriptions import URL, receiving, subscription

ONE = f"{URL}/urn:ngsi-ld:Subscription:1"
CORE = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8.jsonld"
POWER = "https://saref.etsi.org/core/Power"


async def test_json_ld_context_is_that_of_notifications_alone(tmp_path: Path) -> None:
    """Names of the subscription are read in the context of its request (5.2.12: jsonldContext is for sending)."""
    async with receiving() as receiver:
        async with serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
            asked = subscription(receiver.url, jsonldContext=CORE, watchedAttributes=["totalActivePower"])
            assert (await client.post(URL, json=asked, headers=LD)).status_code == 201
            await upsert(client, meter(1, 10))
            await until(lambda: len(receiver.got) == 1)
        async with serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
            await upsert(client, meter(1, 11))
            await until(lambda: len(receiver.got) == 2)
            for number in (0, 1):
                entity = receiver.got[number]["data"][0]
                assert CORE in receiver.headers[number]["link"] and entity["type"].startswith("https://")
                assert all(name.startswith("https://") for name in entity if name not in ("id", "type"))
            shown = (await client.get(ONE, headers=LINK)).json()
            assert shown["entities"] == [{"type": "ACMeasurement"}] and shown["jsonldContext"] == CORE
            back = {"jsonldContext": NULL}
            assert (await client.patch(ONE, json=back, headers=LINK)).status_code == 204
            await upsert(client, meter(1, 12))
            await until(lambda: len(receiver.got) == 3)
            assert receiver.values()[2] == 12 and ENERGY in receiver.headers[2]["link"]


async def test_a_change_in_another_context_leaves_the_rest_as_it_was(tmp_path: Path) -> None:
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        asked = subscription(receiver.url, q="totalActivePower>5", notification={"attributes": ["totalActivePower"]})
        assert (await client.post(URL, json=asked, headers=LD)).status_code == 201
        change = {"@context": CORE, "description": "known elsewhere", "watchedAttributes": ["totalActivePower"]}
        assert (await client.patch(ONE, json=change, headers=LD)).status_code == 204
        shown = (await client.get(ONE, headers=LINK)).json()
        assert shown["entities"] == [{"type": "ACMeasurement"}] and shown["q"] == "totalActivePower>5"
        assert shown["notification"]["attributes"] == ["totalActivePower"]
        assert shown["watchedAttributes"] == ["ngsi-ld:default-context/totalActivePower"]
        await upsert(client, meter(1, 10))
        change = {"@context": {"p": _iri("totalActivePower")}, "watchedAttributes": ["p"], "q": "p>15;(p<50|p==70)"}
        assert (await client.patch(ONE, json=change, headers=LD)).status_code == 204
        shown = (await client.get(ONE, headers=LINK)).json()
        assert shown["q"] == "totalActivePower>15;(totalActivePower<50|totalActivePower==70)"
        await upsert(client, meter(1, 14))
        await upsert(client, meter(1, 20))
        await until(lambda: receiver.values() == [20])


async def test_a_condition_in_the_words_of_a_plain_change(tmp_path: Path) -> None:
    """Without a context in a Link header names are those of the core context (6.3.5)."""
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        assert (await client.post(URL, json=subscription(receiver.url), headers=LD)).status_code == 201
        change = {"q": "totalActivePower.by>5", "notification": {"pick": ["id", "other"]}}
        assert (await client.patch(ONE, json=change)).status_code == 204
        shown = (await client.get(ONE, headers=LINK)).json()
        other = "https://uri.etsi.org/ngsi-ld/default-context/other"
        assert "default-context" in shown["q"]
        assert shown["notification"]["pick"] == ["id", "other"]
        await upsert(client, meter(1, 10, other=3))
        by = {"type": "Property", "value": 6}
        named = {"type": "Property", "value": 1, "https://uri.etsi.org/ngsi-ld/default-context/by": by}
        full = {"https://uri.etsi.org/ngsi-ld/default-context/totalActivePower": named, other: 4}
        await upsert(client, meter(1, 10, **full))
        await until(lambda: bool(receiver.got))
        assert receiver.got[0]["data"] == [{"id": meter()["id"], "other": {"type": "Property", "value": 4}}]


def _iri(name: str) -> str:
    contexts = Contexts()
    return contexts.restore(ENERGY, [contexts._known[ENERGY]]).expand_name(name)  # type: ignore[list-item]  # a document


REFUSED: list[dict[str, Any]] = [
    {"description": None},
    {"description": NULL},
    {"isActive": None},
    {"expiresAt": None},
    {"notification": {"format": None}},
    {"notification": {"joinLevel": 2}},
    {"notification": {"endpoint": {"uri": "mqtt://example.org"}}},
    {"notification": {"endpoint": {"uri": "mqtt://example.org/"}}},
    {"notification": {"endpoint": {"uri": "mqtts://example.org/a/+"}}},
    {"notification": {"endpoint": {"uri": "mqtts://[example.org/a"}}},
    {"notification": {"endpoint": {"uri": "mqtt://example.org:port/a"}}},
    {"notification": {"endpoint": {"uri": "mqtt://example.org/a/%23"}}},
    {"entities": [{"type": "A", "ids": "urn:x:1"}]},
    {"geoQ": {"georel": "near;maxDistance==5", "geometry": "Point", "coordinates": [1, 2], "georelation": "x"}},
    {"geoQ": {"georel": "near;maxDistance==5", "geometry": "Point", "coordinates": [1, None]}},
    {"csf": ">>"},
]


@pytest.mark.parametrize("more", REFUSED)
async def test_refusals(client: httpx.AsyncClient, more: dict[str, Any]) -> None:
    body = {**subscription("http://example.org/"), **more}
    if "notification" in more:
        body["notification"] = {"endpoint": {"uri": "http://example.org/"}, **more["notification"]}
    for path in ("subscriptions", "csourceSubscriptions"):
        answer = await client.post(f"{ROOT}/{path}", json=body, headers=LD)
        assert answer.status_code == 400 and answer.json()["type"].endswith("BadRequestData"), answer.text


async def test_json_null_is_no_change(client: httpx.AsyncClient) -> None:
    asked = subscription("http://example.org/", description="as it was")
    assert (await client.post(URL, json=asked, headers=LD)).status_code == 201
    for change in ({"description": None}, {"isActive": None}, {"notification": {"format": None}}):
        assert (await client.patch(ONE, json=change)).status_code == 400
    assert (await client.get(ONE)).json()["description"] == "as it was"


@pytest.mark.parametrize("path", ["subscriptions", "csourceSubscriptions"])
async def test_one_that_has_expired_can_be_changed_and_stays_expired(tmp_path: Path, path: str) -> None:
    """Only a date in the future brings it back (5.8.2.4)."""
    one = f"{ROOT}/{path}/urn:ngsi-ld:Subscription:1"

    async def status(client: httpx.AsyncClient) -> str:
        return str((await client.get(one)).json()["status"])

    async def is_expired() -> bool:
        return await status(client) == "expired"

    async with serving(tmp_path) as client:
        asked = subscription("http://example.org/", expiresAt=time_text(time.time_ns() // 1000 + 500_000))
        assert (await client.post(f"{ROOT}/{path}", json=asked, headers=LD)).status_code == 201
        assert await status(client) == "active"
        await until(is_expired)
        for change in ({"description": "over"}, {"isActive": True}, {"isActive": False}):
            assert (await client.patch(one, json=change)).status_code == 204
            assert await is_expired()
        past = {"expiresAt": time_text(time.time_ns() // 1000 - 1_000_000)}
        assert (await client.patch(one, json=past)).status_code == 400
    async with serving(tmp_path) as client:
        assert await is_expired()
        change = {"isActive": True, "expiresAt": "2090-01-01T00:00:00Z"}
        assert (await client.patch(one, json=change)).status_code == 204
        assert await status(client) == "active"


async def test_registrations_are_not_told_as_geojson(client: httpx.AsyncClient) -> None:
    endpoint = {"uri": "http://example.org/", "accept": "application/geo+json"}
    body = subscription("", notification={"endpoint": endpoint})
    assert (await client.post(f"{ROOT}/csourceSubscriptions", json=body, headers=LD)).status_code == 400
    assert (await client.post(URL, json=body, headers=LD)).status_code == 201


def test_what_is_nested_deeply_is_looked_through() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    check_form({"geoQ": {"coordinates": deep}}, Contexts().core)


async def test_a_tenant_that_is_not_there(client: httpx.AsyncClient) -> None:
    nobody, somebody = {"NGSILD-Tenant": "nobody"}, {"NGSILD-Tenant": "somebody"}
    for method, path in (("GET", URL), ("GET", ONE), ("PATCH", ONE), ("DELETE", ONE)):
        answer = await client.request(
            method, path, headers=nobody, json={"description": "x"} if method == "PATCH" else None
        )
        assert answer.status_code == 404 and answer.json()["type"].endswith("NonexistentTenant"), (method, path)
    asked = subscription("http://example.org/")
    assert (await client.post(URL, json=asked, headers={**LD, **somebody})).status_code == 201
    assert (await client.delete(ONE, headers=somebody)).status_code == 204
    assert (await client.get(URL, headers=somebody)).json() == []


async def test_what_has_not_changed_has_no_previous_value(tmp_path: Path) -> None:
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        asked = subscription(receiver.url, notification={"showChanges": True})
        assert (await client.post(URL, json=asked, headers=LD)).status_code == 201
        kept = {"type": "Property", "value": 1, "datasetId": "urn:x:kept"}
        both = [kept, {"type": "Property", "value": 2}]
        await upsert(client, meter(1, 10, voltage=both))
        await upsert(client, meter(1, 10, voltage=[kept, {"type": "Property", "value": 3}]))
        await until(lambda: len(receiver.got) == 2)
        changed = {"type": "Property", "value": 3, "previousValue": 2}
        voltage = next(value for value in receiver.got[1]["data"][0].values() if isinstance(value, list))
        assert sorted(voltage, key=lambda one: one["value"]) == [kept, changed]


async def test_entities_of_which_nothing_is_left_are_not_told(tmp_path: Path) -> None:
    """As they are no answer to a query with the same pick or datasetId."""
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        asked = subscription(receiver.url, notification={"pick": ["voltage"]})
        assert (await client.post(URL, json=asked, headers=LD)).status_code == 201
        await upsert(client, meter(1, 10), meter(2, 10, voltage={"type": "Property", "value": 230}))
        await upsert(client, meter(1, 11))
        await upsert(client, meter(2, 11, voltage={"type": "Property", "value": 231}))
        await until(lambda: len(receiver.got) == 2)
        assert [note["data"] for note in receiver.got] == [
            [{"voltage": {"type": "Property", "value": volts}}] for volts in (230, 231)
        ]


async def test_only_instances_that_are_wanted_are_said_to_be_gone(tmp_path: Path) -> None:
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        asked = subscription(receiver.url, datasetId=["urn:x:a"], notificationTrigger=["attributeDeleted"])
        assert (await client.post(URL, json=asked, headers=LD)).status_code == 201
        several = [{"type": "Property", "value": n, "datasetId": f"urn:x:{name}"} for n, name in enumerate("ab")]
        await upsert(client, meter(1, 10, voltage=several))
        one = f"{ROOT}/entities/{meter()['id']}/attrs/voltage"
        for name in "ba":
            answer = await client.delete(one, params={"datasetId": f"urn:x:{name}"}, headers=LINK)
            assert answer.status_code == 204, answer.text
        await until(lambda: len(receiver.got) >= 2)
        kept = {"type": "Property", "value": 0, "datasetId": "urn:x:a"}
        gone = {"type": "Property", "value": NULL, "datasetId": "urn:x:a"}
        assert [note["data"][0]["voltage"] for note in receiver.got] == [kept, gone]


async def test_what_cannot_be_read_any_more_keeps_no_server_from_starting(tmp_path: Path) -> None:
    """What was allowed when it was written: a context, null, members of a registration."""
    storage = SqliteStorage(tmp_path)
    await storage.start()
    common = {"created": "2026-01-01T00:00:00Z", "modified": "2026-01-01T00:00:00Z", "counters": {}}
    bad: dict[str, Any] = {"@version": 1.0, "a": "https://example.org/a"}
    good = {"raw": {**subscription("http://example.org/"), "description": None}, "context": [], "documents": []}
    del good["raw"]["@context"]
    kept = {
        ("subscription", "urn:x:good"): {**good, "raw": {**good["raw"], "id": "urn:x:good"}},
        ("subscription", "urn:x:bad"): {**good, "context": bad, "documents": [bad]},
        ("csource-subscription", "urn:x:bad"): {**good, "context": bad, "documents": [bad]},
        ("registration", "urn:x:bad"): {"raw": {"id": "urn:x:bad", "endpoint": 5}},
    }

    def work(writer: Writer) -> None:
        for (kind, name), document in kept.items():
            writer.put_document(kind, "", name, orjson.dumps(document | common))  # type: ignore[arg-type]  # kinds

    await storage.write(work)
    await storage.close()
    async with serving(tmp_path, database=None) as client:
        assert [one["id"] for one in (await client.get(URL)).json()] == ["urn:x:good"]
        assert (await client.get(f"{ROOT}/csourceSubscriptions")).json() == []
        assert (await client.get(f"{ROOT}/csourceRegistrations", params={"type": "A"})).json() == []


async def test_entities_that_come_and_go_without_a_watched_attribute_are_not_told(tmp_path: Path) -> None:
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        asked = subscription(
            receiver.url, watchedAttributes=["voltage"], notificationTrigger=["entityCreated", "entityDeleted"]
        )
        assert (await client.post(URL, json=asked, headers=LD)).status_code == 201
        await upsert(client, meter(1, 10), meter(2, 10, voltage={"type": "Property", "value": 230}))
        for number in (1, 2):
            answer = await client.delete(f"{ROOT}/entities/{meter(number)['id']}")
            assert answer.status_code == 204, answer.text
        await until(lambda: len(receiver.got) == 2)
        assert [[one["id"] for one in note["data"]] for note in receiver.got] == [[meter(2)["id"]]] * 2
        assert "deletedAt" in receiver.got[1]["data"][0]
