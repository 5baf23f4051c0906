"""Registrations of context sources on a real server: what is taken, refused, found, and told to subscribers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.server.contexts import Contexts
from gateway.server.errors import Problem
from gateway.server.sources.parse import parse_registration
from tests.server.support import LD, ROOT, serving, until

CSR, SUBS = f"{ROOT}/csourceRegistrations", f"{ROOT}/csourceSubscriptions"
CORE = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context.jsonld"
ERRORS = "https://uri.etsi.org/ngsi-ld/errors/"


def registration(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": f"urn:ngsi-ld:ContextSourceRegistration:{number}",
        "type": "ContextSourceRegistration",
        "information": [{"entities": [{"type": "Vehicle"}], "propertyNames": ["speed"]}],
        "endpoint": "http://source.example.org:1026",
        **more,
    }


def future(seconds: float = 3600) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(tmp_path) as made:
        yield made


async def test_created_read_changed_deleted(client: httpx.AsyncClient) -> None:
    body = registration(registrationName="cars", brand="Acme", timesSent=7, status="failed")
    made = await client.post(CSR, json=body)
    assert (made.status_code, made.content) == (201, b"")
    assert made.headers["location"] == f"{CSR}/{body['id']}"
    got = await client.get(made.headers["location"])
    expected = {name: value for name, value in body.items() if name not in ("timesSent", "status")}
    assert got.json() == expected
    assert got.headers["content-type"] == "application/json"
    assert CORE.rsplit("/", 1)[0] in got.headers["link"]
    as_ld = await client.get(made.headers["location"], headers={"Accept": "application/ld+json"})
    assert "@context" in as_ld.json()
    system = (await client.get(made.headers["location"], params={"options": "sysAttrs"})).json()
    assert {"createdAt", "modifiedAt"} <= system.keys()
    again = await client.post(CSR, json=body)
    assert (again.status_code, again.json()["type"]) == (409, ERRORS + "AlreadyExists")
    change = {"registrationName": "vans", "brand": "urn:ngsi-ld:null", "expiresAt": future(), "colour": "red"}
    assert (await client.patch(f"{CSR}/{body['id']}", json=change)).status_code == 204
    got = await client.get(f"{CSR}/{body['id']}")
    assert got.json()["registrationName"] == "vans"
    assert "brand" not in got.json()
    assert (got.json()["colour"], got.json()["expiresAt"]) == ("red", change["expiresAt"])
    assert (await client.delete(f"{CSR}/{body['id']}")).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        gone = await client.request(
            method, f"{CSR}/{body['id']}", json={"description": "x"} if method == "PATCH" else None
        )
        assert (gone.status_code, gone.json()["type"]) == (404, ERRORS + "ResourceNotFound")
    bad = await client.get(f"{CSR}/no-uri")
    assert (bad.status_code, bad.json()["type"]) == (400, ERRORS + "BadRequestData")
    unnamed = {name: value for name, value in registration().items() if name != "id"}
    assert (await client.post(CSR, json=unnamed)).headers["location"].startswith(f"{CSR}/urn:")


async def test_names_are_those_of_the_context_asked_for(client: httpx.AsyncClient) -> None:
    context = [{"Vehicle": "https://example.org/Vehicle", "speed": "https://example.org/speed"}, CORE]
    answer = await client.post(CSR, json=registration() | {"@context": context}, headers=LD)
    assert answer.status_code == 201, answer.text
    got = (await client.get(answer.headers["location"])).json()
    assert got["information"] == [
        {"entities": [{"type": "https://example.org/Vehicle"}], "propertyNames": ["https://example.org/speed"]}
    ]
    found = await client.get(CSR, params={"type": "https://example.org/Vehicle"})
    assert [one["id"] for one in found.json()] == [registration()["id"]]


BAD: dict[str, dict[str, Any]] = {
    "another type": {"type": "Registration"},
    "no endpoint": {"endpoint": None},
    "endpoint of another scheme": {"endpoint": "ftp://source.example.org"},
    "id is no URI": {"id": "source-1"},
    "no information": {"information": None},
    "empty information": {"information": []},
    "information that says nothing": {"information": [{}]},
    "entities without type": {"information": [{"entities": [{"id": "urn:a:b"}]}]},
    "empty entities": {"information": [{"entities": []}]},
    "entity id is no URI": {"information": [{"entities": [{"type": "A", "id": "b"}]}]},
    "pattern": {"information": [{"entities": [{"type": "A", "idPattern": "("}]}]},
    "empty names": {"information": [{"propertyNames": []}]},
    "name": {"information": [{"propertyNames": ["a b"]}]},
    "unknown member inside": {"information": [{"entities": [{"type": "A", "name": "b"}]}]},
    "mode": {"mode": "parallel"},
    "operation": {"operations": ["retrieveEntity", "drop"]},
    "no operations": {"operations": []},
    "auxiliary that writes": {"mode": "auxiliary", "operations": ["updateOps"]},
    "exclusive without id": {"mode": "exclusive"},
    "exclusive without attributes": {
        "mode": "exclusive",
        "information": [{"entities": [{"type": "A", "id": "urn:a:b"}]}],
    },
    "exclusive by pattern": {
        "mode": "exclusive",
        "information": [{"entities": [{"type": "A", "idPattern": "urn:.*"}], "propertyNames": ["speed"]}],
    },
    "expired": {"expiresAt": "2020-01-01T00:00:00Z"},
    "endpoint with a query": {"endpoint": "http://example.org/?a=b"},
    "endpoint with a fragment": {"endpoint": "http://example.org/#a"},
    "endpoint with a user": {"endpoint": "http://user:password@example.org/"},
    "endpoint without a host": {"endpoint": "http://[example.org"},
    "expiresAt is no date": {"expiresAt": "tomorrow"},
    "tenant": {"tenant": "a b"},
    "geometry": {"location": {"type": "Circle", "coordinates": [1, 2]}},
    "GeoProperty in place of a geometry": {
        "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1, 2]}}
    },
    "interval backwards": {"observationInterval": {"startAt": "2026-01-02T00:00:00Z", "endAt": "2026-01-01T00:00:00Z"}},
    "interval without start": {"managementInterval": {"endAt": "2026-01-01T00:00:00Z"}},
    "refreshRate": {"refreshRate": "five minutes"},
    "header": {"contextSourceInfo": [{"key": "a b", "value": "c"}]},
    "header without value": {"contextSourceInfo": [{"key": "a"}]},
    "timeout": {"management": {"timeout": 0}},
    "unknown management": {"management": {"speed": 1}},
    "scope": {"scope": "a b"},
    "datasetId": {"datasetId": ["x"]},
    "name is no text": {"registrationName": 5},
}


async def test_each_reason_to_refuse(client: httpx.AsyncClient) -> None:
    for name, change in BAD.items():
        body = {key: value for key, value in registration(**change).items() if value is not None}
        answer = await client.post(CSR, json=body)
        assert (answer.status_code, answer.json()["type"]) == (400, ERRORS + "BadRequestData"), name
        assert answer.json()["detail"].startswith("/"), (name, answer.json()["detail"])
    assert (await client.get(CSR, params={"type": "Vehicle"})).json() == []


async def test_clashes(client: httpx.AsyncClient) -> None:
    def about(entity_id: str, *names: str) -> list[dict[str, Any]]:
        return [{"entities": [{"type": "Vehicle", "id": entity_id}], "propertyNames": list(names)}]

    first = registration(1, mode="exclusive", information=about("urn:ngsi-ld:Vehicle:1", "speed"))
    assert (await client.post(CSR, json=first)).status_code == 201
    for number, (mode, information, status) in enumerate(
        [
            ("exclusive", about("urn:ngsi-ld:Vehicle:1", "speed", "heading"), 409),
            ("exclusive", about("urn:ngsi-ld:Vehicle:1", "heading"), 201),
            ("exclusive", about("urn:ngsi-ld:Vehicle:2", "speed"), 201),
            ("redirect", [{"entities": [{"type": "Vehicle"}]}], 409),
            ("redirect", [{"entities": [{"type": "Building"}]}], 201),
            ("redirect", [{"entities": [{"type": "Building"}]}], 201),  # several redirects may overlap
            ("inclusive", about("urn:ngsi-ld:Vehicle:1", "speed"), 201),
        ],
        2,
    ):
        answer = await client.post(CSR, json=registration(number, mode=mode, information=information))
        assert answer.status_code == status, (number, answer.text)
        assert status == 201 or answer.json()["type"] == ERRORS + "Conflict"
    entity = {"id": "urn:ngsi-ld:Lamp:1", "type": "Lamp", "power": {"type": "Property", "value": 5}}
    assert (await client.post(f"{ROOT}/entities", json=entity)).status_code == 201
    lamp = {"entities": [{"type": "Lamp", "id": "urn:ngsi-ld:Lamp:1"}]}
    for number, (mode, names, status) in enumerate(
        [("exclusive", ["power"], 409), ("exclusive", ["colour"], 201), ("redirect", ["power"], 409)], 20
    ):
        body = registration(number, mode=mode, information=[lamp | {"propertyNames": names}])
        assert (await client.post(CSR, json=body)).status_code == status, number
    change = {"mode": "redirect"}
    assert (await client.patch(f"{CSR}/{registration(8)['id']}", json=change)).status_code == 409


async def test_discovery(client: httpx.AsyncClient) -> None:
    bodies = [
        registration(1),
        registration(2, information=[{"entities": [{"type": "Vehicle", "id": "urn:ngsi-ld:Vehicle:7"}]}]),
        registration(3, information=[{"entities": [{"type": ["Lamp", "Device"], "idPattern": "urn:ngsi-ld:Lamp:.*"}]}]),
        registration(4, information=[{"propertyNames": ["temperature"]}], scope="/city/centre"),
        registration(5, observationInterval={"startAt": "2026-01-01T00:00:00Z", "endAt": "2026-02-01T00:00:00Z"}),
        registration(6, location={"type": "Point", "coordinates": [13.3, 52.5]}, owner={"city": "Berlin"}, rank=3),
        registration(
            7,
            information=[
                {"entities": [{"type": "Bus"}], "propertyNames": ["speed"]},
                {"entities": [{"type": "Tram"}], "propertyNames": ["line"]},
            ],
        ),
    ]
    for body in bodies:
        assert (await client.post(CSR, json=body)).status_code == 201, body

    async def found(**parameters: str) -> list[int]:
        answer = await client.get(CSR, params=parameters)
        assert answer.status_code == 200, answer.text
        return [int(one["id"].rsplit(":", 1)[1]) for one in answer.json()]

    assert await found(type="Vehicle") == [1, 2, 4, 6]
    assert await found(type="Vehicle", id="urn:ngsi-ld:Vehicle:9") == [1, 4, 6]
    assert await found(type="Lamp", id="urn:ngsi-ld:Lamp:9") == [3, 4]
    assert await found(type="Lamp", id="urn:ngsi-ld:Other:9") == [4]
    assert await found(type="Device;Lamp") == [3, 4]
    assert await found(type="Vehicle", idPattern=".*:Vehicle:[0-6]") == [1, 4, 6]
    assert await found(attrs="temperature") == [2, 3, 4]
    assert await found(type="Vehicle", attrs="speed") == [1, 2, 6]
    assert await found(type="Vehicle", scopeQ="/city/#") == [4]
    assert await found(type="Vehicle", timerel="after", timeAt="2026-01-15T00:00:00Z") == [5]
    assert await found(type="Vehicle", timerel="after", timeAt="2026-02-15T00:00:00Z") == []
    assert await found(type="Vehicle", timerel="before", timeAt="2025-02-15T00:00:00Z") == []
    near = {"georel": "near;maxDistance==2000", "geometry": "Point", "coordinates": "[13.31,52.5]"}
    assert await found(**near) == [6]
    assert await found(type="Vehicle", csf="rank>2") == [6]
    assert await found(type="Vehicle", csf='owner[city]=="Berlin"') == [6]
    tram = (await client.get(CSR, params={"type": "Tram", "attrs": "line"})).json()
    assert tram[0]["information"] == [bodies[6]["information"][1]]  # only what matches
    page = await client.get(CSR, params={"type": "Vehicle", "limit": "1", "offset": "1", "count": "true"})
    assert page.headers["ngsild-results-count"] == "4"
    assert [one["id"] for one in page.json()] == [bodies[1]["id"]]
    assert 'rel="next"' in page.headers["link"]
    assert 'rel="prev"' in page.headers["link"]
    for parameters in (
        {},
        {"id": "urn:a:b"},
        {"type": "Vehicle", "timerel": "after"},
        {"type": "Vehicle", "csf": "=="},
    ):
        assert (await client.get(CSR, params=parameters)).status_code == 400, parameters
    other = await client.get(CSR, params={"type": "Vehicle"}, headers={"NGSILD-Tenant": "nobody"})
    assert (other.status_code, other.json()["type"]) == (404, ERRORS + "NonexistentTenant")
    assert (await client.post(CSR, json=registration(1), headers={"NGSILD-Tenant": "a"})).status_code == 201
    mine = await client.get(CSR, params={"type": "Vehicle"}, headers={"NGSILD-Tenant": "a"})
    assert len(mine.json()) == 1


async def test_they_survive_and_expire(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        assert (await client.post(CSR, json=registration(1, colour="red"))).status_code == 201
        assert (await client.post(CSR, json=registration(2, expiresAt=future(1.5)))).status_code == 201
    async with serving(tmp_path) as client:
        assert (await client.get(f"{CSR}/{registration(1)['id']}")).json()["colour"] == "red"

        async def expired() -> bool:
            return (await client.get(f"{CSR}/{registration(2)['id']}")).status_code == 404

        await until(expired)


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A real HTTP receiver and the bodies that it got."""
    bodies: list[dict[str, Any]] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(h[15:]) for h in head.decode().split("\r\n") if h.lower().startswith("content-length:")
                )
                bodies.append(orjson.loads(await reader.readexactly(length)))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", bodies


def subscription(url: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "urn:ngsi-ld:Subscription:cs1",
        "type": "Subscription",
        "entities": [{"type": "Vehicle"}],
        "notification": {"endpoint": {"uri": url, "accept": "application/json"}},
        **more,
    }


async def test_subscribers_hear_of_registrations(tmp_path: Path) -> None:
    async with receiver() as (url, bodies), serving(tmp_path, notify_prefixes=(url,)) as client:
        assert (await client.post(CSR, json=registration(1))).status_code == 201
        made = await client.post(SUBS, json=subscription(url))
        assert (made.status_code, made.headers["location"]) == (201, f"{SUBS}/urn:ngsi-ld:Subscription:cs1")
        await until(lambda: len(bodies) == 1)  # what matches already
        first = bodies[0]
        assert (first["type"], first["triggerReason"]) == ("ContextSourceNotification", "newlyMatching")
        assert first["subscriptionId"] == "urn:ngsi-ld:Subscription:cs1"
        assert [one["id"] for one in first["data"]] == [registration(1)["id"]]
        steps = [
            ("post", CSR, registration(2), "newlyMatching"),
            ("post", CSR, registration(3, information=[{"entities": [{"type": "Lamp"}]}]), None),
            ("patch", f"{CSR}/{registration(2)['id']}", {"description": "fast ones"}, "updated"),
            (
                "patch",
                f"{CSR}/{registration(2)['id']}",
                {"information": [{"entities": [{"type": "Lamp"}]}]},
                "noLongerMatching",
            ),
            ("delete", f"{CSR}/{registration(3)['id']}", None, None),
            ("delete", f"{CSR}/{registration(1)['id']}", None, "noLongerMatching"),
            ("post", CSR, registration(4, expiresAt=future(1)), "newlyMatching"),
        ]
        told = ["newlyMatching"]
        for method, path, body, reason in steps:
            answer = await client.request(method, path, json=body)
            assert answer.status_code in (201, 204), answer.text
            told += [reason] if reason else []
            expected = len(told)
            await until(lambda expected=expected: len(bodies) == expected)
            assert [one["triggerReason"] for one in bodies] == told
        await until(lambda: len(bodies) == len(told) + 1)  # it expires
        assert bodies[-1]["triggerReason"] == "noLongerMatching"
        shown = (await client.get(f"{SUBS}/urn:ngsi-ld:Subscription:cs1")).json()

        async def counted() -> bool:
            got = (await client.get(f"{SUBS}/urn:ngsi-ld:Subscription:cs1")).json()
            return got["notification"].get("timesSent") == len(bodies) and got["status"] == "active"

        await until(counted)
        assert shown["entities"] == [{"type": "Vehicle"}]


async def test_what_comes_too_early_is_not_told(tmp_path: Path) -> None:
    async with receiver() as (url, bodies), serving(tmp_path, notify_prefixes=(url,)) as client:
        assert (await client.post(SUBS, json=subscription(url, throttling=1))).status_code == 201
        for number in (1, 2):
            assert (await client.post(CSR, json=registration(number))).status_code == 201
        await asyncio.sleep(1.1)
        assert (await client.post(CSR, json=registration(3))).status_code == 201
        await until(lambda: len(bodies) == 2)
        told = [one["id"] for body in bodies for one in body["data"]]
        assert told == [registration(number)["id"] for number in (1, 3)]


async def test_subscriptions_to_sources_are_managed_like_others(tmp_path: Path) -> None:
    async with receiver() as (url, bodies):
        async with serving(tmp_path, notify_prefixes=(url,)) as client:
            assert (await client.post(SUBS, json=subscription(url))).status_code == 201
            again = await client.post(SUBS, json=subscription(url))
            assert (again.status_code, again.json()["type"]) == (409, ERRORS + "AlreadyExists")
            assert (await client.post(SUBS, json=subscription(url, type="Sub"))).status_code == 400
            one = f"{SUBS}/urn:ngsi-ld:Subscription:cs1"
            assert (await client.patch(one, json={"isActive": False})).status_code == 204
            assert (await client.get(one)).json()["status"] == "paused"
            assert (await client.post(CSR, json=registration(1))).status_code == 201
            assert (await client.patch(one, json={"isActive": True})).status_code == 204
            await until(lambda: len(bodies) == 1)  # what matches after a change of the subscription
            assert bodies[0]["triggerReason"] == "newlyMatching"
            assert [d["id"] for d in bodies[0]["data"]] == [registration(1)["id"]]
            assert (await client.get(f"{ROOT}/subscriptions/urn:ngsi-ld:Subscription:cs1")).status_code == 404
        async with serving(tmp_path, notify_prefixes=(url,)) as client:  # after a restart
            assert [s["id"] for s in (await client.get(SUBS)).json()] == ["urn:ngsi-ld:Subscription:cs1"]
            assert (await client.post(CSR, json=registration(2))).status_code == 201
            await until(lambda: len(bodies) == 2)
            assert [d["id"] for d in bodies[1]["data"]] == [registration(2)["id"]]
            assert (await client.delete(one)).status_code == 204
            assert (await client.delete(one)).status_code == 404
            assert (await client.get(SUBS)).json() == []


async def test_an_interval_tells_all_that_match(tmp_path: Path) -> None:
    async with receiver() as (url, bodies), serving(tmp_path, notify_prefixes=(url,)) as client:
        assert (await client.post(SUBS, json=subscription(url, timeInterval=1))).status_code == 201
        for number in (1, 2):
            assert (await client.post(CSR, json=registration(number))).status_code == 201
        await until(lambda: len(bodies) >= 2)
        assert len(bodies[-1]["data"]) == 2


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(sorted([*registration(), "mode", "operations", "management", "scope", "x"])), JSON_VALUES)
def test_any_value_of_any_member_gets_an_answer(member: str, value: Any) -> None:
    try:
        parse_registration("", registration() | {member: value}, CONTEXT, "2026-01-01T00:00:00Z")
    except Problem as problem:
        assert problem.status == 400


def _core() -> Any:
    async def nothing(url: str) -> Any:
        raise OSError(url)

    return Contexts(nothing).core


CONTEXT = _core()
