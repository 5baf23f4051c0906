"""History: once, late samples, intervals, pages in time."""

from __future__ import annotations

from pathlib import Path

import httpx

from gateway.server.broker.model import time_text
from gateway.server.broker.parse import parse_entity
from gateway.server.contexts import Contexts
from gateway.server.platform import Platform
from gateway.server.settings import ServerSettings
from tests.server.support import LINK, ROOT, history, meter, upsert

ONE = "urn:ngsi-ld:ACMeasurement:test:1"


def second(number: int) -> str:
    return time_text(1_767_225_600_000_000 + number * 1_000_000)


async def test_the_same_batch_twice_is_once_in_history(client: httpx.AsyncClient) -> None:
    batch = [meter(1, number, second(number)) for number in range(20)]
    assert (await upsert(client, *batch)).status_code == 201
    assert (await upsert(client, *batch)).status_code == 204
    assert await history(client) == [[float(number), second(number)] for number in range(20)]


async def test_written_again_replaces(client: httpx.AsyncClient) -> None:
    await upsert(client, meter(1, 1, second(5)))
    await upsert(client, meter(1, 2, second(5)))
    assert await history(client) == [[2, second(5)]]


async def test_a_late_sample_enters_history_and_not_the_present(client: httpx.AsyncClient) -> None:
    await upsert(client, meter(1, 50, "2026-01-01T00:00:00.5Z"))
    await upsert(client, meter(1, 40, "2026-01-01T00:00:00Z"))
    found = (await client.get(f"{ROOT}/entities/{ONE}", headers=LINK)).json()
    assert found["totalActivePower"]["value"] == 50
    assert await history(client) == [[40, "2026-01-01T00:00:00Z"], [50, "2026-01-01T00:00:00.5Z"]]


async def test_intervals(client: httpx.AsyncClient) -> None:
    await upsert(client, *(meter(1, number, second(number)) for number in range(10)))

    async def values(**parameters: str) -> list[float]:
        return [value for value, _ in await history(client, **parameters)]

    assert await values(timerel="after", timeAt=second(7)) == [7, 8, 9]
    assert await values(timerel="before", timeAt=second(2)) == [0, 1]
    assert await values(timerel="between", timeAt=second(3), endTimeAt=second(6)) == [3, 4, 5]
    assert await values(lastN="3") == [9, 8, 7]
    nothing = await client.get(f"{ROOT}/temporal/entities/{ONE}", params={"attrs": "voltage"}, headers=LINK)
    assert nothing.status_code == 404


async def test_bad_temporal_queries(client: httpx.AsyncClient) -> None:
    await upsert(client, meter())
    url = f"{ROOT}/temporal/entities/{ONE}"
    for parameters in (
        {"timerel": "after"},
        {"timeAt": second(1)},
        {"timerel": "between", "timeAt": second(1)},
        {"timerel": "around", "timeAt": second(1)},
        {"timerel": "after", "timeAt": "noon"},
        {"lastN": "0"},
    ):
        answer = await client.get(url, params=parameters)
        assert answer.status_code == 400, parameters
    assert (await client.get(url, params={"lastN": "5000"})).status_code == 200
    assert (await client.get(f"{ROOT}/temporal/entities/urn:x:none")).status_code == 404
    assert (await client.delete(url)).status_code == 204
    assert await history(client) == []


async def test_normalized_history_has_instance_ids_that_stay(client: httpx.AsyncClient) -> None:
    quality = {"type": "Property", "value": "suspect"}
    entity = meter(1, 1, second(1))
    entity["totalActivePower"]["quality"] = quality
    await upsert(client, entity)
    first = (await client.get(f"{ROOT}/temporal/entities/{ONE}", headers=LINK)).json()["totalActivePower"]
    await upsert(client, entity)
    again = (await client.get(f"{ROOT}/temporal/entities/{ONE}", headers=LINK)).json()["totalActivePower"]
    assert first == again and len(first) == 1
    assert first[0]["quality"] == quality and first[0]["unitCode"] == "WTT"
    assert first[0]["instanceId"].startswith("urn:ngsi-ld:Instance:")


async def test_long_history_comes_in_parts_that_join(client: httpx.AsyncClient) -> None:
    for part in range(21):
        await upsert(client, *(meter(1, 0, second(part * 1000 + number)) for number in range(1000)))
    url = f"{ROOT}/temporal/entities/{ONE}"
    first = await client.get(url, params={"options": "temporalValues"}, headers=LINK)
    assert first.status_code == 206
    unit, _, extent = first.headers["content-range"].partition(" ")
    values = first.json()["totalActivePower"]["values"]
    assert unit == "date-time" and extent == f"{second(0)}-{values[-1][1]}/*"
    rest = await history(client, timerel="after", timeAt=values[-1][1])
    assert [time for _, time in values] + [time for _, time in rest[1:]] == [second(n) for n in range(21_000)]


async def test_series_for_the_pages(tmp_path: Path) -> None:
    platform = Platform(ServerSettings(data=tmp_path))
    async with platform.running():
        core = Contexts().core
        for number in range(5):
            raw = {"id": "urn:x:1", "type": "T", "a": {"value": number, "observedAt": second(number)}, "b": 7}
            await platform.broker.upsert_batch("", [parse_entity(raw, core)])
        name = core.expand_name("a")
        start = 1_767_225_600_000_000_000
        found = await platform.temporal.series("", "urn:x:1", [name], start + 10**9, start + 4 * 10**9)
        assert [(o.observed_ns - start, o.instance["value"]) for o in found[name]] == [
            (n * 10**9, n) for n in (1, 2, 3)
        ]
        assert [o.instance["value"] for o in (await platform.temporal.series("", "urn:x:1", last_n=2))[name]] == [3, 4]
        assert await platform.temporal.series("", "urn:x:2") == {}
