"""The OpenAPI document says what the server does: every route, every parameter, every status that was seen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.server.http import create_app
from gateway.server.openapi.document import FLAGS, NUMBERS, document
from gateway.server.openapi.operations import TAGS, Operation
from gateway.server.settings import ServerSettings

OPERATIONS: dict[str, Operation] = {key: one for some in TAGS.values() for key, one in some.items()}
OPEN = {"GET /api/time", "GET /healthz", "GET /metrics"}  # whatever a monitor adds to their addresses is passed over
SAMPLES = {"timerel": "after", "state": "dead", "kind": "Hosted", "join": "flat", "timeproperty": "observedAt"}


def test_every_route_is_in_it_and_nothing_else(tmp_path: Path) -> None:
    app = create_app(ServerSettings(data=tmp_path))
    routes = {f"{route.method} {route.path}" for route in [*app.platform.routes(), *app._own_routes()]}
    assert routes == set(OPERATIONS)


def test_it_is_whole() -> None:
    made = document()
    ids = [one["operationId"] for path in made["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids)) == len(OPERATIONS)
    known = {f"#/components/{part}/{name}" for part in ("schemas", "responses") for name in made["components"][part]}
    used = set(re.findall(r"'\$ref': '([^']+)'", str(made)))
    assert used <= known
    assert {f"#/components/schemas/{name}" for name in made["components"]["schemas"]} <= used


async def test_it_is_served(client: httpx.AsyncClient) -> None:
    answer = await client.get("/openapi.json")
    assert (answer.status_code, answer.json()["openapi"]) == (200, "3.1.0")


def sample(name: str) -> str:
    if name in FLAGS:
        return "true"
    return str(NUMBERS[name][0] or 1) if name in NUMBERS else SAMPLES.get(name, "x")


@pytest.mark.parametrize("key", sorted(OPERATIONS))
async def test_what_is_promised_is_known(client: httpx.AsyncClient, key: str) -> None:
    """Each parameter exists there; another one does not; statuses and media types are those of the document."""
    operation = OPERATIONS[key]
    method, path = key.split(" ")
    path = re.sub(r"{\w+}", "urn:a:b", path)
    body: dict[str, Any] = {}
    if operation.body is not None:
        body = {"content": b"{}", "headers": {"Content-Type": operation.body.media[0]}}
    documented = {str(status) for status in operation.answers} | set(document()["components"]["responses"])
    for name in [*sorted(operation.parameters), "nonsense"]:
        answer = await client.request(method, path, params={name: sample(name)}, **body)
        assert str(answer.status_code) in documented, answer.text
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
        if name == "nonsense":
            assert answer.status_code >= 400 or key in OPEN, answer.text
        else:
            assert "does not exist here" not in answer.text
