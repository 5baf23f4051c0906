"""Integers at the limits of 64 bits: exact through every path, or refused with the place where they stand."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.server.support import ROOT

ID = "urn:ngsi-ld:Counter:1"
WHEN = "2026-01-01T00:00:00Z"
JSON = {"Content-Type": "application/json"}


def body(number: str) -> str:
    nested = f'{{"type": "JsonProperty", "json": {{"a/b": [1, {number}]}}}}'
    plain = f'{{"type": "Property", "value": {number}, "observedAt": "{WHEN}"}}'
    return f'{{"id": "{ID}", "type": "Counter", "count": {plain}, "raw": {nested}}}'


@pytest.mark.parametrize("number", [2**64 - 1, 2**63, 2**53 + 1, -(2**63), 9_999_999_999_999_999_999])
async def test_what_fits_is_exact_everywhere(client: httpx.AsyncClient, number: int) -> None:
    answer = await client.post(f"{ROOT}/entities", content=body(str(number)), headers=JSON)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = (await client.get(f"{ROOT}/entities/{ID}")).json()
    assert shown["count"]["value"] == number and shown["raw"]["json"]["a/b"] == [1, number]
    series = (await client.get(f"{ROOT}/temporal/entities/{ID}", params={"options": "temporalValues"})).json()
    assert series["count"]["values"] == [[number, WHEN]]


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "1" + "0" * 300])
async def test_what_does_not_fit_is_refused_by_its_place(client: httpx.AsyncClient, number: str) -> None:
    answer = await client.post(f"{ROOT}/entities", content=body(number), headers=JSON)
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (400, "BadRequestData")
    assert answer.json()["detail"].startswith("/count/value: ")
    batch = f'[{body("1")}, {{"id": "{ID}2", "type": "Counter", "raw": {{"type": "Property", "value": [{number}]}}}}]'
    answer = await client.post(f"{ROOT}/entityOperations/upsert", content=batch, headers=JSON)
    assert answer.status_code == 400 and answer.json()["detail"].startswith("/1/raw/value/0: ")
    assert (await client.get(f"{ROOT}/entities/{ID}")).status_code == 404


@pytest.mark.parametrize("number", ["1e30", '"89490200001234567890123"', "0.12345678901234567890123"])
async def test_other_long_things_are_no_integers(client: httpx.AsyncClient, number: str) -> None:
    answer = await client.post(f"{ROOT}/entities", content=body(number), headers=JSON)
    assert answer.status_code == 201, answer.text
