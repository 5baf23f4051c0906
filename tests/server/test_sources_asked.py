"""A source that is registered over HTTP is asked; what became of it is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.server.federation import ROOT, brokers, odd, register
from tests.server.support import until


async def test_a_registered_broker_answers(tmp_path: Path) -> None:
    async with brokers(tmp_path, "here", "there") as (here, there):
        entity = {"id": "urn:ngsi-ld:Vehicle:1", "type": "Vehicle", "speed": {"type": "Property", "value": 50}}
        assert (await there.post("/entities", entity)).status_code == 201
        body = {
            "id": "urn:ngsi-ld:ContextSourceRegistration:there",
            "type": "ContextSourceRegistration",
            "information": [{"entities": [{"type": "Vehicle"}]}],
            "endpoint": there.url,
        }
        assert (await here.post("/csourceRegistrations", body)).status_code == 201
        assert [one["id"] for one in (await here.get("/entities", type="Vehicle")).json()] == [entity["id"]]
        assert (await here.get(f"/entities/{entity['id']}")).json()["speed"]["value"] == 50

        async def counted() -> bool:
            shown = (await here.get(f"/csourceRegistrations/{body['id']}")).json()
            return bool(shown.get("timesSent", 0) >= 2 and shown["status"] == "ok" and shown["lastSuccess"])

        await until(counted)
        assert (await here.client.delete(f"{ROOT}/csourceRegistrations/{body['id']}")).status_code == 204
        assert (await here.get("/entities", type="Vehicle")).json() == []


async def test_csf_chooses_by_what_a_registration_says(tmp_path: Path) -> None:
    async with brokers(tmp_path, "here", "there") as (here, there):
        entity = {"id": "urn:ngsi-ld:Vehicle:1", "type": "Vehicle", "speed": {"type": "Property", "value": 50}}
        assert (await there.post("/entities", entity)).status_code == 201
        body = {
            "type": "ContextSourceRegistration",
            "registrationName": "there",
            "information": [{"entities": [{"type": "Vehicle"}]}],
            "endpoint": there.url,
        }
        assert (await here.post("/csourceRegistrations", body)).status_code == 201
        for name, count in (("there", 1), ("elsewhere", 0)):
            csf = f'registrationName=="{name}"'
            assert len((await here.get("/entities", type="Vehicle", csf=csf)).json()) == count, name
            assert len((await here.get("/csourceRegistrations", type="Vehicle", csf=csf)).json()) == count, name


SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}
DAY = {"startAt": "2026-01-01T00:00:00Z", "endAt": "2026-01-02T00:00:00Z"}
NEAR = {"georel": "near;maxDistance==1000", "geometry": "Point"}
TIME = {"timerel": "after"}


@pytest.mark.parametrize(
    ("member", "path", "good", "bad"),
    [
        ({"location": SQUARE}, "/entities", {**NEAR, "coordinates": "[0.5,0.5]"}, {**NEAR, "coordinates": "[9,9]"}),
        ({"scope": "/a/b"}, "/entities", {"scopeQ": "/a/#"}, {"scopeQ": "/c/#"}),
        ({"datasetId": ["urn:d:1"]}, "/entities", {"datasetId": "urn:d:1"}, {"datasetId": "urn:d:2"}),
        ({"datasetId": ["urn:d:1"]}, "/entities/urn:r:1", {"datasetId": "urn:d:1"}, {"datasetId": "urn:d:2"}),
        (
            {"observationInterval": DAY},
            "/temporal/entities",
            {**TIME, "timeAt": "2026-01-01T12:00:00Z"},
            {**TIME, "timeAt": "2026-02-01T00:00:00Z"},
        ),
        ({"managementInterval": DAY}, "/temporal/entities/urn:r:1", {}, None),
    ],
)
async def test_a_source_is_asked_for_what_it_may_have_only(
    tmp_path: Path, member: dict[str, Any], path: str, good: dict[str, str], bad: dict[str, str] | None
) -> None:
    operations = ["queryEntity", "retrieveEntity", "queryTemporal", "retrieveTemporal"]
    kind = {} if path.endswith("1") else {"type": "Room"}
    async with odd(GET=(200, [])) as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        await register(a, source.url, operations=operations, **member)
        if bad is None:
            await a.get("/entities", type="Room")  # it has history only
        else:
            await a.get(path, **kind, **bad)
        assert not source.seen
        await a.get(path, **kind, **good)
        assert [seen.path for seen in source.seen] == [path]
