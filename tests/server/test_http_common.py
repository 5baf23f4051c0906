"""What all routes of NGSI-LD have in common (CIM 009 clause 6.3): methods, media types, contexts, tenants, problems."""

from __future__ import annotations

import httpx
import pytest

from tests.server.support import LD, LINK, ROOT

ETSI = "https://uri.etsi.org/ngsi-ld/errors/"
BODY = {"id": "urn:ngsi-ld:A:1", "type": "A"}
TWO = [("Link", LINK["Link"]), ("Link", LINK["Link"].replace("dataModel", "other"))]


@pytest.mark.parametrize("path", ["entities", "subscriptions", "jsonldContexts", "entityOperations/upsert", "types"])
async def test_a_wrong_method_names_the_right_ones(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.put(f"{ROOT}/{path}", json={})
    assert answer.status_code == 405 and answer.headers["allow"]
    assert "PUT" not in answer.headers["allow"]


@pytest.mark.parametrize("path", ["entities?type=A", "entities/urn:a", "subscriptions", "types", "jsonldContexts"])
async def test_an_unknown_representation_is_refused(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"{ROOT}/{path}", headers={"Accept": "text/turtle"})
    assert answer.status_code == 406 and answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["entities", "subscriptions", "jsonldContexts", "entityOperations/create"])
async def test_an_unknown_body_is_refused(client: httpx.AsyncClient, path: str) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    assert (await client.post(f"{ROOT}/{path}", content=b"{}", headers=headers)).status_code == 415


@pytest.mark.parametrize("path", ["entities?type=A", "types", "subscriptions"])
async def test_two_contexts_in_links_are_refused(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"{ROOT}/{path}", headers=TWO)
    assert (answer.status_code, answer.json()["type"]) == (400, f"{ETSI}BadRequestData")


@pytest.mark.parametrize("path", ["entities", "subscriptions"])
async def test_the_place_of_the_context(client: httpx.AsyncClient, path: str) -> None:
    both = await client.post(f"{ROOT}/{path}", json={**BODY, "@context": {}}, headers={**LD, **LINK})
    missing = await client.post(f"{ROOT}/{path}", json=BODY, headers=LD)
    inside = await client.post(f"{ROOT}/{path}", json={**BODY, "@context": {}})
    assert [a.status_code for a in (both, missing, inside)] == [400] * 3
    assert {a.json()["type"] for a in (both, missing, inside)} == {f"{ETSI}BadRequestData"}


async def test_the_tenant_is_echoed_in_problems_too(client: httpx.AsyncClient) -> None:
    headers = {"NGSILD-Tenant": "one"}
    made = await client.post(f"{ROOT}/entities", json=BODY, headers=headers)
    again = await client.post(f"{ROOT}/entities", json=BODY, headers=headers)
    assert [(a.status_code, a.headers["ngsild-tenant"]) for a in (made, again)] == [(201, "one"), (409, "one")]
    assert "ngsild-tenant" not in (await client.get(f"{ROOT}/types")).headers


async def test_trailing_slash_and_head(client: httpx.AsyncClient) -> None:
    assert (await client.post(f"{ROOT}/entities/", json=BODY)).status_code == 201
    answer = await client.head(f"{ROOT}/entities/{BODY['id']}/")
    assert (answer.status_code, answer.content) == (200, b"") and int(answer.headers["content-length"]) > 2


async def test_what_is_refused_by_weight_is_not_given(client: httpx.AsyncClient) -> None:
    """RFC 9110 clause 12.4.2: q=0 is "not acceptable", also where a range would allow it."""
    for accept, media in (
        ("application/json;q=0, */*", "application/ld+json"),
        ("application/ld+json;q=0, */*", "application/json"),
        ("application/ld+json;q=0.4, application/json;q=0.3", "application/ld+json"),
    ):
        answer = await client.get("/ngsi-ld/v1/types", headers={"Accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (200, media), accept
    none = await client.get(
        "/ngsi-ld/v1/types", headers={"Accept": "application/json;q=0, application/ld+json;q=0, */*"}
    )
    assert none.status_code == 406


async def test_a_byte_order_mark_is_passed_over(client: httpx.AsyncClient) -> None:
    body = b'\xef\xbb\xbf{"id": "urn:ngsi-ld:A:1", "type": "A"}'
    answer = await client.post("/ngsi-ld/v1/entities", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201, answer.text


async def test_the_count_of_older_versions(client: httpx.AsyncClient) -> None:
    """``options=count`` was in earlier versions of the API, and clients still say it."""
    for path in ("subscriptions/", "entities?type=A", "types"):
        url = f"/ngsi-ld/v1/{path}"
        answer = await client.get(url + ("&" if "?" in url else "?") + "options=count&limit=5")
        if path == "types":  # it has no options
            assert answer.status_code == 400
        else:
            assert (answer.status_code, answer.headers["ngsild-results-count"]) == (200, "0"), answer.text


async def test_head_mirrors_get_and_allow_lists_what_is_served(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    for path, offered in paths.items():
        if "{" in path or "get" not in offered:
            continue
        asked = {"type": "Room"} if path.startswith(ROOT) else {}
        got, head = await client.get(path, params=asked), await client.head(path, params=asked)
        assert head.status_code == got.status_code and head.content == b"", path
        assert head.headers.get("content-type") == got.headers.get("content-type"), path
        told = await client.options(path)
        allowed = {name.upper() for name in offered} | {"HEAD", "OPTIONS"}
        assert told.status_code == 204 and set(told.headers["allow"].split(", ")) == allowed, path


async def test_integers_that_do_not_fit_are_refused(client: httpx.AsyncClient) -> None:
    """What is taken comes back as it was: exactly, or not at all."""
    url, headers = "/ngsi-ld/v1/entities", {"Content-Type": "application/json"}
    for number, (text, fits) in enumerate(
        [
            (str(2**64 - 1), True),
            (str(-(2**63)), True),
            ("1e20", True),
            ("0.12345678901234567890", True),
            (str(2**64), False),
            (str(-(2**63) - 1), False),
            ("9" * 5000, False),
        ]
    ):
        value = f'{{"type": "Property", "value": [1, {text}]}}'
        body = f'{{"id": "urn:ngsi-ld:A:{number}", "type": "A", "a": {value}}}'
        answer = await client.post(url, content=body, headers=headers)
        assert answer.status_code == (201 if fits else 400), (text[:30], answer.text)
        if fits:
            got = (await client.get(f"{url}/urn:ngsi-ld:A:{number}")).json()["a"]["value"][1]
            assert got == (float(text) if "." in text or "e" in text else int(text))
            assert isinstance(got, int) == text.lstrip("-").isdigit()
        else:
            assert "64 bits" in answer.text or "number" in answer.text, answer.text
    assert (
        "/a/value/1: an integer of more than 64 bits"
        in (await client.post(url, content=body.replace("9" * 5000, "9" * 25), headers=headers)).text
    )
