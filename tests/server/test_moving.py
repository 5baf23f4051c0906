"""From the embedded database into PostgreSQL: the same questions have the same answers afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.postgres_server import Databases, postgres
from tests.server.support import LD, LINK, ROOT, meter, serving, until, upsert
from tests.server.test_subscriptions import URL, receiving, subscription

J = {"Content-Type": "application/json"}
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    with postgres() as url:
        yield Databases(url)


def command(data: Path, url: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "gateway.cli.main", "server", "move", "--data", str(data), "--to", url, "--json"]
    return subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)


async def fill(client: httpx.AsyncClient, dead: str) -> None:
    """Entities of two tenants with history (late, replaced, deleted), sources, contexts, notifications in vain."""
    refused = subscription(dead)
    assert (await client.post(URL, json=refused, headers=LD)).status_code == 201
    for number in range(1, 4):
        for second in (3, 1, 2, 2):
            await upsert(client, meter(number, 10.0 * second + number, f"2026-01-01T00:00:{second:02}Z"))
    changed = {"type": "Property", "value": 99.5, "observedAt": "2026-01-01T00:00:03Z"}
    one = f"{ROOT}/entities/urn:ngsi-ld:ACMeasurement:test:1/attrs/totalActivePower"
    assert (await client.patch(one, json=changed, headers={**J, **LINK})).status_code == 204
    assert (await client.delete(f"{ROOT}/entities/urn:ngsi-ld:ACMeasurement:test:3")).status_code == 204
    room = {
        "id": "urn:ngsi-ld:Room:1",
        "type": "Room",
        "scope": "/a/b",
        "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [5.0, 52.0]}},
        "heat": [{"value": 1}, {"value": 2, "datasetId": "urn:d:1"}],
        "expiresAt": "2099-01-01T00:00:00Z",
    }
    tenant = {**J, "NGSILD-Tenant": "city"}
    assert (await client.post(f"{ROOT}/entities", json=room, headers=tenant)).status_code == 201
    source = {
        "id": "urn:ngsi-ld:ContextSourceRegistration:1",
        "type": "ContextSourceRegistration",
        "information": [{"entities": [{"type": "Far"}]}],
        "endpoint": "http://example.org",
    }
    assert (await client.post(f"{ROOT}/csourceRegistrations", json=source, headers=J)).status_code == 201
    hosted = {"@context": {"x": "https://example.org/x"}}
    assert (await client.post(f"{ROOT}/jsonldContexts", json=hosted, headers=J)).status_code == 201


ASKED = (
    ("entities?type=ACMeasurement&options=sysAttrs", ""),
    ("entities?type=ACMeasurement&q=totalActivePower%3E90", ""),
    ("temporal/entities?type=ACMeasurement&timerel=after&timeAt=2020-01-01T00:00:00Z&options=sysAttrs", ""),
    ("temporal/entities/urn:ngsi-ld:ACMeasurement:test:3?timeproperty=deletedAt", ""),
    ("entities/urn:ngsi-ld:Room:1?options=sysAttrs", "city"),
    ("entities?type=Room&georel=near;maxDistance==1000&geometry=Point&coordinates=[5.0,52.0]", "city"),
    ("temporal/entities/urn:ngsi-ld:Room:1?timeproperty=createdAt", "city"),
    ("types?details=true", ""),
    ("csourceRegistrations?type=Far", ""),
    ("jsonldContexts", ""),
)


async def answers(client: httpx.AsyncClient) -> list[Any]:
    """What the server says of all that."""
    said = []
    for path, tenant in ASKED:
        headers = {**LINK, **({"NGSILD-Tenant": tenant} if tenant else {})}
        answer = await client.get(f"{ROOT}/{path}", headers=headers)
        said.append((path, answer.status_code, strip(answer.json())))
    return said


def strip(told: Any) -> Any:
    """Without what asking changes: how often sources were asked in vain."""
    counted = {"status", "timesSent", "timesFailed", "lastFailure"}
    if isinstance(told, list):
        named = [str(one).rpartition("/")[2] if isinstance(one, str) else one for one in told]  # not of this port
        return [{k: v for k, v in one.items() if k not in counted} if isinstance(one, dict) else one for one in named]
    return told


async def test_the_same_answers_afterwards(databases: Databases, tmp_path: Path) -> None:
    async with receiving() as receiver:
        closed = receiver.url.replace(str(httpx.URL(receiver.url).port), "1")
        async with serving(tmp_path / "data", notify_prefixes=(closed,)) as client:
            await fill(client, closed)
            busy = command(tmp_path / "data", databases.url(tmp_path / "busy"))
            assert busy.returncode == 1
            assert "error[server." in busy.stderr, "a server runs there"
            before = await answers(client)
            known = (await client.get(f"{URL}/urn:ngsi-ld:Subscription:1")).json()
    url = databases.url(tmp_path / "new")
    done = command(tmp_path / "data", url)
    assert done.returncode == 0, done.stderr
    moved = json.loads(done.stdout)
    assert moved["tenants"] == 2
    assert moved["entities"] == 3
    assert moved["notes"] > 0
    async with serving(tmp_path / "other", database=url, notify_prefixes=(closed,)) as client:
        assert await answers(client) == before
        now = (await client.get(f"{URL}/urn:ngsi-ld:Subscription:1")).json()
        assert now["notification"]["timesSent"] >= known["notification"]["timesSent"] > 0
        await upsert(client, meter(1, 123.0, "2026-01-01T00:01:00Z"))
        path = f"{ROOT}/temporal/entities/urn:ngsi-ld:ACMeasurement:test:1"
        instances = (await client.get(path, headers=LINK)).json()["totalActivePower"]
        assert len({one["instanceId"] for one in instances}) == len(instances), "numbers go on"
        await until(lambda: waits(client))
    again = command(tmp_path / "data", url)
    assert again.returncode == 1
    assert "error[server.database-not-empty]" in again.stderr


async def waits(client: httpx.AsyncClient) -> bool:
    """Whether notifications that were not delivered before are tried still."""
    metrics = (await client.get("/metrics")).text
    return any(
        line.startswith("lamppost_server_notifications_waiting ") and not line.endswith(" 0")
        for line in metrics.splitlines()
    )


def test_what_cannot_be_moved_is_said(databases: Databases, tmp_path: Path) -> None:
    for data, url, code in (
        (tmp_path, databases.url(tmp_path), "server.nothing-to-move"),
        (tmp_path / "data", "postgresql://nobody@127.0.0.1:1/x", "server.database-unusable"),
    ):
        if data.name == "data":
            data.mkdir()
            (data / "server.db").touch()
        done = command(data, url)
        assert done.returncode == 1
        assert f"error[{code}]" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
