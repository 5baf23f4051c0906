"""Any parameter, however odd, gets an answer of the specification; what storage is hinted never hides a match."""

from __future__ import annotations

import random
from typing import Any

import httpx

from gateway.server.broker.asked import QUERY_PARAMETERS
from tests.server.support import ROOT

ODD = ["", "*", "@none", "a", "a{b}", "a,b", "1", "-1", "true", "inline", "flat", "[1,2]", "[[1]]", "Point", "Polygon"]
ODD += [
    "near;maxDistance==1",
    "within",
    "a;desc",
    "a;dist-asc",
    "(",
    "a==1",
    '"',
    "urn:x:1",
    "é",
    "/#",
    "en;q=0.5",
    "\x00",
]
ENTITY: dict[str, Any] = {
    "id": "urn:x:1",
    "type": "T",
    "a": {"type": "Relationship", "object": "urn:x:1"},
    "b": [{"type": "Property", "value": 1}, {"type": "Property", "value": [2, {"x": 3}], "datasetId": "urn:d:1"}],
    "c": {"type": "LanguageProperty", "languageMap": {"en": "x", "de": ["y", "z"]}},
    "d": {"type": "JsonProperty", "json": None},
    "e": {"type": "VocabProperty", "vocab": ["V", "W"]},
    "f": {"type": "ListProperty", "valueList": [1, "t"]},
    "g": {"type": "Property", "value": {"@type": "DateTime", "@value": "2026-01-01T00:00:00Z"}},
    "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1, 2]}},
}


async def test_any_parameters_get_an_answer(client: httpx.AsyncClient) -> None:
    assert (await client.post(f"{ROOT}/entities", json=ENTITY)).status_code == 201
    chance = random.Random(5)
    names = sorted(QUERY_PARAMETERS)
    seen: set[int] = set()
    for _ in range(400):
        parameters = {name: chance.choice(ODD) for name in chance.sample(names, chance.randint(1, 3))}
        parameters.setdefault("local", "true")
        accept = chance.choice(["application/json", "application/ld+json", "application/geo+json"])
        for path in (f"{ROOT}/entities", f"{ROOT}/entities/urn:x:1"):
            found = await client.get(path, params=parameters, headers={"Accept": accept, "Prefer": "ngsi-ld=1.2"})
            assert found.status_code in (200, 203, 400, 403, 404, 422), (parameters, found.text)
            seen.add(found.status_code)
    assert {200, 400} <= seen


async def test_values_that_no_index_holds_are_found(client: httpx.AsyncClient) -> None:
    assert (await client.post(f"{ROOT}/entities", json=ENTITY)).status_code == 201
    for q in ("b==2", "b==1", "b[x]==3", 'c=="z"', "f==1", 'f=="t"', "g==2026-01-01T00:00:00Z", "a==urn:x:1"):
        found = await client.get(f"{ROOT}/entities", params={"type": "T", "q": q})
        assert [entity["id"] for entity in found.json()] == ["urn:x:1"], q
