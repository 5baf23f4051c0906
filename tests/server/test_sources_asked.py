"""A source that is registered over HTTP is asked; what became of it is counted."""

from __future__ import annotations

from pathlib import Path

from tests.server.federation import ROOT, brokers
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
