"""The real server over a real socket, in the event loop of the test, and what tests put into it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from gateway.server.serve import serve
from gateway.server.settings import ServerSettings
from tests.server.postgres_server import Databases

ROOT = "/ngsi-ld/v1"
ENERGY = "https://raw.githubusercontent.com/smart-data-models/dataModel.Energy/master/context.jsonld"
LD = {"Content-Type": "application/ld+json"}
LINK = {"Link": f'<{ENERGY}>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'}


DATABASE = os.environ.get("LAMPPOST_TEST_DATABASE", "")
DATABASES = Databases(DATABASE) if DATABASE else None  # else each server has a file in its folder


@asynccontextmanager
async def serving(data: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    if DATABASES is not None:
        settings.setdefault("database", DATABASES.url(data))
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            serve(ServerSettings(data=data, **{"port": 0, **settings}), ready=ready.set_result, stop=stop)
        )
        address = await ready
        # There is no TLS here: without this each client would read the whole store of certificates.
        async with httpx.AsyncClient(base_url=address, timeout=10, verify=False) as client:
            yield client
        stop.set()


def meter(number: int = 1, watts: float = 10.0, at: str = "2026-01-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    power = {"type": "Property", "value": watts, "unitCode": "WTT", "observedAt": at}
    return {
        "@context": ENERGY,
        "id": f"urn:ngsi-ld:ACMeasurement:test:{number}",
        "type": "ACMeasurement",
        "totalActivePower": power,
        **more,
    }


async def upsert(client: httpx.AsyncClient, *entities: dict[str, Any], options: str = "update", **headers: str) -> Any:
    return await client.post(
        f"{ROOT}/entityOperations/upsert", params={"options": options}, json=list(entities), headers={**LD, **headers}
    )


async def history(client: httpx.AsyncClient, number: int = 1, **parameters: Any) -> list[Any]:
    answer = await client.get(
        f"{ROOT}/temporal/entities/urn:ngsi-ld:ACMeasurement:test:{number}",
        params={"options": "temporalValues", **parameters},
        headers=LINK,
    )
    assert answer.status_code in (200, 206), answer.text
    return answer.json().get("totalActivePower", {"values": []})["values"]


async def until(condition: Callable[[], Awaitable[bool] | bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if await result if isinstance(result, Awaitable) else result:
                return
            await asyncio.sleep(0.02)
