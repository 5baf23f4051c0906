"""Whatever a source answers, a client gets an answer by the specification, and never a 500."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest

from tests.server.federation import Odd, Server, brokers, odd, register, room

ID = "urn:ngsi-ld:Room:1"
ONE = f"/entities/{ID}"
INSTANCE = {"type": "Property", "value": 1, "observedAt": "2026-01-01T01:00:00Z", "instanceId": "urn:x:1"}
EVOLUTION = {"id": ID, "type": "Room", "p": [INSTANCE], "t": [INSTANCE, {**INSTANCE, "datasetId": "urn:d:1"}]}
COLUMNS = {"id": ID, "type": "Room", "p": {"type": "Property", "values": [[1, "2026-01-01T01:00:00Z"]]}}
ATTRIBUTE = {"id": "urn:x:p", "type": "Attribute", "attributeName": "p", "attributeTypes": ["Property"]}
TYPE = {"id": "urn:x:Room", "type": "EntityTypeInfo", "typeName": "Room", "entityCount": 1}
INFO = {**TYPE, "attributeDetails": [ATTRIBUTE]}
ERROR = {"entityId": ID, "error": {"type": "urn:x:NotFound", "status": 404}}
UPDATE = {"updated": ["p"], "notUpdated": [{"attributeName": "t", "reason": "no"}]}
INTERVAL = {"timerel": "after", "timeAt": "2026-01-01T00:00:00Z", "type": "Room"}
JUNK: list[Any] = [
    None,
    True,
    0,
    -1.5,
    "",
    "x",
    [],
    {},
    [[]],
    [None],
    {"id": 1},
    {"type": []},
    {"@none": {}},
    "urn:ngsi-ld:null",
]
CASES: list[tuple[str, str, Any, dict[str, str], Any]] = [  # method, path, body, parameters, good answer
    ("GET", ONE, None, {}, room(1, p=1, h=2)),
    ("GET", "/entities", None, {"type": "Room", "count": "true"}, [room(1, p=1), room(2, h=1)]),
    ("GET", "/temporal" + ONE, None, {}, EVOLUTION),
    ("GET", "/temporal/entities", None, INTERVAL, [EVOLUTION]),
    ("GET", "/temporal/entities", None, {**INTERVAL, "options": "temporalValues"}, [COLUMNS]),
    ("GET", "/types", None, {}, {"id": "urn:x", "type": "EntityTypeList", "typeList": ["Room"]}),
    ("GET", "/types", None, {"details": "true"}, [{**TYPE, "attributeNames": ["p"]}]),
    ("GET", "/types/Room", None, {}, INFO),
    ("GET", "/types/Hall", None, {}, INFO),
    ("GET", "/attributes", None, {"details": "true"}, [{**ATTRIBUTE, "typeNames": ["Room"], "attributeCount": 1}]),
    ("GET", "/attributes/p", None, {}, {**ATTRIBUTE, "typeNames": ["Room"], "attributeCount": 1}),
    ("POST", f"{ONE}/attrs", {"p": 1, "t": 2}, {}, UPDATE),
    ("PATCH", f"{ONE}/attrs", {"p": 1, "t": 2}, {}, {"success": [], "errors": [ERROR]}),
    ("POST", "/entityOperations/upsert", [room(1, p=1)], {}, {"success": [ID], "errors": [ERROR]}),
    ("POST", "/entityOperations/delete", [ID + "0"], {}, {"success": [], "errors": [ERROR]}),
    ("GET", "/entityMaps", None, {"type": "Room"}, [room(1, p=1)]),
]


def spoiled(rng: random.Random, value: Any) -> Any:
    """A copy in which one or two places hold something else."""
    result = copy.deepcopy(value)
    for _ in range(rng.randint(1, 2)):
        place, at = None, result
        while isinstance(at, (dict, list)) and at and (place is None or rng.random() < 0.75):
            key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
            place, at = (at, key), at[key]
        if place is None or rng.random() < 0.1:
            result = rng.choice(JUNK)
        else:
            place[0][place[1]] = rng.choice(JUNK)
    return result


async def asked(a: Server, case: tuple[str, str, Any, dict[str, str], Any]) -> Any:
    method, path, body, parameters, _ = case
    return await a.client.request(method, f"/ngsi-ld/v1{path}", json=body, params=parameters)


def told(source: Odd, status: int, content: Any) -> None:
    source.answers = dict.fromkeys(("GET", "POST", "PATCH", "DELETE"), (status, content))


@pytest.mark.parametrize("seed", range(2))
async def test_no_answer_of_a_source_breaks_an_operation(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    offered = ["federationOps", "redirectionOps", "upsertBatch", "deleteBatch", "retrieveTemporal", "queryTemporal"]
    async with odd() as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        both = [{"entities": [{"type": "Room"}, {"type": "Hall"}]}]
        await register(a, source.url, operations=offered, information=both)
        await a.post("/entities", {**room(1), "p": INSTANCE}, local="true")
        for case in CASES:
            told(source, 200, case[4])
            good = await asked(a, case)
            assert good.status_code < 300, (case, good.text)
        for number in range(320):
            case = CASES[number % len(CASES)]
            content, status = spoiled(rng, case[4]), rng.choice([200, 200, 200, 201, 207, 207, 400, 404, 409, 302, 599])
            told(source, status, content)
            answer = await asked(a, case)
            assert answer.status_code != 500, (case[:2], status, content, answer.text)
