"""Whatever a client asks of history, it gets an answer of the specification."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.server.http import App
from gateway.server.platform import Platform
from gateway.server.settings import ServerSettings
from tests.server.support import ROOT

CAR = "urn:ngsi-ld:Vehicle:1"
WORDS = st.sampled_from(
    [
        "Vehicle",
        "speed",
        "*",
        "urn:ngsi-ld:Vehicle:1",
        "true",
        "after",
        "between",
        "before",
        "2020-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "avg,max",
        "stddev",
        "PT1H",
        "P1M",
        "P9999Y",
        "PT0S",
        "observedAt",
        "createdAt",
        "modifiedAt",
        "deletedAt",
        "temporalValues",
        "aggregatedValues",
        "concise",
        "sysAttrs",
        "speed>5",
        "0",
        "1",
        "99999",
        "@none",
        "urn:ngsi-ld:null",
    ]
)
FINE = {"type": "Vehicle", "timerel": "after", "timeAt": "2020-01-01T00:00:00Z"}
SUMMED = {**FINE, "options": "aggregatedValues", "aggrMethods": "avg,max,stddev,distinctCount"}
NAMES = [
    *("type", "id", "idPattern", "q", "attrs", "pick", "omit", "timerel", "timeAt", "endTimeAt", "timeproperty"),
    *("lastN", "aggrMethods", "aggrPeriodDuration", "options", "format", "limit", "offset", "count", "datasetId"),
]
VALUES = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "id", "value", "timerel", "timeAt", "lastN"]), inner, max_size=4)
    ),
    max_leaves=8,
)
MEMBERS = ["type", "entities", "attrs", "pick", "q", "geoQ", "temporalQ", "aggrParams", "datasetId", "local", "scopeQ"]
GOOD = {
    "type": "Query",
    "entities": [{"type": "Vehicle"}],
    "temporalQ": {"timerel": "after", "timeAt": "2020-01-01T00:00:00Z"},
}
INSTANCES = [
    {"value": value, "observedAt": f"2020-01-01T00:00:{number:02d}Z"}
    for number, value in enumerate([1, 2.5, -1e308, 1e308, 1e308, "text", True, [], {}, {"@type": "Span", "@value": 5}])
]
PARAMETERS = st.lists(st.dictionaries(st.sampled_from(NAMES), WORDS, max_size=8), min_size=1, max_size=60)
BODIES = st.lists(st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=4), min_size=1, max_size=40)


async def ask_all(folder: Path, questions: list[dict[str, str]], bodies: list[dict[str, Any]]) -> list[httpx.Response]:
    platform = Platform(ServerSettings(data=folder))
    async with (
        platform.running(),
        httpx.AsyncClient(transport=httpx.ASGITransport(App(platform)), base_url="http://localhost:9090") as client,
    ):
        entity = {"id": CAR, "type": "Vehicle", "speed": INSTANCES}
        assert (await client.post(f"{ROOT}/temporal/entities", json=entity)).status_code in (201, 204)
        answers = []
        for question in questions:
            for url in (f"{ROOT}/temporal/entities", f"{ROOT}/temporal/entities/{CAR}"):
                for whole in (question, {**FINE, **question}, {**SUMMED, **question}):
                    answers.append(await client.get(url, params=whole))
        for body in bodies:
            for whole in (body, {**GOOD, **body}):
                content = orjson.dumps(whole, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
                answers.append(
                    await client.post(
                        f"{ROOT}/temporal/entityOperations/query",
                        content=content,
                        headers={"Content-Type": "application/json"},
                    )
                )
        return answers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(questions=PARAMETERS, bodies=BODIES)
def test_any_question_gets_an_answer(folder: Path, questions: list[dict[str, str]], bodies: list[Any]) -> None:
    bodies = [body for body in bodies if _is_json(body)]
    for answer in asyncio.run(ask_all(folder, questions, bodies)):
        assert answer.status_code in (200, 206, 400, 403, 404, 422), (answer.request.url, answer.text)
        found = answer.json()
        assert answer.status_code < 400 or found["type"].startswith("https://uri.etsi.org/ngsi-ld/errors/")


def _is_json(body: Any) -> bool:
    try:
        orjson.dumps(body)
    except (TypeError, ValueError):  # integers beyond 64 bits, lone surrogates
        return False
    return True
