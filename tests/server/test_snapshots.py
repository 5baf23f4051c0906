"""Snapshots over real HTTP: what they hold, that they stay as they are, how they end, a restart, odd input."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.server.snapshots import service
from gateway.server.subscriptions import delivery
from tests.server.federation import odd
from tests.server.support import ROOT, serving, until

SNAP = "urn:ngsi-ld:Snapshot:test"
ROOMS = {"type": "Query", "entities": [{"type": "Room"}]}
EVER = {"timerel": "after", "timeAt": "2020-01-01T00:00:00Z"}


def room(number: int, t: object = 1, **more: Any) -> dict[str, Any]:
    value = {"type": "Property", "value": t, "observedAt": "2026-01-01T00:00:00Z"}
    return {"id": f"urn:ngsi-ld:Room:{number}", "type": "Room", "t": value, **more}


async def put(client: httpx.AsyncClient, *rooms: dict[str, Any], **headers: str) -> None:
    answer = await client.post(f"{ROOT}/entityOperations/upsert", json=rooms, headers=headers)
    assert answer.status_code in (201, 204), answer.text


async def make(client: httpx.AsyncClient, snapshot_id: str = SNAP, **members: Any) -> dict[str, Any]:
    if not members.keys() & {"snapshotQueries", "snapshotTemporalQueries"}:
        members["snapshotQueries"] = [ROOMS]
    answer = await client.post(f"{ROOT}/snapshots", json={"id": snapshot_id, "type": "Snapshot", **members})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"{ROOT}/snapshots/{snapshot_id}"
    return await ready(client, snapshot_id)


async def ready(client: httpx.AsyncClient, snapshot_id: str = SNAP) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            answer = await client.get(f"{ROOT}/snapshots/{snapshot_id}")
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            if found["snapshotStatus"] != "preparation":
                return found
            await asyncio.sleep(0.02)


async def seen(client: httpx.AsyncClient, snapshot_id: str = SNAP) -> list[Any]:
    headers = {"NGSILD-Snapshot": snapshot_id}
    answer = await client.get(f"{ROOT}/entities", params={"type": "Room", "options": "sysAttrs"}, headers=headers)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


async def gone(client: httpx.AsyncClient, snapshot_id: str = SNAP) -> None:
    async with asyncio.timeout(20):
        while (await client.get(f"{ROOT}/snapshots/{snapshot_id}")).status_code != 404:
            await asyncio.sleep(0.05)


async def test_a_snapshot_answers_as_the_broker_did(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await put(client, room(1), room(2, 5, u={"type": "Property", "value": 7}), {**room(3), "type": "House"})
        histories = [{**ROOMS, "temporalQ": EVER}]
        found = await make(client, snapshotTemporalQueries=histories, snapshotQueries=[ROOMS])
        assert found["snapshotStatus"] == "success"
        assert (
            found["snapshotQueriesDetails"] == found["snapshotTemporalQueriesDetails"] == [{"resultStatus": "success"}]
        )
        live = (await client.get(f"{ROOT}/entities", params={"type": "Room", "options": "sysAttrs"})).json()
        assert await seen(client) == live
        await client.patch(f"{ROOT}/entities/urn:ngsi-ld:Room:1/attrs", json={"t": 9})
        assert await seen(client) == live
        header = {"NGSILD-Snapshot": SNAP}
        one = await client.get(f"{ROOT}/temporal/entities/urn:ngsi-ld:Room:1", headers=header)
        assert one.json()["t"]["value"] == 1 if isinstance(one.json()["t"], dict) else len(one.json()["t"]) == 1
        types = (await client.get(f"{ROOT}/types", headers=header)).json()["typeList"]
        assert types == ["Room"]
        body = await client.post(f"{ROOT}/entityOperations/query", json={**ROOMS, "q": "t>3"}, headers=header)
        assert [entity["id"] for entity in body.json()] == ["urn:ngsi-ld:Room:2"]


async def test_attributes_and_status_words(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await put(client, room(1, u={"type": "Property", "value": 7}))
        await make(client, snapshotQueries=[{**ROOMS, "attrs": ["u"]}])
        assert "t" not in (await seen(client))[0] and (await seen(client))[0]["u"]["value"] == 7
        nothing = await make(client, f"{SNAP}:2", snapshotQueries=[{"type": "Query", "entities": [{"type": "None"}]}])
        assert nothing["snapshotStatus"] == "empty" and await seen(client, f"{SNAP}:2") == []


async def test_clones_and_writes_are_independent(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await put(client, room(1))
        await make(client)
        before = await seen(client)
        other = f"{SNAP}:clone"
        answer = await client.post(f"{ROOT}/snapshots/{SNAP}/clone", json={"type": "Snapshot", "id": other})
        assert answer.status_code == 201
        assert (await ready(client, other))["snapshotStatus"] == "success" and await seen(client, other) == before
        await put(client, room(1, 50), room(2), **{"NGSILD-Snapshot": other})
        assert len(await seen(client, other)) == 2 and await seen(client) == before
        assert len((await client.get(f"{ROOT}/entities", params={"type": "Room"})).json()) == 1
        assert (await client.delete(f"{ROOT}/snapshots/{SNAP}")).status_code == 204
        assert (await client.get(f"{ROOT}/snapshots/{SNAP}")).status_code == 404
        assert len(await seen(client, other)) == 2
        again = await client.post(f"{ROOT}/snapshots/{other}/clone", json={"type": "Snapshot", "id": other})
        assert again.status_code == 409


async def test_lifetime_expiry_change_and_purge(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await put(client, room(1))
        short = await make(client, snapshotLifetime="PT1S", snapshotPriority=3)
        assert short["expiresAt"] > short["createdAt"]
        await gone(client)
        long = await make(client, f"{SNAP}:2", snapshotLifetime="P10Y", snapshotPriority=3)
        assert int(long["expiresAt"][:4]) <= int(long["createdAt"][:4]) + 1, "bounded by the broker"
        change = {"snapshotPriority": 9, "snapshotLifetime": "PT1H", "snapshotStatus": "nonsense"}
        assert (await client.patch(f"{ROOT}/snapshots/{SNAP}:2", json=change)).status_code == 204
        found = (await client.get(f"{ROOT}/snapshots/{SNAP}:2")).json()
        assert (found["snapshotPriority"], found["snapshotStatus"]) == (9, "success")
        assert found["expiresAt"] < long["expiresAt"]
        assert (await client.delete(f"{ROOT}/snapshots")).status_code == 400
        for q, left in (("snapshotPriority<5", 200), ('snapshotStatus=="success"', 404)):
            assert (await client.delete(f"{ROOT}/snapshots", params={"q": q})).status_code == 204
            assert (await client.get(f"{ROOT}/snapshots/{SNAP}:2")).status_code == left, q


async def test_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    async with serving(tmp_path) as client:
        await put(client, room(1))
        await make(client)
        before = await seen(client)
        with monkeypatch.context() as patch:
            patch.setattr(service, "fill", never)
            body = {"id": f"{SNAP}:2", "type": "Snapshot", "snapshotQueries": [ROOMS]}
            assert (await client.post(f"{ROOT}/snapshots", json=body)).status_code == 201
            early = await client.get(
                f"{ROOT}/entities", params={"type": "Room"}, headers={"NGSILD-Snapshot": body["id"]}
            )
            assert early.status_code == 409
    async with serving(tmp_path) as client:
        assert await seen(client) == before
        assert (await ready(client, f"{SNAP}:2"))["snapshotStatus"] == "success"
        assert await seen(client, f"{SNAP}:2") == before


async def test_the_endpoint_is_told(tmp_path: Path) -> None:
    async with odd(POST=(200, {})) as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        await put(client, room(1))
        info = [{"key": "X-Key", "value": "secret"}]
        await make(client, endpoint=f"{receiver.url}/told", receiverInfo=info)
        await client.delete(f"{ROOT}/snapshots/{SNAP}")
        async with asyncio.timeout(20):
            while len(receiver.seen) < 2:
                await asyncio.sleep(0.02)
        bodies = sorted((one.body for one in receiver.seen), key=lambda body: str(body["notifiedAt"]))
        assert {body["type"] for body in bodies} == {"SnapshotNotification"}
        assert {body["snapshotId"] for body in bodies} == {SNAP} and receiver.seen[0].headers["x-key"] == "secret"
        assert bodies[-1]["expiresAt"] <= bodies[-1]["notifiedAt"] < bodies[0]["expiresAt"]


async def test_what_the_endpoint_is_told_outlives_a_restart_and_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "BACK_OFF_S", 0.02)
    async with odd(POST=(503, {})) as receiver:
        async with serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
            await make(client, endpoint=f"{receiver.url}/told")
            await client.patch(f"{ROOT}/snapshots/{SNAP}", json={"snapshotPriority": 3})
            assert (await client.delete(f"{ROOT}/snapshots/{SNAP}")).status_code == 204
            await until(lambda: bool(receiver.seen))
            assert (await client.get(f"{ROOT}/snapshots/{SNAP}")).status_code == 404
        refused = len(receiver.seen)
        receiver.answers["POST"] = (200, {})
        async with serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
            await until(lambda: len(receiver.seen) == refused + 3)
            told = [one.body for one in receiver.seen[refused:]]
            assert told[0] == receiver.seen[0].body, "the same id"
            assert [one["notifiedAt"] for one in told] == sorted(one["notifiedAt"] for one in told)
            assert told[-1]["expiresAt"] <= told[-1]["notifiedAt"] < told[0]["expiresAt"]
            await make(client)
            assert (await client.get("/metrics")).text.count("lamppost_server_subscriptions 0\n") == 1


async def test_a_snapshot_whose_endpoint_is_gone_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "BACK_OFF_S", 0.2)
    monkeypatch.setattr(delivery, "ATTEMPTS_MAX", 4)
    monkeypatch.setattr(service, "PAUSE_S", 0.05)
    async with odd(POST=(503, {})) as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        await make(client, endpoint=f"{receiver.url}/told")
        await client.delete(f"{ROOT}/snapshots/{SNAP}")
        await make(client, endpoint=f"{receiver.url}/told")  # while the first one's receiver is still to be told
        await client.delete(f"{ROOT}/snapshots/{SNAP}")

        async def none_waits() -> bool:
            lines = (await client.get("/metrics")).text.splitlines()
            names = ("lamppost_server_notifications_waiting", "lamppost_server_notifications_dead")
            return all(f"{name} 0" in lines for name in names)

        await until(lambda: len({one.body["id"] for one in receiver.seen}) == 4, 20)
        await until(none_waits, 20)


@pytest.mark.parametrize("url", ["mqtt://example.org", "mqtt://example.org/a/%2B", "ftp://example.org/"])
async def test_endpoints_that_are_none(tmp_path: Path, url: str) -> None:
    async with serving(tmp_path) as client:
        body = {"type": "Snapshot", "snapshotQueries": [ROOMS]}
        refused = await client.post(f"{ROOT}/snapshots", json={**body, "endpoint": url})
        assert refused.status_code == 400 and refused.json()["detail"].startswith("/endpoint")
        info = [{"key": "Content-Length", "value": "5"}]
        refused = await client.post(f"{ROOT}/snapshots", json={**body, "receiverInfo": info})
        assert refused.status_code == 400 and refused.json()["detail"].startswith("/receiverInfo/0/key")


async def test_a_subscription_in_a_snapshot_tells_of_its_writes(tmp_path: Path) -> None:
    async with odd(POST=(200, {})) as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        await put(client, room(1))
        await make(client)
        header = {"NGSILD-Snapshot": SNAP}
        notification = {"endpoint": {"uri": f"{receiver.url}/told", "accept": "application/json"}}
        body = {"type": "Subscription", "entities": [{"type": "Room"}], "notification": notification}
        made = await client.post(f"{ROOT}/subscriptions", json=body, headers=header)
        assert made.status_code == 201 and (await client.get(f"{ROOT}/subscriptions")).json() == []
        await put(client, room(1, 3))  # outside: nothing for this subscription
        await put(client, room(1, 4), **header)
        async with asyncio.timeout(20):
            while not receiver.seen:
                await asyncio.sleep(0.02)
        (told,) = receiver.seen
        assert told.body["data"][0]["t"]["value"] == 4
        assert told.headers["ngsild-snapshot"] == SNAP and "ngsild-tenant" not in told.headers


async def test_tenants_and_unknown_ones(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await put(client, room(1))
        await make(client)
        await put(client, room(2), **{"NGSILD-Tenant": "other"})
        headers = {"NGSILD-Tenant": "other", "NGSILD-Snapshot": SNAP}
        for path in (f"snapshots/{SNAP}", "entities?type=Room"):
            assert (await client.get(f"{ROOT}/{path}", headers=headers)).status_code == 404
        for name in (f"{SNAP}:no", "nonsense", "a b"):
            answer = await client.get(f"{ROOT}/entities?type=Room", headers={"NGSILD-Snapshot": name})
            assert answer.status_code == (404 if name == f"{SNAP}:no" else 400)
        again = await client.post(
            f"{ROOT}/snapshots", json={"id": SNAP, "type": "Snapshot", "snapshotQueries": [ROOMS]}
        )
        assert again.status_code == 409
        forged = {"NGSILD-Tenant": f"other {SNAP}"}
        hidden = await client.get(f"{ROOT}/entities?type=Room", headers=forged)
        assert hidden.status_code == 400


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "/snapshotQueries"),
    ({"snapshotQueries": []}, "/snapshotQueries"),
    ({"snapshotQueries": [5]}, "/snapshotQueries/0"),
    ({"snapshotQueries": [{**ROOMS, "temporalQ": EVER}]}, "/snapshotQueries/0/temporalQ"),
    ({"snapshotTemporalQueries": [ROOMS]}, "/snapshotTemporalQueries/0/temporalQ"),
    ({"snapshotQueries": [{"type": "Query"}]}, "/snapshotQueries/0"),
    ({"snapshotQueries": [{**ROOMS, "q": "((("}]}, "/snapshotQueries/0"),
    ({"snapshotQueries": [ROOMS], "snapshotPriority": 11}, "/snapshotPriority"),
    ({"snapshotQueries": [ROOMS], "snapshotPriority": True}, "/snapshotPriority"),
    ({"snapshotQueries": [ROOMS], "snapshotLifetime": "soon"}, "/snapshotLifetime"),
    ({"snapshotQueries": [ROOMS], "snapshotLifetime": "PT0S"}, "/snapshotLifetime"),
    ({"snapshotQueries": [ROOMS], "endpoint": "ftp://a.b"}, "/endpoint"),
    ({"snapshotQueries": [ROOMS], "receiverInfo": [{"key": "a b", "value": ""}]}, "/receiverInfo/0/key"),
    ({"snapshotQueries": [ROOMS], "id": "x"}, "/id"),
    ({"snapshotQueries": [ROOMS], "nonsense": 1}, "/nonsense"),
]


async def test_refusals_say_where(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        for members, place in WRONG:
            answer = await client.post(f"{ROOT}/snapshots", json={"type": "Snapshot", **members})
            assert answer.status_code == 400 and answer.json()["detail"].startswith(place), (members, answer.text)
        assert (await client.post(f"{ROOT}/snapshots", json={"type": "Nothing"})).status_code == 400
        assert (await client.get(f"{ROOT}/snapshots/nonsense")).status_code == 400
        assert (await client.patch(f"{ROOT}/snapshots/{SNAP}", json={"snapshotPriority": 1})).status_code == 404


async def test_odd_input_and_changes_of_live_entities(tmp_path: Path) -> None:
    """Anything gets an answer that is no 500, and what lives may do what it likes: the snapshot stays."""
    odd_json = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda part: st.lists(part, max_size=2)
    )
    names = st.sampled_from(
        ["snapshotQueries", "snapshotTemporalQueries", "snapshotLifetime", "endpoint", "receiverInfo", "id"]
    )
    loop = asyncio.get_running_loop()
    async with serving(tmp_path) as client:
        await put(client, *(room(number) for number in range(5)))
        await make(client)
        frozen = await seen(client)

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(
            members=st.dictionaries(names, odd_json, max_size=3),
            number=st.integers(0, 6),
            what=st.sampled_from(["put", "delete", "patch"]),
            value=st.integers(),
        )
        def examples(members: dict[str, Any], number: int, what: str, value: int) -> None:
            asyncio.run_coroutine_threadsafe(one(members, number, what, value), loop).result(30)

        async def one(members: dict[str, Any], number: int, what: str, value: int) -> None:
            for method, path in (
                ("POST", "snapshots"),
                ("PATCH", f"snapshots/{SNAP}:no"),
                ("POST", f"snapshots/{SNAP}/clone"),
            ):
                content = {"type": "Snapshot", **members}
                answer = await client.request(method, f"{ROOT}/{path}", json=content)
                assert answer.status_code < 500, answer.text
            entity = f"{ROOT}/entities/urn:ngsi-ld:Room:{number}"
            if what == "put":
                await put(client, room(number, value % 1000))
            elif what == "delete":
                await client.delete(entity)
            else:
                await client.patch(f"{entity}/attrs", json={"t": value % 1000})
            assert await seen(client) == frozen

        started = time.monotonic()
        await asyncio.to_thread(examples)
        assert time.monotonic() - started < 60
