"""What subscriptions take, when they notify, and what a notification says (CIM 009 clauses 5.2.12, 5.3.1, 5.8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.support import ENERGY, LD, LINK, ROOT, meter, serving, until, upsert
from tests.server.test_subscriptions import URL, receiving, subscription

ONE = f"{ROOT}/entities/urn:ngsi-ld:ACMeasurement:test:1"
NULL = "urn:ngsi-ld:null"
PLACE = {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [10.0, 59.0]}}


def within(x: float) -> dict[str, Any]:
    return {"georel": "near;maxDistance==1000", "geometry": "Point", "coordinates": [x, 59.0]}


@pytest.mark.parametrize(
    ("more", "notified"),
    [
        ({"geoQ": within(10.0)}, True),
        ({"geoQ": within(11.0)}, False),
        ({"scopeQ": "/oslo/#"}, True),
        ({"scopeQ": "/bergen/#"}, False),
        ({"entities": [{"type": "(ACMeasurement|Other)"}]}, True),
        ({"entities": [{"type": "ACMeasurement;Other"}]}, False),
        ({"entities": [{"type": "*", "idPattern": "test:1$"}]}, True),
        ({"notificationTrigger": ["attributeDeleted"]}, False),
        ({"notificationTrigger": ["entityUpdated"]}, True),
        ({"watchedAttributes": ["location"], "entities": [{"type": "Other"}]}, False),
    ],
)
async def test_conditions(tmp_path: Path, more: dict[str, Any], notified: bool) -> None:
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        last = subscription(receiver.url, id="urn:ngsi-ld:Subscription:last")
        assert (await client.post(URL, json=subscription(receiver.url, **more), headers=LD)).status_code == 201
        await upsert(client, meter(1, 10, location=PLACE, scope="/oslo/north"))
        assert (await client.post(URL, json=last, headers=LD)).status_code == 201
        await upsert(client, meter(9, 1))
        await until(lambda: any(n["subscriptionId"].endswith("last") for n in receiver.got))
        ids = [n["data"][0]["id"][-1] for n in receiver.got if n["subscriptionId"].endswith(":1")]
        assert ("1" in ids) is notified


async def changes_of(tmp_path: Path, **notification: Any) -> list[Any]:
    """The first entity of what is notified of a creation, an update, a deletion of an attribute and of the entity."""
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        asked = {"endpoint": {"uri": receiver.url}, **notification}
        triggers = ["attributeCreated", "attributeUpdated", "attributeDeleted", "entityDeleted"]
        body = subscription(receiver.url, notification=asked, notificationTrigger=triggers)
        assert (await client.post(URL, json=body, headers=LD)).status_code == 201
        await upsert(client, meter(1, 10))
        await upsert(client, meter(1, 20, "2026-01-01T00:00:01Z"))
        gone = await client.delete(f"{ONE}/attrs/totalActivePower", headers=LINK)
        assert gone.status_code == 204, gone.text
        assert (await client.delete(ONE)).status_code == 204
        await until(lambda: len(receiver.got) == 4)
        return [n["data"][0] for n in receiver.got]


async def test_show_changes(tmp_path: Path) -> None:
    created, updated, without, deleted = await changes_of(tmp_path, showChanges=True)
    assert "previousValue" not in created["totalActivePower"]
    assert (updated["totalActivePower"]["value"], updated["totalActivePower"]["previousValue"]) == (20, 10)
    assert without["totalActivePower"] == {"type": "Property", "value": NULL, "previousValue": 20}
    assert deleted.keys() == {"id", "type", "deletedAt"}


async def test_what_is_deleted(tmp_path: Path) -> None:
    _, _, without, deleted = await changes_of(tmp_path, format="simplified")
    assert without["totalActivePower"] == NULL
    assert deleted.keys() == {"id", "type", "deletedAt"}


async def test_what_is_deleted_with_system_attributes(tmp_path: Path) -> None:
    _, _, without, deleted = await changes_of(tmp_path, sysAttrs=True)
    assert without["totalActivePower"].keys() == {"type", "value", "deletedAt"}
    assert deleted.keys() == {"id", "type", "deletedAt", "createdAt", "modifiedAt"}


async def test_deleted_attribute_that_is_not_picked(tmp_path: Path) -> None:
    assert all("totalActivePower" not in part for part in await changes_of(tmp_path, omit=["totalActivePower"]))


async def test_geojson_language_and_projection(tmp_path: Path) -> None:
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        endpoint = {"uri": receiver.url, "accept": "application/geo+json"}
        notification = {"endpoint": endpoint, "format": "simplified", "pick": ["id", "type", "name", "location"]}
        asked = subscription(receiver.url, notification=notification, lang="no")
        assert (await client.post(URL, json=asked, headers=LD)).status_code == 201
        name = {"type": "LanguageProperty", "languageMap": {"no": "hei", "en": "hi"}}
        await upsert(client, meter(1, 10, location=PLACE, name=name))
        await until(lambda: len(receiver.got) == 1)
        body = receiver.got[0]
        assert receiver.headers[0]["content-type"] == "application/geo+json"
        assert body["data"]["type"] == "FeatureCollection" and body["@context"] == ENERGY
        feature = body["data"]["features"][0]
        assert feature["geometry"] == PLACE["value"]
        assert feature["properties"]["name"] == "hei" and "totalActivePower" not in feature["properties"]


async def test_time_interval(tmp_path: Path) -> None:
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        await upsert(client, meter(1, 10), meter(2, 99))
        asked = subscription(receiver.url, timeInterval=1, q="totalActivePower<50")
        assert (await client.post(URL, json=asked, headers=LD)).status_code == 201
        await until(lambda: len(receiver.got) >= 2)
        assert [[e["id"][-1] for e in n["data"]] for n in receiver.got[:2]] == [["1"], ["1"]]


REFUSED = [
    {"notification": {"showChanges": True, "format": "keyValues"}},
    {"notification": {"attributes": ["id"]}},
    {"notification": {"pick": []}},
    {"notification": {"pick": ["a"], "omit": ["a"]}},
    {"notification": {"attributes": ["a"], "pick": ["a"]}},
    {"notification": {"join": "sideways"}},
    {"notification": {"join": "inline", "joinLevel": 0}},
    {"notification": {"sysAttrs": "yes"}},
    {"notification": {"endpoint": {"uri": "http://example.org/", "accept": "text/html"}}},
    {"notification": {"endpoint": {"uri": "http://example.org/", "timeout": -1}}},
    {
        "notification": {
            "endpoint": {"uri": "mqtt://example.org/a", "notifierInfo": [{"key": "MQTT-QoS", "value": "3"}]}
        }
    },
    {"geoQ": {"georel": "near"}},
    {"geoQ": 5},
    {"scopeQ": "("},
    {"lang": 5},
    {"datasetId": []},
    {"datasetId": ["no uri"]},
    {"ngsildConformance": "new"},
    {"timeInterval": 0},
    {"timeInterval": 5, "watchedAttributes": ["a"]},
    {"isActive": "yes"},
    {"expiresAt": "tomorrow"},
    {"entities": [{"type": "A", "id": 5}]},
    {"entities": 5},
    {"entities": None},
    {"q": 5},
    {"jsonldContext": 5},
]


@pytest.mark.parametrize("more", REFUSED)
async def test_refusals(client: httpx.AsyncClient, more: dict[str, Any]) -> None:
    body = {**subscription("http://example.org/"), **more}
    if "notification" in more:
        body["notification"] = {"endpoint": {"uri": "http://example.org/"}, **more["notification"]}
    answer = await client.post(URL, json=body, headers=LD)
    assert answer.status_code == 400, answer.text
    assert answer.json()["type"].endswith("BadRequestData")


async def test_read_only_members_are_ignored(client: httpx.AsyncClient) -> None:
    body = subscription("http://example.org/", status="expired", createdAt="2020-01-01T00:00:00Z")
    body["notification"] |= {"timesSent": 7, "lastSuccess": "2020-01-01T00:00:00Z"}
    assert (await client.post(URL, json=body, headers=LD)).status_code == 201
    shown = (await client.get(f"{URL}/urn:ngsi-ld:Subscription:1", headers=LINK)).json()
    assert shown["status"] == "active" and "timesSent" not in shown["notification"] and "createdAt" not in shown


async def test_an_inline_context_gets_a_url_that_notifications_name(tmp_path: Path) -> None:
    inline = [{"power": "https://example.org/power"}, {"Meter": "https://example.org/Meter"}]
    reading = {"@context": inline, "id": "urn:ngsi-ld:Meter:1", "type": "Meter", "power": 5}
    async with receiving() as receiver:
        async with serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
            asked = subscription(receiver.url, entities=[{"type": "Meter"}])
            assert (await client.post(URL, json={**asked, "@context": inline}, headers=LD)).status_code == 201
            await upsert(client, reading)
            await until(lambda: bool(receiver.got))
        async with serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
            await upsert(client, {**reading, "power": 6})
            await until(lambda: len(receiver.got) == 2)
            links = [headers["link"].partition(">")[0].strip("<") for headers in receiver.headers]
            path = "/" + links[0].split("/", 3)[3]
            assert links[0] == links[1] and links[0].startswith("http://127.0.0.1:")
            assert (await client.get(path)).json() == {"@context": inline}
    assert [note["data"][0]["power"]["value"] for note in receiver.got] == [5, 6]
    assert all(headers["content-type"] == "application/json" for headers in receiver.headers)


@pytest.mark.parametrize("version", ["v1.3", "v1.8"])
async def test_the_core_context_is_named_as_it_was_given(tmp_path: Path, version: str) -> None:
    core = f"https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-{version}.jsonld"
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        asked = subscription(receiver.url, entities=[{"type": "Meter"}])
        assert (await client.post(URL, json={**asked, "@context": [core]}, headers=LD)).status_code == 201
        await upsert(client, {"@context": core, "id": "urn:ngsi-ld:Meter:1", "type": "Meter", "power": 5})
        await until(lambda: bool(receiver.got))
    assert f"<{core}>" in receiver.headers[0]["link"]


@pytest.mark.parametrize("body", [b"null", b"[]", b"5", b'"x"', b"{}"])
async def test_what_is_no_fragment_is_refused(tmp_path: Path, body: bytes) -> None:
    async with serving(tmp_path, notify_prefixes=("http://127.0.0.1",)) as client:
        assert (await client.post(URL, json=subscription("http://127.0.0.1:1/x"), headers=LD)).status_code == 201
        for media in ("application/json", "application/ld+json", "application/merge-patch+json"):
            answer = await client.patch(
                f"{URL}/urn:ngsi-ld:Subscription:1", content=body, headers={"Content-Type": media}
            )
            assert answer.status_code == 400, answer.text
