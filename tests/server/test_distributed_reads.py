"""Retrieve and query with other sources: real brokers, and sources that behave oddly."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.server.federation import Server, brokers, odd, register, room

ONE = "/entities/urn:ngsi-ld:Room:1"
ATTRIBUTES = [{"entities": [{"type": "Room", "id": "urn:ngsi-ld:Room:1"}], "propertyNames": ["humidity"]}]


async def made(server: Server, *entities: dict[str, Any]) -> None:
    for entity in entities:
        answer = await server.post("/entities", entity, local="true")
        assert answer.status_code == 201, answer.text


async def test_an_inclusive_source_is_merged_with_what_is_here(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        await made(a, room(1, temperature=20, floor=1))
        await made(b, room(1, humidity=50, floor=2), room(2, humidity=60))
        await register(a, b.url)
        one = (await a.get(ONE)).json()
        assert one["temperature"]["value"] == 20 and one["humidity"]["value"] == 50
        assert one["floor"]["value"] == 2  # written later
        assert "modifiedAt" not in one
        found = await a.get("/entities", type="Room", options="keyValues", count="true")
        assert [(e["id"][-1], e.get("humidity")) for e in found.json()] == [("1", 50), ("2", 60)]
        assert found.headers["NGSILD-Results-Count"] == "2"
        assert "humidity" not in (await a.get(ONE, local="true")).json()
        assert (await a.get("/entities", type="Room", local="true", count="true")).headers[
            "ngsild-results-count"
        ] == "1"


async def test_a_source_is_asked_plainly_and_for_dates_only_where_they_decide(tmp_path: Path) -> None:
    dates = {"options": "sysAttrs"}
    later = {"type": "Property", "value": 3, "modifiedAt": "2036-01-01T00:00:00Z"}
    async with odd() as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        await made(a, room(1, temperature=1))
        await register(a, source.url)

        async def asked(theirs: dict[str, Any]) -> list[dict[str, str]]:
            source.seen.clear()
            source.answers = {f"GET {ONE}": (200, theirs), "GET /entities": (200, [theirs])}
            one, several = (await a.get(ONE)).json(), (await a.get("/entities", type="Room")).json()
            assert several == [one]
            assert one.get("temperature", {"value": 1})["value"] == theirs.get("temperature", {"value": 1})["value"]
            return [seen.query for seen in source.seen]

        kind = {"type": "Room"}
        assert await asked(room(1, humidity=5)) == [{}, kind]
        assert await asked(room(1, temperature=1)) == [{}, kind]
        assert await asked({**room(1), "temperature": later}) == [{}, kind]
        source.answers[f"GET {ONE}"] = (200, room(1, temperature=2))
        source.seen.clear()
        assert (await a.get(ONE)).json()["temperature"]["value"] == 1, "it gave no dates at all"
        assert [seen.query for seen in source.seen] == [{}, dates]
        source.answers["GET /entities"] = (200, [room(1, temperature=2)])
        await a.get("/entities", type="Room")
        assert [seen.query for seen in source.seen[2:]] == [kind, kind | dates]


async def test_a_source_has_pages_of_its_own_size(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        await made(b, *(room(n, temperature=n) for n in range(45)))
        await register(a, b.url)
        counted = await a.get("/entities", type="Room", count="true")
        assert counted.headers["ngsild-results-count"] == "45" and len(counted.json()) == 20
        pages = [await a.get("/entities", type="Room", offset=str(n)) for n in (0, 20, 40)]
        assert [e["temperature"]["value"] for page in pages for e in page.json()] == list(range(45))
        assert ['rel="next"' in page.headers["link"] for page in pages] == [True, True, False]


async def test_the_newest_observation_wins_wherever_it_is(tmp_path: Path) -> None:
    def seen(value: int, at: str) -> dict[str, Any]:
        return {"type": "Property", "value": value, "observedAt": at}

    async with brokers(tmp_path, "a", "b") as (a, b):
        old, new = seen(1, "2026-01-01T00:00:00Z"), seen(2, "2026-01-02T00:00:00Z")
        await made(a, {**room(1), "p": new, "q": old, "r": {**old, "datasetId": "urn:d:1"}})
        await made(b, {**room(1), "p": old, "q": new, "r": {**new, "datasetId": "urn:d:2"}})
        await register(a, b.url)
        one = (await a.get(ONE, options="keyValues")).json()
        assert (one["p"], one["q"]) == (2, 2)
        assert one["r"] == {"dataset": {"urn:d:1": 1, "urn:d:2": 2}} or one["r"] == {
            "dataset": {"urn:d:2": 2, "urn:d:1": 1}
        }


async def test_an_exclusive_source_has_its_attributes_alone(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        await made(a, room(1, temperature=20))
        await made(b, room(1, humidity=50, temperature=99))
        await register(a, b.url, mode="exclusive", information=ATTRIBUTES)
        assert (await a.get(ONE, options="keyValues")).json() == {
            "id": "urn:ngsi-ld:Room:1",
            "type": "Room",
            "temperature": 20,
            "humidity": 50,
        }
        found = (await a.get("/entities", type="Room", options="keyValues")).json()
        assert found == [{"id": "urn:ngsi-ld:Room:1", "type": "Room", "temperature": 20, "humidity": 50}]


async def test_a_redirect_source_hides_what_is_here(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        await register(a, b.url, mode="redirect")
        await made(a, room(1, temperature=20))
        await made(b, room(1, temperature=21))
        assert (await a.get(ONE, options="keyValues")).json()["temperature"] == 21
        assert (await a.get("/entities", type="Room", options="keyValues")).json()[0]["temperature"] == 21


async def test_an_auxiliary_source_only_adds(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        await made(a, room(1, temperature=20))
        await made(b, room(1, temperature=21, humidity=50), room(2, humidity=60))
        await register(a, b.url, mode="auxiliary", operations=["retrieveOps"])
        one = (await a.get(ONE, options="keyValues")).json()
        assert (one["temperature"], one["humidity"]) == (20, 50)
        assert [e["id"] for e in (await a.get("/entities", type="Room")).json()] == ["urn:ngsi-ld:Room:1"]
        assert (await a.get("/entities/urn:ngsi-ld:Room:2")).status_code == 404


@pytest.mark.parametrize(
    ("answer", "status"), [((500, {}), 502), ((404, {}), 404), ((508, {}), 508), ((200, b"{no"), 502), ((200, []), 502)]
)
async def test_what_a_single_owner_fails_with(tmp_path: Path, answer: tuple[int, Any], status: int) -> None:
    async with odd(GET=answer) as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        await register(a, source.url, mode="redirect")
        assert (await a.get(ONE)).status_code == status
        query = await a.get("/entities", type="Room")
        assert query.status_code == 200 and query.json() == []
        assert ("NGSILD-Warning" in query.headers) == (answer not in ((404, {}), (200, [])))


async def test_a_slow_source_is_left_out_with_a_warning_and_given_a_rest(tmp_path: Path) -> None:
    async with odd() as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        source.delay_s = 5
        await made(a, room(1, temperature=20))
        name = await register(a, source.url, management={"timeout": 200, "cooldown": 60_000})
        started = time.monotonic()
        answer = await a.get(ONE)
        assert answer.status_code == 200 and answer.json()["temperature"]["value"] == 20
        assert answer.headers["NGSILD-Warning"].startswith(f"199 {name} ")
        assert time.monotonic() - started < 4
        seen = len(source.seen)
        assert "199" in (await a.get("/entities", type="Room")).headers["NGSILD-Warning"]
        assert len(source.seen) == seen == 1
        nine = [{"entities": [{"type": "Room", "id": "urn:ngsi-ld:Room:9"}]}]
        members = {"mode": "redirect", "management": {"timeout": 200}, "information": nine}
        redirect = await register(a, source.url, **members)
        gone = await a.get("/entities/urn:ngsi-ld:Room:9")
        assert gone.status_code == 504 and redirect in gone.json()["detail"]


async def test_a_loop_ends_and_is_told(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        await made(a, room(1, temperature=20))
        await made(b, room(1, humidity=50))
        await register(a, b.url)
        await register(b, a.url)
        one = await a.get(ONE, options="keyValues")
        assert one.json() == {"id": "urn:ngsi-ld:Room:1", "type": "Room", "temperature": 20, "humidity": 50}
        back = await a.client.get("/ngsi-ld/v1" + ONE, headers={"Via": "1.1 x, 1.1 A"})
        assert back.status_code == 508
        nine = [{"entities": [{"type": "Room", "id": "urn:ngsi-ld:Room:9"}]}]
        await register(a, b.url, mode="redirect", information=nine)
        await register(b, a.url, mode="redirect", information=nine)
        assert (await a.get("/entities/urn:ngsi-ld:Room:9")).status_code == 508
        assert (await a.post("/entities", room(9, t=1))).status_code == 508


async def test_a_known_alias_is_not_asked_again(tmp_path: Path) -> None:
    async with odd() as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        await register(a, source.url, contextSourceAlias="X")
        await made(a, room(1, temperature=20))
        answer = await a.client.get("/ngsi-ld/v1" + ONE, headers={"Via": "1.1 x"})
        assert answer.status_code == 200 and not source.seen and "ngsild-warning" not in answer.headers


async def test_headers_that_a_source_gets(tmp_path: Path) -> None:
    async with odd(GET=(200, [])) as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        info = [
            {"key": "X-Key", "value": "secret"},
            {"key": "X-Trace", "value": "urn:ngsi-ld:request"},
            {"key": "X-None", "value": "urn:ngsi-ld:request"},
            {"key": "Host", "value": "evil"},
            {"key": "NGSILD-Tenant", "value": "evil"},
        ]
        members = {"contextSourceInfo": info, "tenant": "t2", "management": {"localOnly": True}}
        await register(a, source.url, "t1", **members)
        headers = {"NGSILD-Tenant": "t1", "X-Trace": "7", "Via": "1.1 front"}
        await a.client.get("/ngsi-ld/v1/entities", params={"type": "Room"}, headers=headers)
        got = source.seen[0]
        assert got.headers["via"] == "1.1 front, 1.1 a-t1" and got.headers["ngsild-tenant"] == "t2"
        assert got.headers["x-key"] == "secret" and got.headers["x-trace"] == "7" and "x-none" not in got.headers
        assert got.headers["host"] in source.url and got.query["local"] == "true"
        assert (await a.get("/entities", type="Room")).json() == [] and len(source.seen) == 1  # another tenant


async def test_a_source_is_spoken_to_in_its_own_context(tmp_path: Path) -> None:
    theirs = "https://context.test/theirs.jsonld"
    entity = {"id": "urn:ngsi-ld:Room:1", "type": "Zimmer", "feuchte": {"type": "Property", "value": 5}}
    file = tmp_path / "theirs.jsonld"
    names = {"Zimmer": "https://uri.etsi.org/ngsi-ld/default-context/Room", "feuchte": "urn:x:humidity"}
    file.write_bytes(orjson.dumps({"@context": names}))
    async with (
        odd(GET=(200, [entity])) as source,
        brokers(tmp_path, "a", sources=[source], files={theirs: file}) as (a,),
    ):
        info = [{"key": "jsonldContext", "value": theirs}]
        await register(a, source.url, contextSourceInfo=info)
        for q, count in (("", 1), ("urn:x:humidity==5", 1), ("urn:x:humidity==6", 0)):
            asked = {"q": q} if q else {}
            found = (await a.get("/entities", type="Room", options="keyValues", **asked)).json()
            assert len(found) == count
            if found:
                assert found[0] == {"id": "urn:ngsi-ld:Room:1", "type": "Room", "urn:x:humidity": 5}
        assert source.seen[0].query["type"] == "Zimmer" and theirs in source.seen[0].headers["link"]


async def test_formats_that_a_source_wants_and_texts_that_no_header_can_hold(tmp_path: Path) -> None:
    bad = {**room(1), "a\r\nSet-Cookie: x=1": 1}
    answers = {"GET": (200, [bad]), "POST": (400, {"detail": 'n"o\r\nX: 1'})}
    async with odd(**answers) as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        media = "application/ld+json"
        info = [{"key": "accept", "value": media}, {"key": "contentType", "value": media}]
        name = await register(a, source.url, contextSourceInfo=info)
        for path, parameters in (("/entities", {"type": "Room"}), ("/types", {"details": "true"})):
            answer = await a.get(path, **parameters)
            assert answer.status_code == 200 and "set-cookie" not in answer.headers
        assert source.seen[0].headers["accept"] == media
        answer = await a.post("/entityOperations/query", {"type": "Query", "entities": [{"type": "Room"}]})
        assert answer.headers["NGSILD-Warning"] == f'299 {name} "n\'o  X: 1"' and "x" not in answer.headers
        got = source.seen[-1]
        assert got.headers["content-type"] == media and "link" not in got.headers
        assert got.body["@context"].startswith("https://uri.etsi.org/ngsi-ld/v1/")


async def test_csf_chooses_among_sources(tmp_path: Path) -> None:
    async with odd(GET=(200, [room(5)])) as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        await register(a, source.url, **{"city": "Graz"})
        for csf, count in (('city=="Graz"', 1), ('city=="Wien"', 0), ("other", 0)):
            assert len((await a.get("/entities", type="Room", csf=csf)).json()) == count, csf
        assert len(source.seen) == 1
        assert (await a.get("/entities", type="Room", csf="==")).status_code == 400


async def test_sources_are_asked_side_by_side_over_kept_connections(tmp_path: Path) -> None:
    async with odd(GET=(200, [room(5)])) as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        source.delay_s = 0.5
        for _ in range(10):
            await register(a, source.url)
        started = time.monotonic()
        assert len((await a.get("/entities", type="Room")).json()) == 1
        assert time.monotonic() - started < 4.0 and len(source.seen) == 10
        source.delay_s = 0
        ports = {seen.port for seen in source.seen}
        await a.get("/entities", type="Room")
        assert {seen.port for seen in source.seen} == ports and len(source.seen) == 20


async def test_pages_go_over_all_sources(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b", "c") as (a, b, c):
        await made(a, *(room(n, temperature=n) for n in range(5)))
        await made(b, *(room(n, humidity=n) for n in range(3, 9)))
        await made(c, *(room(n, light=n) for n in range(8, -1, -1)))
        await register(a, b.url)
        await register(a, c.url)
        whole = (await a.get("/entities", type="Room", limit="100", options="keyValues")).json()
        assert sorted(e["id"] for e in whole) == [f"urn:ngsi-ld:Room:{n}" for n in range(9)]
        assert all(e["light"] == int(e["id"][-1]) for e in whole)
        pages: list[Any] = []
        path, parameters = "/entities", {"type": "Room", "limit": "2", "options": "keyValues"}
        for offset in range(0, 10, 2):
            answer = await a.get(path, **parameters, offset=str(offset))
            pages += answer.json()
            assert ('rel="next"' in answer.headers["link"]) == (offset < 8)
        assert pages == whole
        counted = await a.get("/entities", type="Room", limit="2", count="true", q="light>6")
        assert counted.headers["NGSILD-Results-Count"] == "2"


async def test_split_entities_are_judged_as_a_whole(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        await made(a, room(1, temperature=20), room(2, temperature=30))
        await made(b, room(1, humidity=50), room(2, humidity=50))
        await register(a, b.url)
        asked = {"type": "Room", "q": "temperature==20;humidity==50", "options": "keyValues"}
        assert (await a.get("/entities", **asked)).json() == []
        found = (await a.get("/entities", **asked, splitEntities="true")).json()
        assert [(e["id"][-1], e["humidity"]) for e in found] == [("1", 50)]


async def test_query_by_body_goes_as_a_body(tmp_path: Path) -> None:
    body = {"type": "Query", "entities": [{"type": "Room", "id": "urn:ngsi-ld:Room:1"}], "q": "humidity>1"}
    async with (
        odd(POST=(200, [room(1, humidity=5), room(7)])) as source,
        brokers(tmp_path, "a", sources=[source]) as (a,),
    ):
        await register(a, source.url)
        found = await a.post("/entityOperations/query", body)
        assert [e["id"] for e in found.json()] == ["urn:ngsi-ld:Room:1"]
        got = source.seen[0]
        assert got.path == "/entityOperations/query"
        assert got.body == {
            "type": "Query",
            "q": "humidity>1",
            "entities": [{"type": "Room", "id": ["urn:ngsi-ld:Room:1"]}],
        }


async def test_private_addresses_are_not_asked_unless_listed(tmp_path: Path) -> None:
    async with odd(GET=(200, [room(5)])) as source, brokers(tmp_path, "a") as (a,):
        await register(a, source.url)
        answer = await a.get("/entities", type="Room")
        assert answer.json() == [] and answer.headers["NGSILD-Warning"].startswith("299 ") and not source.seen


async def test_discovery_unites_types_and_attributes(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        await made(a, room(1, temperature=20))
        await made(b, room(1, humidity=50), {**room(2), "type": "Hall", "id": "urn:ngsi-ld:Hall:2"})
        await register(a, b.url, information=[{"entities": [{"type": "Room"}, {"type": "Hall"}]}])
        assert (await a.get("/types")).json()["typeList"] == ["Hall", "Room"]
        assert (await a.get("/types", local="true")).json()["typeList"] == ["Room"]
        info = (await a.get("/types/Room")).json()
        assert info["entityCount"] == 2
        assert [d["attributeName"] for d in info["attributeDetails"]] == ["humidity", "temperature"]
        assert (await a.get("/types/Hall")).json()["typeName"] == "Hall"
        assert (await a.get("/attributes")).json()["attributeList"] == ["humidity", "temperature"]
        detailed = {each["typeName"]: each["attributeNames"] for each in (await a.get("/types", details="true")).json()}
        assert detailed == {"Hall": [], "Room": ["humidity", "temperature"]}


async def test_history_of_several_sources(tmp_path: Path) -> None:
    def seen(hour: int) -> dict[str, Any]:
        return {"type": "Property", "value": hour, "observedAt": f"2026-01-01T0{hour}:00:00Z"}

    async with brokers(tmp_path, "a", "b") as (a, b):
        await made(a, {**room(1), "p": seen(1)})
        await made(b, {**room(1), "p": seen(2), "r": seen(3)})
        await a.patch(ONE + "/attrs", {"p": seen(4)})
        await register(a, b.url, operations=["retrieveTemporal", "queryTemporal"])
        one = (await a.get("/temporal" + ONE)).json()
        assert [i["value"] for i in one["p"]] == [1, 2, 4] and [i["value"] for i in one["r"]] == [3]
        interval = {"timerel": "after", "timeAt": "2026-01-01T00:00:00Z", "options": "temporalValues", "type": "Room"}
        found = (await a.get("/temporal/entities", **interval)).json()
        assert [v for v, _ in found[0]["p"]["values"]] == [1, 2, 4]
        local = (await a.get("/temporal/entities", **interval, local="true")).json()
        assert [v for v, _ in local[0]["p"]["values"]] == [1, 4]
        body = {
            "type": "Query",
            "entities": [{"type": "Room"}],
            "temporalQ": {"timerel": "after", "timeAt": "2026-01-01T00:00:00Z"},
        }
        posted = await a.post("/temporal/entityOperations/query", body, options="temporalValues")
        assert posted.status_code == 200 and posted.json() == found


async def test_an_entity_that_is_nowhere_tells_who_was_missing(tmp_path: Path) -> None:
    async with odd(GET=(500, {})) as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        name = await register(a, source.url)
        answer = await a.get(ONE)
        assert answer.status_code == 404 and answer.headers["NGSILD-Warning"].startswith(f"299 {name} ")
