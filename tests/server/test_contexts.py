"""Contexts: names against PyLD as the oracle, sources, refusals."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest
from pyld import jsonld

from gateway.server.contexts import CORE_URL, Contexts
from gateway.server.contexts.compiled import core_document
from gateway.server.contexts.service import Download, fresh_s, known_documents
from gateway.server.egress import Egress, EgressRefused
from gateway.server.errors import BadRequestData, LdContextNotAvailable
from tests.server.contexts_oracle import oracle_expand
from tests.server.support import ENERGY

VOCAB = "https://uri.etsi.org/ngsi-ld/default-context/"


@pytest.mark.parametrize("url", sorted(known_documents()))
async def test_known_documents_agree_with_pyld(url: str) -> None:
    document = known_documents()[url]
    assert isinstance(document, dict)
    context = await Contexts().context_for(url)
    for term in list(document)[:40]:
        if not term.startswith("@") and term not in ("id", "type"):
            assert context.expand_name(term) == oracle_expand([document], term), term
            assert context.compact_name(context.expand_name(term)) == term or term in core_document()


async def test_the_core_has_the_last_word() -> None:
    mine = {"location": "https://example.org/location", "@vocab": "https://example.org/", "room": "room"}
    context = await Contexts().context_for([CORE_URL, mine])
    assert context.expand_name("location") == "https://uri.etsi.org/ngsi-ld/location"
    assert context.expand_name("room") == "https://example.org/room"
    assert context.expand_name("unknown") == f"{VOCAB}unknown"


async def test_arrays_apply_in_order() -> None:
    context = await Contexts().context_for([ENERGY, {"name": "https://example.org/name"}])
    assert context.expand_name("name") == "https://example.org/name"
    assert context.expand_name("totalActivePower").startswith("https://smartdatamodels.org/")


async def test_null_forgets_what_was_before_as_in_pyld() -> None:
    before, after = {"a": "https://example.org/a", "b": "https://example.org/b"}, {"b": "https://example.org/c"}
    spec = [before, None, after]
    context = await Contexts().context_for(spec)
    for name in ("a", "b"):
        expanded = jsonld.expand({"@context": [*spec, core_document()], name: {"@id": "urn:value:1"}})
        assert context.expand_name(name) == next(iter(expanded[0]))
    assert context.expand_name("a") == f"{VOCAB}a"


@pytest.mark.parametrize(
    "spec",
    [
        5,
        True,
        {"a": 5},
        {"a": {"@id": 5}},
        {"a": {"@id": "https://x.org/a", "@context": {}}},
        {"a": {"@reverse": "https://x.org/a"}},
        {"a": {"@id": "https://x.org/a", "@type": ["@id"]}},
        {"a": {"@id": "https://x.org/a", "@type": {}}},
        {"a": "b:c", "b": "a:d"},
        {"@vocab": 5},
        {f"t{n}": f"https://x.org/{n}" for n in range(20_001)},
        [[[[[[[{}]]]]]]],
    ],
)
async def test_bad_contexts(spec: Any) -> None:
    with pytest.raises(BadRequestData):
        await Contexts().context_for(spec)


async def test_remote_documents_are_fetched_once_and_failures_remembered() -> None:
    asked: list[str] = []

    async def fetch(url: str) -> Download:
        asked.append(url)
        if "bad" in url:
            raise OSError("no route")
        if "nested" in url:
            return Download(orjson.dumps({"@context": ["leaf.jsonld", {"own": "https://x.org/own"}]}), {})
        return Download(orjson.dumps({"@context": {"far": "https://x.org/far"}}), {})

    contexts = Contexts(fetch)
    for _ in range(2):
        context = await contexts.context_for("https://x.org/c/nested.jsonld")
        assert context.expand_name("far") == "https://x.org/far"
        with pytest.raises(LdContextNotAvailable, match="no route"):
            await contexts.context_for("https://x.org/bad")
    assert asked == ["https://x.org/c/nested.jsonld", "https://x.org/c/leaf.jsonld", "https://x.org/bad"]


async def test_a_context_that_includes_itself_ends() -> None:
    async def fetch(url: str) -> Download:
        return Download(orjson.dumps({"@context": [url, url]}), {})

    with pytest.raises(BadRequestData):
        async with asyncio.timeout(5):
            await Contexts(fetch).context_for("https://x.org/loop")


@pytest.mark.parametrize("body", [b"no json", b"[]", b"{}", b'{"@context": 5}'])
async def test_documents_that_are_no_contexts(body: bytes) -> None:
    async def fetch(url: str) -> Download:
        return Download(body, {})

    with pytest.raises(BadRequestData):
        await Contexts(fetch).context_for("https://x.org/c")


async def test_without_a_network_an_unknown_context_is_504(client: Any) -> None:
    link = '<http://127.0.0.1:9/c.jsonld>; rel="http://www.w3.org/ns/json-ld#context"'
    answer = await client.get("/ngsi-ld/v1/entities", params={"type": "A"}, headers={"Link": link})
    assert answer.status_code == 504
    assert answer.json()["type"].endswith("LdContextNotAvailable")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost:8080/x",
        "http://[::1]/",
        "http://10.1.2.3/",
        "http://192.168.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1]/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
        "http://100.64.0.1/",
    ],
)
async def test_private_targets_are_refused(url: str) -> None:
    with pytest.raises(EgressRefused):
        Egress().check(url)
    with pytest.raises(EgressRefused):
        await Egress().request(url, "GET", {}, timeout_s=1, body_max=10)


def test_granted_prefixes_are_whole_parts() -> None:
    egress = Egress(["http://127.0.0.1:80/hooks"])
    assert egress.check("http://127.0.0.1/hooks/a")
    assert egress.check("http://127.0.0.1/hooks")
    for url in ("http://127.0.0.1/hooksy", "http://127.0.0.1:8080/hooks", "https://127.0.0.1:80/hooks"):
        with pytest.raises(EgressRefused):
            egress.check(url)


def test_a_granted_prefix_without_a_port_grants_all_ports_of_the_host() -> None:
    egress = Egress(["http://127.0.0.1/hooks", "http://localhost"])
    assert egress.check("http://127.0.0.1:8080/hooks/a")
    assert egress.check("http://localhost:9/")
    for url in ("http://127.0.0.1:8080/other", "http://127.0.0.2/hooks", "https://localhost/", "mqtt://localhost/t"):
        with pytest.raises(EgressRefused):
            egress.check(url)


async def test_names_that_resolve_to_private_addresses_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(2, 1, 6, "", ("93.184.216.34", 80)), (2, 1, 6, "", ("10.0.0.1", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    with pytest.raises(EgressRefused):
        await Egress().request("http://rebinding.example/", "GET", {}, timeout_s=1, body_max=10)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 24 * 3600),
        ({"cache-control": "max-age=120"}, 120),
        ({"cache-control": "public, max-age=120, s-maxage=3600"}, 3600),
        ({"cache-control": "Max-Age=120", "expires": "Thu, 01 Jan 1970 00:00:00 GMT"}, 120),
        ({"expires": "Thu, 01 Jan 1970 00:00:00 GMT"}, 10),
        ({"expires": "0"}, 10),
        ({"cache-control": "no-store, max-age=120"}, 10),
        ({"cache-control": "max-age=never"}, 10),
        ({"cache-control": "max-age=99999999999"}, 30 * 24 * 3600),
        ({"cache-control": "must-revalidate"}, 24 * 3600),
    ],
)
def test_freshness_by_headers(headers: dict[str, str], seconds: float) -> None:
    assert fresh_s(headers) == seconds


async def test_what_is_stale_is_downloaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    shift = [0.0]
    monotonic = time.monotonic
    monkeypatch.setattr("gateway.server.contexts.service.time.monotonic", lambda: monotonic() + shift[0])

    async def fetch(url: str) -> Download:
        nonlocal asked
        asked += 1
        return Download(
            orjson.dumps({"@context": {"far": f"https://x.org/far{asked}"}}), {"cache-control": "max-age=90"}
        )

    contexts = Contexts(fetch)
    for later, expected in ((0.0, "https://x.org/far1"), (80.0, "https://x.org/far1"), (100.0, "https://x.org/far2")):
        shift[0] = later
        assert (await contexts.context_for("https://x.org/c")).expand_name("far") == expected
