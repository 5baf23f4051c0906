"""Rules of registrations that clients see: areas, time, what owns what, tenants, what was forwarded, notifications."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.server.broker.model import NULL
from tests.server.support import LD, ROOT, serving, until
from tests.server.test_sources import CORE, CSR, ERRORS, SUBS, receiver, registration, subscription

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]}
UNSAID = ("status", "timesSent", "timesFailed", "lastSuccess", "lastFailure", "createdAt", "modifiedAt")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(tmp_path) as made:
        yield made


async def found(client: httpx.AsyncClient, **parameters: str) -> list[int]:
    answer = await client.get(CSR, params={"type": "Vehicle", **parameters})
    assert answer.status_code == 200, answer.text
    return [int(one["id"].rsplit(":", 1)[1]) for one in answer.json()]


def square(west: float, east: float) -> str:
    return f"[[[{west},1],[{east},1],[{east},2],[{west},2],[{west},1]]]"


async def test_a_source_is_found_where_its_area_may_hold_what_is_meant(client: httpx.AsyncClient) -> None:
    assert (await client.post(CSR, json=registration(1, location=SQUARE))).status_code == 201
    assert (await client.post(CSR, json=registration(2, operationSpace=SQUARE))).status_code == 201
    for relation in ("within", "intersects", "overlaps", "equals", "contains"):
        inside = {"georel": relation, "geometry": "Polygon", "coordinates": square(1, 2)}
        assert await found(client, **inside) == [1], relation  # its area is larger, and may hold something there
        assert await found(client, **inside, geoproperty="operationSpace") == [2], relation
        away = {"georel": relation, "geometry": "Polygon", "coordinates": square(20, 22)}
        assert await found(client, **away) == [], relation
    assert await found(client, georel="disjoint", geometry="Polygon", coordinates=square(1, 2)) == [1]
    everywhere = "[[[-1,-1],[11,-1],[11,11],[-1,11],[-1,-1]]]"
    assert await found(client, georel="disjoint", geometry="Polygon", coordinates=everywhere) == []
    for name in ("endpoint", "description", "elsewhere"):
        near = {"georel": "near;maxDistance==1", "geometry": "Point", "coordinates": "[1,1]", "geoproperty": name}
        answer = await client.get(CSR, params=near)
        assert (answer.status_code, answer.json()["type"]) == (400, ERRORS + "BadRequestData"), name


async def test_a_subscription_cannot_ask_for_a_geometry_that_is_none(tmp_path: Path) -> None:
    async with receiver() as (url, bodies), serving(tmp_path, notify_prefixes=(url,)) as client:
        geo = {"georel": "near;maxDistance==1000", "geometry": "Point", "coordinates": [1, 1]}
        refused = await client.post(SUBS, json=subscription(url, geoQ=geo | {"geoproperty": "endpoint"}))
        assert (refused.status_code, refused.json()["type"]) == (400, ERRORS + "BadRequestData")
        assert refused.json()["detail"].startswith("/geoQ")
        assert (await client.post(SUBS, json=subscription(url, geoQ=geo))).status_code == 201
        assert (await client.post(CSR, json=registration(1))).status_code == 201
        assert (await client.post(CSR, json=registration(2, location=SQUARE))).status_code == 201
        await until(lambda: len(bodies) == 1)
        assert [one["id"] for one in bodies[0]["data"]] == [registration(2)["id"]]


async def test_csf_looks_at_all_that_a_registration_says(client: httpx.AsyncClient) -> None:
    body = registration(1, registrationName="mine", tenant="there", brand="Acme")
    assert (await client.post(CSR, json=body)).status_code == 201
    for csf in ('registrationName=="mine"', 'tenant=="there";brand=="Acme"', 'endpoint~="source"'):
        assert await found(client, csf=csf) == [1], csf
    for csf in ('registrationName=="other"', 'description=="x"'):
        assert await found(client, csf=csf) == [], csf


async def test_touching_intervals(client: httpx.AsyncClient) -> None:
    year = {"startAt": "2020-01-01T00:00:00Z", "endAt": "2021-01-01T00:00:00Z"}
    assert (await client.post(CSR, json=registration(1, observationInterval=year))).status_code == 201
    cases = [
        ({}, []),
        ({"timerel": "before", "timeAt": "2020-06-01T00:00:00Z"}, [1]),
        ({"timerel": "before", "timeAt": "2020-01-01T00:00:00Z"}, []),
        ({"timerel": "after", "timeAt": "2020-12-01T00:00:00Z"}, [1]),
        ({"timerel": "after", "timeAt": "2021-12-01T00:00:00Z"}, []),
        ({"timerel": "between", "timeAt": "2019-01-01T00:00:00Z", "endTimeAt": "2020-02-01T00:00:00Z"}, [1]),
        ({"timerel": "between", "timeAt": "2018-01-01T00:00:00Z", "endTimeAt": "2019-02-01T00:00:00Z"}, []),
        ({"timerel": "before", "timeAt": "2020-06-01T00:00:00Z", "timeproperty": "modifiedAt"}, []),
    ]
    for parameters, numbers in cases:
        assert await found(client, **parameters) == numbers, parameters


async def test_bodies_are_those_that_were_sent(client: httpx.AsyncClient) -> None:
    body = registration(1, mode="redirect", operations=["redirectionOps"], refreshRate="PT5M", location=SQUARE)
    assert (await client.post(CSR, json={**body, "@context": [CORE]}, headers=LD)).status_code == 201
    url = f"{CSR}/{body['id']}"
    got = await client.get(url)
    assert got.json() == body
    assert not set(UNSAID) & set(got.json())
    assert (await client.get(CSR, params={"type": "Vehicle"})).json() == [body]
    ld = await client.get(CSR, params={"type": "Vehicle"}, headers={"Accept": "application/ld+json"})
    assert (ld.headers["content-type"], "link" in ld.headers) == ("application/ld+json", False)
    assert ld.json()[0].pop("@context")
    head = await client.head(CSR, params={"type": "Vehicle", "count": "true", "limit": "1"})
    assert (head.status_code, head.content, head.headers["ngsild-results-count"]) == (200, b"", "1")
    none = await client.get(CSR, params={"type": "Vehicle", "count": "true", "limit": "0"})
    assert (none.json(), none.headers["ngsild-results-count"]) == ([], "1")
    for method in ("GET", "PATCH", "DELETE"):
        bad = await client.request(method, f"{CSR}/noUri", json={"description": "x"})
        assert (bad.status_code, bad.json()["type"]) == (400, ERRORS + "BadRequestData"), method
    assert (await client.patch(url, content=b"{", headers=LD)).json()["type"] == ERRORS + "InvalidRequest"
    assert (await client.post(CSR, content=b"{}", headers={"Content-Type": "text/plain"})).status_code == 415


async def test_a_tenant_that_is_not_there(client: httpx.AsyncClient) -> None:
    for collection, name in ((CSR, registration()["id"]), (SUBS, "urn:ngsi-ld:Subscription:cs1")):
        for method, url in (("GET", f"{collection}?type=A"), ("GET", f"{collection}/{name}")):
            path = url if collection == CSR else url.removesuffix("?type=A")
            answer = await client.request(method, path, headers={"NGSILD-Tenant": "nobody"})
            assert (answer.status_code, answer.json()["type"]) == (404, ERRORS + "NonexistentTenant"), path
        for method in ("PATCH", "DELETE"):
            url, headers = f"{collection}/{name}", {"NGSILD-Tenant": "nobody"}
            answer = await client.request(method, url, json={"description": "x"}, headers=headers)
            assert (answer.status_code, answer.json()["type"]) == (404, ERRORS + "NonexistentTenant"), (method, url)


async def test_forwards_are_counted_and_the_counts_survive(tmp_path: Path) -> None:
    nobody: dict[str, Any] = {"notify_prefixes": ("http://127.0.0.1:9",)}
    body = registration(1, endpoint="http://127.0.0.1:9", information=[{"entities": [{"type": "Vehicle"}]}])
    async with serving(tmp_path, **nobody) as client:
        assert (await client.post(CSR, json=body)).status_code == 201
        answer = await client.get(f"{ROOT}/entities", params={"type": "Vehicle"})
        assert (answer.status_code, answer.json(), "ngsild-warning" in answer.headers) == (200, [], True)
    async with serving(tmp_path, **nobody) as client:
        shown = (await client.get(f"{CSR}/{body['id']}")).json()
        assert (shown["status"], shown["timesSent"], shown["timesFailed"]) == ("failed", 1, 1)
        assert "lastFailure" in shown
        assert "lastSuccess" not in shown
        lines = (await client.get("/metrics")).text.splitlines()
        for line in ("sources 1", "forwards_total 1", "forwards_failed_total 1"):
            assert f"lamppost_server_{line}" in lines


async def test_a_first_notification_outlives_a_restart(tmp_path: Path) -> None:
    """The receiver is down while the subscription is made; names in the notification are those of jsonldContext."""
    async with receiver() as (url, _):
        gone = url
    async with serving(tmp_path, notify_prefixes=(gone,)) as client:
        mine = {"@context": [{"Vehicle": "https://a.example/Vehicle"}, CORE]}
        hosted = (await client.post(f"{ROOT}/jsonldContexts", json=mine)).headers["location"]
        context = str(client.base_url.join(hosted))
        body = registration(1, information=[{"entities": [{"type": "https://a.example/Vehicle"}]}])
        assert (await client.post(CSR, json=body)).status_code == 201
        asked = subscription(gone, jsonldContext=context, entities=[{"type": "https://a.example/Vehicle"}])
        made = await client.post(SUBS, json=asked)
        assert made.status_code == 201, made.text
        one = f"/api/subscriptions/{asked['id']}/notifications"
        [note] = (await client.get(one)).json()["notifications"]
    async with serving(tmp_path, notify_prefixes=(gone,)) as client:
        [kept] = (await client.get(one)).json()["notifications"]
        assert kept["notification"] == note["notification"]
        assert kept["notification"]["triggerReason"] == "newlyMatching"
        [shown] = kept["notification"]["data"]
        assert shown["information"][0]["entities"] == [{"type": "Vehicle"}]


async def test_ids_are_unique_among_all_subscriptions(tmp_path: Path) -> None:
    async with receiver() as (url, bodies), serving(tmp_path, notify_prefixes=(url,)) as client:
        both, everyday = subscription(url), f"{ROOT}/subscriptions"
        for first, second in ((SUBS, everyday), (everyday, SUBS)):
            assert (await client.post(first, json=both)).status_code == 201
            again = await client.post(second, json=both)
            assert (again.status_code, again.json()["type"]) == (409, ERRORS + "AlreadyExists"), second
            assert (await client.get(f"{second}/{both['id']}")).status_code == 404
            assert (await client.delete(f"{first}/{both['id']}")).status_code == 204
        assert bodies == []


async def test_owners_by_each_mode(client: httpx.AsyncClient) -> None:
    def owner(number: int, mode: str, attribute: str, **entity: str) -> dict[str, Any]:
        information = [{"entities": [{"type": "Vehicle", **entity}], "propertyNames": [attribute]}]
        return registration(number, mode=mode, information=information)

    one, all_ = {"id": "urn:ngsi-ld:Vehicle:1"}, {"idPattern": ".*:Vehicle:.*"}
    here = {**one, "type": "Vehicle", "local": {"type": "Property", "value": 1}}
    assert (await client.post(f"{ROOT}/entities", json=here)).status_code == 201
    steps = [
        (owner(1, "exclusive", "a", **one), 201),
        (owner(2, "exclusive", "a", **one), 409),
        (owner(2, "redirect", "a", **all_), 409),
        (owner(2, "redirect", "b", **all_), 201),
        (owner(3, "redirect", "b", **all_), 201),
        (owner(4, "exclusive", "b", **one), 409),
        (owner(5, "inclusive", "a", **one), 201),
        (owner(6, "exclusive", "local", **one), 409),
        (owner(6, "redirect", "local", **all_), 409),
    ]
    for body, status in steps:
        answer = await client.post(CSR, json=body)
        assert answer.status_code == status, (body, answer.text)
        if status == 409:
            assert answer.json()["type"] == ERRORS + "Conflict"
    fifth = f"{CSR}/{registration(5)['id']}"
    assert (await client.patch(fifth, json={"mode": "exclusive"})).status_code == 409
    assert (await client.get(fifth)).json()["mode"] == "inclusive"
    assert (await client.patch(f"{CSR}/{registration(1)['id']}", json={"description": "its own"})).status_code == 204


@pytest.mark.parametrize(
    "more", [{"description": None}, {"description": NULL}, {"floor": None}, {"floor": {"of": None}}]
)
async def test_null_is_no_value(client: httpx.AsyncClient, more: dict[str, Any]) -> None:
    assert (await client.post(CSR, json=registration(1, **more))).status_code == 400
    assert (await client.post(CSR, json=registration(1))).status_code == 201
    refused = await client.patch(f"{CSR}/{registration(1)['id']}", json={"description": None})
    assert refused.status_code == 400, refused.text
