"""The contexts that a server keeps: /jsonldContexts, own URLs, files instead of downloads, the switch for networks."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest

from gateway.server.contexts import service as contexts_service
from tests.server.support import LD, ROOT, serving

ALL = f"{ROOT}/jsonldContexts"
TERMS = {"@context": {"power": "https://example.org/power", "Meter": "https://example.org/Meter"}}
ID = "urn:ngsi-ld:Meter:1"


def link(url: str) -> dict[str, str]:
    return {"Link": f'<{url}>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'}


async def hosted(client: httpx.AsyncClient, content: object = TERMS) -> str:
    answer = await client.post(ALL, json=content)
    assert answer.status_code == 201 and answer.content == b"", answer.text
    return str(answer.headers["location"])


async def test_a_hosted_context_is_served_used_and_survives_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        where = await hosted(client, {**TERMS, "other": 1})
    async with serving(tmp_path) as client:
        answer = await client.get(where)
        assert (answer.status_code, answer.json()) == (200, TERMS)
        answer = await client.get(where, headers={"Accept": "application/ld+json"})
        assert answer.headers["content-type"] == "application/ld+json"
        for url in (where, str(client.base_url).rstrip("/") + where):
            body = {"id": f"{ID}{len(url)}", "type": "Meter", "power": 1}
            assert (await client.post(f"{ROOT}/entities", json=body, headers=link(url))).status_code == 201
        plain = (await client.get(f"{ROOT}/entities/{ID}{len(where)}")).json()
        assert plain["type"] == "https://example.org/Meter" and "https://example.org/power" in plain
        record = (await client.get(where, params={"details": "true"})).json()
        assert record["kind"] == "Hosted" and record["URL"].endswith(where) and record["numberOfHits"] >= 2
        assert record["localId"] == where.rpartition("/")[2] and record["lastUsage"] >= record["createdAt"]


async def test_a_deleted_context_is_gone(client: httpx.AsyncClient) -> None:
    where = await hosted(client)
    assert (await client.get(f"{ROOT}/types", headers=link(where))).status_code == 200
    assert (await client.delete(where, params={"reload": "true"})).status_code == 400
    answer = await client.delete(where)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get(where)).status_code == 404
    assert (await client.delete(where)).status_code == 404
    assert (await client.get(f"{ROOT}/types", headers=link(where))).status_code == 504


@pytest.mark.parametrize(
    ("body", "headers", "status", "name"),
    [
        (b"{", {}, 400, "InvalidRequest"),
        (b"[]", {}, 400, "BadRequestData"),
        (b"{}", {}, 400, "BadRequestData"),
        (b'{"@context": 5}', {}, 400, "BadRequestData"),
        (b'{"@context": {"a": {"@id": "urn:a", "@context": {}}}}', {}, 400, "BadRequestData"),
        (b'{"@context": "http://127.0.0.1:9/c"}', {}, 504, "LdContextNotAvailable"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "UnsupportedMediaType"),
    ],
)
async def test_what_is_no_context_is_refused(
    client: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int, name: str
) -> None:
    answer = await client.post(ALL, content=body, headers={"Content-Type": "application/json", **headers})
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2].rpartition("/")[2]) == (status, name)
    assert (await client.get(ALL, params={"kind": "Hosted"})).json() == []


@pytest.mark.parametrize("query", ["details=yes", "kind=Nice", "limit=0", "limit=-1", "count=1", "nothing=1"])
async def test_bad_parameters(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"{ALL}?{query}")).status_code == 400


async def test_lists_by_kind_in_pages(client: httpx.AsyncClient) -> None:
    places = [await hosted(client) for _ in range(3)]
    listed = (await client.get(ALL, params={"kind": "Hosted"})).json()
    assert listed == [str(client.base_url).rstrip("/") + place for place in places]
    page = await client.get(ALL, params={"kind": "Hosted", "limit": 2, "count": "true", "details": "true"})
    assert [r["kind"] for r in page.json()] == ["Hosted"] * 2
    assert page.headers["ngsild-results-count"] == "3" and 'rel="next"' in page.headers["link"]


async def test_an_inline_context_gets_its_own_url(client: httpx.AsyncClient) -> None:
    entity = {"id": ID, "type": "Meter", "power": 1, **TERMS}
    assert (await client.post(f"{ROOT}/entities", json=entity, headers=LD)).status_code == 201
    asked = {"type": "Query", "entities": [{"type": "Meter"}], **TERMS}
    answer = await client.post(f"{ROOT}/entityOperations/query", json=asked, headers=LD)
    assert answer.status_code == 200 and answer.json()[0]["type"] == "Meter", answer.text
    own = answer.links["http://www.w3.org/ns/json-ld#context"]["url"]
    assert (await client.get(own)).json() == TERMS
    assert (await client.get(f"{ROOT}/entities/{ID}", headers=link(own))).json()["type"] == "Meter"
    again = await client.post(f"{ROOT}/entityOperations/query", json=asked, headers=LD)
    assert again.links["http://www.w3.org/ns/json-ld#context"]["url"] == own
    assert len((await client.get(ALL, params={"kind": "ImplicitlyCreated"})).json()) == 1


async def test_downloads_need_the_switch_are_listed_and_loaded_again(tmp_path: Path) -> None:
    answers: list[bytes] = [orjson.dumps(TERMS), b"", orjson.dumps({"@context": {"Meter": "https://example.org/New"}})]
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        body = answers[min(asked, len(answers) - 1)]
        asked += 1
        status = b"200 OK" if body else b"500 Oh"
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body))
        await writer.drain()
        writer.close()

    far = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{far.sockets[0].getsockname()[1]}/c.jsonld"
    async with far, serving(tmp_path / "off") as client:
        assert (await client.get(f"{ROOT}/types", headers=link(url))).status_code == 504
        assert asked == 0
    far = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{far.sockets[0].getsockname()[1]}/c.jsonld"
    async with far, serving(tmp_path / "on", context_prefixes=(url,)) as client:
        assert (await client.get(f"{ROOT}/types", headers=link(url))).status_code == 200
        assert (await client.get(ALL, params={"kind": "Cached"})).json() == [url]
        one = f"{ALL}/{quote(url, safe='')}"
        assert (await client.get(one)).status_code == 422
        assert (await client.get(one, params={"details": "true"})).json()["URL"] == url
        assert (await client.delete(one, params={"reload": "true"})).status_code == 504
        body = {"id": ID, "type": "Meter"}
        assert (await client.post(f"{ROOT}/entities", json=body, headers=link(url))).status_code == 201
        assert (await client.get(f"{ROOT}/entities/{ID}")).json()["type"] == "https://example.org/Meter"
        assert (await client.delete(one, params={"reload": "maybe"})).status_code == 400
        assert (await client.delete(one, params={"reload": "true"})).status_code == 204
        await client.post(f"{ROOT}/entities", json={**body, "id": f"{ID}b"}, headers=link(url))
        assert (await client.get(f"{ROOT}/entities/{ID}b")).json()["type"] == "https://example.org/New"
        assert (await client.delete(one)).status_code == 204
        assert (await client.get(ALL, params={"kind": "Cached"})).json() == []


async def test_what_was_downloaded_outlives_a_restart_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = orjson.dumps(TERMS)
        head = b"HTTP/1.1 200 OK\r\nCache-Control: no-cache\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(
            body
        )
        writer.write(head + body)
        await writer.drain()
        writer.close()

    monkeypatch.setattr(contexts_service, "LEAST_AGE_S", 0.05)
    far = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{far.sockets[0].getsockname()[1]}/c.jsonld"
    async with far, serving(tmp_path, context_prefixes=(url,)) as client:
        body = {"id": ID, "type": "Meter"}
        assert (await client.post(f"{ROOT}/entities", json=body, headers=link(url))).status_code == 201
    await asyncio.sleep(0.1)  # it is stale by now, and nobody answers at its address any more
    async with serving(tmp_path, context_prefixes=(url,)) as client:
        assert (await client.get(ALL, params={"kind": "Cached"})).json() == [url]
        answer = await client.get(f"{ROOT}/entities", params={"type": "Meter"}, headers=link(url))
        assert [one["id"] for one in answer.json()] == [ID]
        assert (await client.delete(f"{ALL}/{quote(url, safe='')}")).status_code == 204
    async with serving(tmp_path, context_prefixes=(url,)) as client:
        assert (await client.get(ALL, params={"kind": "Cached"})).json() == []
        assert (await client.get(f"{ROOT}/types", headers=link(url))).status_code == 504


@pytest.mark.parametrize("url", ["c.jsonld", "ftp://example.org/c.jsonld", "", "/c.jsonld"])
async def test_what_can_never_be_fetched_is_the_fault_of_who_asks(client: httpx.AsyncClient, url: str) -> None:
    answer = await client.get(f"{ROOT}/types", headers=link(url))
    assert answer.status_code == 400, answer.text


async def test_a_file_stands_for_a_url(tmp_path: Path) -> None:
    (tmp_path / "c.jsonld").write_bytes(orjson.dumps(TERMS))
    url = "https://contexts.example/c.jsonld"
    async with serving(tmp_path / "data", context_files={url: tmp_path / "c.jsonld"}) as client:
        body: dict[str, Any] = {"@context": url, "id": ID, "type": "Meter"}
        assert (await client.post(f"{ROOT}/entities", json=body, headers=LD)).status_code == 201
        assert (await client.get(f"{ROOT}/entities/{ID}")).json()["type"] == "https://example.org/Meter"


async def test_source_identity(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"{ROOT}/info/sourceIdentity")
    shown = answer.json()
    assert answer.status_code == 200 and shown["type"] == "ContextSourceIdentity"
    alias = shown["contextSourceAlias"]
    assert re.fullmatch(r"lamppost-[0-9a-f]{8}", alias) and shown["contextSourceUptime"].startswith("PT")
    other = (await client.get(f"{ROOT}/info/sourceIdentity", headers={"NGSILD-Tenant": "a"})).json()
    assert other["contextSourceAlias"] == f"{alias}-a" and other["id"] != shown["id"]
    linked = await client.get(f"{ROOT}/info/sourceIdentity", headers={"Accept": "application/ld+json"})
    assert "@context" in linked.json() and "link" not in linked.headers
    assert (await client.post(f"{ROOT}/info/sourceIdentity", json={})).headers["allow"] == "GET, HEAD, OPTIONS"
