"""Aggregation (CIM 009 clause 4.5.19): periods, methods and types against plain references."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.server.broker.model import time_text, time_us
from gateway.server.temporal.aggregate import METHODS, Method, combine, needs, results, sums
from gateway.server.temporal.duration import Period, parse_duration
from gateway.server.temporal.values import aggregated, value_of
from tests.server.support import ROOT

URL = f"{ROOT}/temporal/entities"
ONE = "urn:ngsi-ld:Vehicle:1"
NOON = time_us("2020-09-01T12:00:00Z")
HOUR = 3_600_000_000
EVERYTHING = ",".join(METHODS)


def plain(method: Method, values: list[float]) -> float:
    """What the words of the standard mean, spelled out."""
    return {
        "totalCount": lambda: len(values),
        "distinctCount": lambda: len(set(values)),
        "sum": lambda: math.fsum(values),
        "avg": lambda: fmean(values),
        "min": lambda: min(values),
        "max": lambda: max(values),
        "stddev": lambda: pstdev(values),
        "sumsq": lambda: math.fsum(v * v for v in values),
    }[method]()


NUMBERS = st.lists(
    st.tuples(
        st.integers(0, 20 * HOUR),
        st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 3)) | st.sampled_from([0.0, 1.0, 2.0]),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda pair: pair[0],
)


@settings(max_examples=200, deadline=None)
@given(
    NUMBERS, st.sampled_from(["PT0S", "PT1H", "PT7M", "P1D", "P1M", "PT0.5S"]), st.lists(st.integers(0, 60), max_size=4)
)
def test_numbers_against_the_plain_reference(pairs: list[tuple[int, float]], text: str, cuts: list[int]) -> None:
    period, pairs = parse_duration(text), sorted(pairs)
    at = np.array([NOON + offset for offset, _ in pairs], np.int64)
    values = np.array([value for _, value in pairs], np.float64)
    edges = sorted({0, len(pairs), *(cut for cut in cuts if cut < len(pairs))})
    parts = [sums(period, NOON, at[a:b], values[a:b], needs(METHODS)) for a, b in pairwise(edges)]
    found = combine(parts)
    groups: dict[int, list[float]] = {}
    for number, value in zip(period.numbers(NOON, at).tolist(), values.tolist(), strict=True):
        groups.setdefault(number, []).append(value)
    assert found.numbers.tolist() == list(groups)
    for method in METHODS:
        wanted = [plain(method, group) for group in groups.values()]
        assert results(found, method).tolist() == pytest.approx(wanted, rel=1e-9, abs=1e-5), method
    instances = [value_of({"type": "Property", "value": value}) for value in values.tolist()]
    slow = aggregated(period, NOON, at.tolist(), [v for v in instances if v is not None], METHODS)
    for method in METHODS:
        assert list(slow[method].values()) == pytest.approx(results(found, method).tolist(), rel=1e-9, abs=1e-5)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 3), st.integers(0, 40), st.integers(0, 10**6), st.lists(st.integers(0, 400 * 24), min_size=1))
def test_periods_hold_their_times(months: int, days: int, us: int, hours: list[int]) -> None:
    period = Period(months, days * 24 * HOUR + us)
    at = np.array(sorted(NOON + hour * HOUR for hour in hours), np.int64)
    for number, moment in zip(period.numbers(NOON, at).tolist(), at.tolist(), strict=True):
        if period == Period():
            assert number == 0
        else:
            assert period.edge(NOON, number) <= moment < period.edge(NOON, number + 1)


def test_months_keep_the_day_where_they_have_it() -> None:
    start = time_us("2023-12-31T10:00:00Z")
    edges = [time_text(Period(months=1).edge(start, number))[:10] for number in range(6)]
    assert edges == ["2023-12-31", "2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"]
    assert time_text(parse_duration("P1Y2M10DT2H30M").edge(start, 1)) == "2025-03-10T12:30:00Z"


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("PT0S", Period()),
        ("P0D", Period()),
        ("PT1.5S", Period(0, 1_500_000)),
        ("PT15M", Period(0, HOUR // 4)),
        ("P2W", Period(0, 14 * 24 * HOUR)),
        ("P1DT12H", Period(0, 36 * HOUR)),
        ("P1M", Period(1)),
        ("P1Y6M", Period(18)),
        *((bad, None) for bad in ("", "P", "PT", "P1", "1D", "P1H", "PT1D", "P1W2D", "P-1D", "PT1.5M", "P1DT", "p1d")),
    ],
)
def test_durations(text: str, period: Period | None) -> None:
    if period is not None:
        assert parse_duration(text) == period
        return
    with pytest.raises(ValueError, match="8601"):
        parse_duration(text)


async def ask(client: httpx.AsyncClient, methods: str, period: str | None = None, **more: str) -> httpx.Response:
    parameters = {"options": "aggregatedValues", "aggrMethods": methods, **more}
    if period is not None:
        parameters["aggrPeriodDuration"] = period
    return await client.get(f"{URL}/{ONE}", params=parameters)


def at(minutes: float) -> str:
    return time_text(NOON + round(minutes * 60e6))


async def put(client: httpx.AsyncClient, pairs: list[tuple[float, Any]], name: str = "speed") -> None:
    instances = [
        {**(value if isinstance(value, dict) and "type" in value else {"value": value}), "observedAt": at(minute)}
        for minute, value in pairs
    ]
    assert (await client.post(URL, json={"id": ONE, "type": "Vehicle", name: instances})).status_code in (201, 204)


async def test_the_example_of_the_standard(client: httpx.AsyncClient) -> None:
    await put(client, [(3, 120), (5, 80), (7, 100)])
    interval = {"timerel": "between", "timeAt": at(0), "endTimeAt": at(60)}
    found = (await ask(client, "max,avg", "PT4M", **interval)).json()
    assert found == {
        "id": ONE,
        "type": "Vehicle",
        "speed": {
            "type": "Property",
            "max": [[120, at(0), at(4)], [100, at(4), at(8)]],
            "avg": [[120, at(0), at(4)], [90, at(4), at(8)]],
        },
    }
    whole = (await ask(client, EVERYTHING, **interval)).json()["speed"]
    spread = pytest.approx(pstdev([120, 80, 100]))
    values = dict(zip(METHODS, (3, 3, 300, 100, 80, 120, spread, 120**2 + 80**2 + 100**2), strict=True))
    assert whole == {"type": "Property", **{m: [[value, at(0), at(60)]] for m, value in values.items()}}
    open_end = (await ask(client, "min", "PT0S")).json()["speed"]
    assert open_end["min"] == [[80, at(3), at(7)]], "from the first instance to the last"
    listed = await client.get(
        URL, params={"type": "Vehicle", "options": "aggregatedValues", "aggrMethods": "sum", **interval}
    )
    assert listed.json()[0]["speed"] == {"type": "Property", "sum": [[300, at(0), at(60)]]}
    changed = (await ask(client, "sum", "P1D", timerel="after", timeAt=at(0), timeproperty="modifiedAt")).json()
    assert changed["speed"]["sum"][0][0] == 300


COUNTS = {"totalCount": 2, "distinctCount": 2}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("b", "a", {**COUNTS, "min": "a", "max": "b"}),
        (True, False, {**COUNTS, "sum": 1, "avg": 0.5, "min": 0, "max": 1, "stddev": 0.5, "sumsq": 1}),
        ([1, 2, 3], [1], {**COUNTS, "sum": 4, "avg": 2, "min": 1, "max": 3}),
        ({"a": 1}, {"a": 2}, COUNTS),
        (
            {"value": {"@type": "DateTime", "@value": "2020-01-01T00:00:00.5Z"}, "type": "Property"},
            {"value": {"@type": "DateTime", "@value": "2020-01-01T00:00:00Z"}, "type": "Property"},
            {**COUNTS, "min": "2020-01-01T00:00:00Z", "max": "2020-01-01T00:00:00.5Z"},
        ),
        (
            {"value": {"@type": "Time", "@value": "10:00:00Z"}, "type": "Property"},
            {"value": {"@type": "Time", "@value": "12:00:01Z"}, "type": "Property"},
            {**COUNTS, "avg": "11:00:00.5Z", "min": "10:00:00Z", "max": "12:00:01Z"},
        ),
        (
            {"value": {"@type": "Date", "@value": "2020-01-02"}, "type": "Property"},
            {"value": {"@type": "Date", "@value": "2020-01-01"}, "type": "Property"},
            {**COUNTS, "min": "2020-01-01", "max": "2020-01-02"},
        ),
        ({"type": "Relationship", "object": "urn:x:1"}, {"type": "Relationship", "object": "urn:x:2"}, COUNTS),
        (
            {"type": "LanguageProperty", "languageMap": {"en": "a"}},
            {"type": "LanguageProperty", "languageMap": {"en": "b"}},
            COUNTS,
        ),
        (
            {"type": "ListProperty", "valueList": [1, 2]},
            {"type": "ListProperty", "valueList": []},
            {"max": 2, "sum": 2},
        ),
    ],
    ids=lambda part: str(part)[:40],
)
async def test_every_type_of_value(
    client: httpx.AsyncClient, first: Any, second: Any, expected: dict[str, Any]
) -> None:
    await put(client, [(1, first), (2, second)])
    found = (await ask(client, EVERYTHING, "PT1H", timerel="after", timeAt=at(0))).json()["speed"]
    kind = first.get("type", "Property") if isinstance(first, dict) else "Property"
    assert found.pop("type") == kind
    got = {method: rows[0][0] for method, rows in found.items()}
    assert all(len(rows) == 1 and rows[0][1:] == [at(0), at(60)] for rows in found.values())
    if len(expected) > 1 and "totalCount" in expected:
        assert got == expected
    else:
        assert {method: got[method] for method in expected} == expected


async def test_a_series_of_several_types(client: httpx.AsyncClient) -> None:
    await put(client, [(1, 5), (2, "n/a"), (3, 7)])
    found = (await ask(client, "avg,totalCount,max", "PT1H")).json()["speed"]
    assert [found[m][0][0] for m in ("avg", "totalCount", "max")] == [6, 3, 7]


@pytest.mark.parametrize(
    ("methods", "period", "name"),
    [
        ("", None, "BadRequestData"),
        ("median", None, "BadRequestData"),
        ("avg,", None, "BadRequestData"),
        ("avg", "1 hour", "BadRequestData"),
        ("avg", "P-1D", "BadRequestData"),
        ("stddev", "PT1H", "InvalidRequest"),
    ],
)
async def test_refusals(client: httpx.AsyncClient, methods: str, period: str | None, name: str) -> None:
    await put(client, [(1, "text")])
    answer = await ask(client, methods, period)
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (400, name)
    missing = await client.get(f"{URL}/{ONE}", params={"options": "aggregatedValues"})
    assert missing.status_code == 400


async def test_what_cannot_be_aggregated_is_left_out_beside_what_can(client: httpx.AsyncClient) -> None:
    await put(client, [(1, "text")], "brand")
    await put(client, [(1, 5)])
    found = (await ask(client, "avg")).json()
    assert "brand" not in found and found["speed"]["avg"][0][0] == 5


async def test_datasets_are_series_of_their_own(client: httpx.AsyncClient) -> None:
    await put(client, [(1, 5), (1, {"type": "Property", "value": 7, "datasetId": "urn:d:1"})])
    found = (await ask(client, "avg", "PT1H", timerel="after", timeAt=at(0))).json()["speed"]
    assert [(one["avg"][0][0], one.get("datasetId")) for one in found] == [(5, None), (7, "urn:d:1")]


async def test_a_long_series_is_added_up_in_parts(client: httpx.AsyncClient) -> None:
    """Beyond the part that is in memory at once: a value a day over two years, by months."""
    first = datetime(2020, 1, 31, tzinfo=UTC)
    days = [first + timedelta(days=number) for number in range(731)]
    instances = [{"value": n, "observedAt": day.strftime("%Y-%m-%dT00:00:00Z")} for n, day in enumerate(days)]
    await client.post(URL, json={"id": ONE, "type": "Vehicle", "speed": instances})
    found = (await ask(client, "totalCount,sum,stddev", "P1M")).json()["speed"]
    assert [row[0] for row in found["totalCount"]][:3] == [29, 31, 30]
    assert found["totalCount"][0][1:] == ["2020-01-31T00:00:00Z", "2020-02-29T00:00:00Z"]
    assert sum(row[0] for row in found["sum"]) == sum(range(731))
    assert found["stddev"][0][0] == pytest.approx(pstdev(range(29)))


async def test_too_many_periods(client: httpx.AsyncClient) -> None:
    for hour in range(6):
        await put(client, [(hour * 200 + n / 60, n) for n in range(10_000)])
    answer = await ask(client, "avg", "PT1S")
    assert answer.status_code == 403 and answer.json()["type"].endswith("TooManyResults")
