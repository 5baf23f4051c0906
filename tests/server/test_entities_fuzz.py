"""Whatever a client writes, it gets an answer of the specification, and the entity stays readable."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.server.http import App
from gateway.server.platform import Platform
from gateway.server.settings import ServerSettings
from tests.server.support import ROOT

ONE = "urn:ngsi-ld:Room:1"
NULL = "urn:ngsi-ld:null"
KEYS = st.sampled_from(
    [
        *("id", "type", "@id", "@type", "@value", "@context", "scope", "expiresAt", "createdAt", "a", "b", "location"),
        *("value", "object", "languageMap", "vocab", "valueList", "objectList", "json", "observedAt", "unitCode"),
        *("datasetId", "objectType", "valueType", "ngsildproof", "dataset", "entity", "previousValue", "coordinates"),
        *("@none", "en", "urn:x:1", "", "x y", "https://example.org/a/b", "instanceId", "lang"),
    ]
)
WORDS = st.sampled_from(
    [
        *("Property", "GeoProperty", "Relationship", "LanguageProperty", "VocabProperty", "ListProperty"),
        *("ListRelationship", "JsonProperty", "Point", "Polygon", "Room", ONE, NULL, "urn:x:2", "DateTime", "@json"),
        *("2026-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "/a/b", "#", "", "@none"),
    ]
)
LEAVES = (
    WORDS
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=4)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
ATTRIBUTES = st.fixed_dictionaries(
    {"type": WORDS},
    optional={
        "value": VALUES,
        "object": WORDS,
        "languageMap": VALUES,
        "datasetId": WORDS,
        "observedAt": WORDS,
        "unitCode": WORDS,
        "a": VALUES,
    },
)
FRAGMENTS = st.dictionaries(st.sampled_from(["a", "b", "location"]), ATTRIBUTES | VALUES, max_size=3)
ENTITIES = FRAGMENTS.map(lambda attributes: {"id": ONE, "type": "Room", **attributes})
BODIES = st.one_of(ENTITIES, FRAGMENTS, ATTRIBUTES, VALUES)
PARAMETERS = st.dictionaries(
    st.sampled_from(
        ["options", "format", "type", "observedAt", "lang", "datasetId", "deleteAll", "local", "keep", "drop"]
    ),
    WORDS | st.sampled_from(["keyValues", "simplified", "noOverwrite", "update", "replace", "true", "fr", "a,b"]),
    max_size=2,
)
OPERATIONS = st.sampled_from(
    [
        *(("POST", "entities"), ("PUT", f"entities/{ONE}"), ("PATCH", f"entities/{ONE}"), ("DELETE", "entities")),
        *(("POST", f"entities/{ONE}/attrs"), ("PATCH", f"entities/{ONE}/attrs"), ("PATCH", f"entities/{ONE}/attrs/a")),
        *(("PUT", f"entities/{ONE}/attrs/a"), ("DELETE", f"entities/{ONE}/attrs/a"), ("DELETE", f"entities/{ONE}")),
    ]
)
BATCHES = st.sampled_from(["create", "upsert", "update", "merge", "delete"]).map(
    lambda name: ("POST", f"entityOperations/{name}")
)
REQUESTS = st.lists(
    st.one_of(
        st.tuples(OPERATIONS, st.just({}) | PARAMETERS, BODIES),
        st.tuples(BATCHES, st.just({}) | PARAMETERS, st.lists(st.one_of(ENTITIES, BODIES), min_size=1, max_size=3)),
    ),
    min_size=1,
    max_size=25,
)
RICH = {
    "id": ONE,
    "type": "Room",
    "a": [{"value": {"x": 1}, "a": 1}, {"value": 1, "datasetId": "urn:x:1"}],
    "b": {"languageMap": {"en": "x"}},
    "location": {"type": "Point", "coordinates": [1, 2]},
    "scope": "/a",
}
HEADERS = {"Content-Type": "application/json"}
FINE = {200, 201, 204, 207, 400, 404, 409, 422}


async def run(client: httpx.AsyncClient, requests: list[Any]) -> None:

    for (method, path), parameters, body in requests:
        if path != "entities":
            assert (await client.post(f"{ROOT}/entityOperations/upsert", json=[RICH])).status_code in (201, 204)
        content = {} if method == "DELETE" else {"content": json.dumps(body), "headers": HEADERS}
        answer = await client.request(method, f"{ROOT}/{path}", params=parameters, **content)
        said = (method, path, parameters, body, answer.text)
        assert answer.status_code in FINE, said
        if answer.status_code in (400, 404, 409, 422):
            assert answer.json()["type"] and answer.json()["detail"], said
        for form in ("normalized", "concise", "simplified"):
            shown = await client.get(f"{ROOT}/entities/{ONE}", params={"format": form, "options": "sysAttrs"})
            assert shown.status_code in (200, 404), (said, shown.text)
            assert NULL not in shown.text, (said, shown.text)


@given(REQUESTS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_write_gets_an_answer(tmp_path_factory: Any, requests: list[Any]) -> None:
    async def main(folder: Path) -> None:
        platform = Platform(ServerSettings(data=folder))
        async with platform.running():
            transport = httpx.ASGITransport(App(platform))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9090") as client:
                await run(client, requests)

    asyncio.run(main(tmp_path_factory.mktemp("fuzz")))
