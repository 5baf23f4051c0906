"""Contexts by JSON-LD 1.1: random ones against PyLD as the oracle, refusals one by one, @import."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyld import jsonld

from gateway.server.contexts import CORE_URL, Contexts
from gateway.server.contexts.compiled import compile_context
from gateway.server.contexts.service import Download
from gateway.server.errors import BadRequestData
from tests.server.contexts_oracle import VOCAB, oracle_compact, oracle_expand
from tests.server.support import LD, ROOT

TERMS = st.sampled_from(["alpha", "beta", "gamma", "delta", "ex", "other", "Type1", "ex:alpha", "@foo"])
IRIS = st.sampled_from(
    [
        "https://example.org/a#",
        "https://example.org/b/",
        "https://example.org/thing",
        "urn:x:y:",
        "ex:inner",
        "ex:alpha",
        "alpha",
        "beta",
        "@id",
        "@type",
        f"{VOCAB}q",
    ]
)
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "@id": IRIS,
    "@prefix": st.booleans(),
    "@protected": st.booleans(),
    "@type": st.sampled_from(["@id", "@vocab", "@json", "@none", "ex:type", "beta", "@set", "_:b", 5]),
    "@container": st.sampled_from(
        ["@list", "@set", "@index", "@bad", ["@list", "@set"], ["@set", "@type"], "@type", ["@graph", "@id"]]
    ),
    "@language": st.sampled_from(["de", 5]),
    "@nest": st.sampled_from(["@nest", "alpha", "@id"]),
    "@index": st.sampled_from(["alpha", "@index"]),
    "@unknown": st.just(1),
}
OBJECTS = st.builds(
    lambda chosen, iri: ({"@id": iri} if iri else {}) | chosen,
    st.lists(st.sampled_from(sorted(MEMBERS)), max_size=2).flatmap(
        lambda names: st.fixed_dictionaries({name: MEMBERS[name] for name in names})
    ),
    st.one_of(st.none(), IRIS),
)
DEFINITIONS = st.one_of(IRIS, IRIS, IRIS, st.none(), OBJECTS)
KEYWORDS = st.sampled_from(
    [
        {},
        {},
        {},
        {"@version": 1.1},
        {"@version": 1.0},
        {"@protected": True},
        {"@propagate": True},
        {"@propagate": "no"},
        {"@vocab": ""},
        {"@vocab": None},
        {"@vocab": "https://v.org/"},
        {"@vocab": "more/"},
        {"@vocab": 5},
        {"@base": "https://b.org/"},
        {"@base": 5},
        {"@language": "de"},
        {"@language": 5},
        {"@id": "urn:a"},
        {"@type": {"@container": "@set"}},
        {"@type": "urn:a"},
        {"@direction": "up"},
    ]
)
DOCUMENT = st.builds(lambda terms, words: {**words, **terms}, st.dictionaries(TERMS, DEFINITIONS, max_size=4), KEYWORDS)
# PyLD fails with a KeyError where @vocab is taken back twice; what is relative to no vocabulary has no meaning for us.
DOCUMENTS = st.lists(DOCUMENT, min_size=1, max_size=2).filter(
    lambda documents: documents[0].get("@vocab", "") is not None or "@vocab" not in documents[-1] or len(documents) == 1
)
# PyLD prefers a term by the value's type, language and container; names of attributes do not depend on them here.
PREFERRING = {"@type", "@container", "@language"}
PLAIN = DOCUMENTS.filter(
    lambda documents: (
        not any(
            "@language" in document or any(isinstance(v, dict) and PREFERRING & v.keys() for v in document.values())
            for document in documents
        )
    )
)
NAMES = st.sampled_from(
    ["alpha", "beta", "gamma", "unknownName", "ex:inner", "ex:alpha", "alpha:x", "Type1", "location", "urn:x:y:z"]
)
COMPACTED = st.sampled_from(
    [
        "https://example.org/a#x",
        "https://example.org/thing",
        "https://example.org/b/c",
        f"{VOCAB}alpha",
        f"{VOCAB}q",
        "urn:x:y:z",
        "https://v.org/alpha",
    ]
)
SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # PyLD about what looks like a keyword
        yield


@given(DOCUMENTS, NAMES)
@SETTINGS
def test_expansion_agrees_with_pyld(documents: list[dict[str, Any]], name: str) -> None:
    try:
        expected = oracle_expand(documents, name)
    except (jsonld.JsonLdError, TypeError):  # TypeError: PyLD about a name behind a prefix that is null
        expected = "refused"
    try:
        context = compile_context(documents, None)
    except BadRequestData:
        assert expected == "refused"
        return
    try:
        assert context.expand_name(name) == expected
    except BadRequestData:
        assert expected in (None, "refused")  # nothing that was sent is dropped without a word


@given(PLAIN, COMPACTED)
@SETTINGS
def test_compaction_agrees_with_pyld(documents: list[dict[str, Any]], iri: str) -> None:
    try:
        expected = oracle_compact(documents, iri)
    except (jsonld.JsonLdError, TypeError):
        return  # the test above tells about these
    assert compile_context(documents, None).compact_name(iri) == expected


@pytest.mark.parametrize(
    "spec",
    [
        {"@version": 1.0},
        {"@version": "1.1"},
        {"@version": True},
        {"@vocab": 5},
        {"@base": {}},
        {"@language": 5},
        {"@direction": "up"},
        {"@propagate": "yes"},
        {"@protected": 1},
        {"@id": "https://x.org/a"},
        {"@type": "https://x.org/a"},
        {"": "https://x.org/a"},
        {"a": "b", "b": "c", "c": "a"},
        {"a": "b:x", "b": "a:y"},
        {"@vocab": None, "a": "relative"},
        {"@vocab": None, "a": {"@type": "@id"}},
        {"a": {"@id": "https://x.org/a", "@container": "@bag"}},
        {"a": {"@id": "https://x.org/a", "@container": ["@list", "@set"]}},
        {"a": {"@id": "https://x.org/a", "@container": None}},
        {"a": {"@id": "https://x.org/a", "@container": "@type", "@type": "@json"}},
        {"a": {"@id": "https://x.org/a", "@type": 5}},
        {"a": {"@id": "https://x.org/a", "@type": "@set"}},
        {"a": {"@id": "https://x.org/a", "@type": "_:b"}},
        {"a": {"@id": "https://x.org/a", "@language": 5}},
        {"a": {"@id": "https://x.org/a", "@nest": "@id"}},
        {"a": {"@id": "https://x.org/a", "@index": "b"}},
        {"a": {"@id": "https://x.org/a", "@container": "@index", "@index": "@id"}},
        {"a": {"@id": "https://x.org/a", "@prefix": "yes"}},
        {"a:b": {"@id": "a:b", "@prefix": True}},
        {"a": {"@id": "@id", "@prefix": True}},
        {"a": {"@id": "https://x.org/a", "@unknown": 1}},
        {"a": "@context"},
        {"a:b": "https://x.org/other"},
        [{"a": {"@id": "https://x.org/a", "@protected": True}}, {"a": "https://x.org/b"}],
        [{"@protected": True, "a": "https://x.org/a"}, {"a": None}],
        [{"@protected": True, "a": "https://x.org/a"}, None],
        {"@import": 5},
    ],
    ids=lambda spec: orjson.dumps(spec).decode(),
)
async def test_what_is_not_json_ld_is_refused(spec: Any) -> None:
    with pytest.raises(BadRequestData):
        await Contexts().context_for(spec)


@pytest.mark.parametrize(
    ("spec", "name", "iri"),
    [
        ({"@vocab": ""}, "a", f"{VOCAB}a"),
        ({"@version": 1.1, "@propagate": False, "@base": None, "@language": None, "a": "urn:a"}, "a", "urn:a"),
        ({"a": None, "b": "urn:b"}, "b", "urn:b"),
        ({"key": "@id", "kind": "@type", "b": "urn:b"}, "b", "urn:b"),
        ({"@foo": 5, "a": {"@id": "@bar"}, "b": "urn:b"}, "b", "urn:b"),
        ({"@foo": 5, "a": {"@id": "@bar"}}, "a", f"{VOCAB}a"),
        ({"@type": {"@container": "@set", "@protected": True}, "b": "urn:b"}, "b", "urn:b"),
        ([{"@protected": True, "a": "urn:a"}, {"a": "urn:a"}], "a", "urn:a"),
        ({"a": {"@id": "urn:a", "@container": ["@graph", "@id", "@set"], "@nest": "n"}}, "a", "urn:a"),
        ({"location": "urn:mine", "a": None}, "location", "https://uri.etsi.org/ngsi-ld/location"),
        ({"location": None}, "location", "https://uri.etsi.org/ngsi-ld/location"),
    ],
    ids=lambda part: orjson.dumps(part).decode(),
)
async def test_what_is_json_ld_is_accepted(spec: Any, name: str, iri: str) -> None:
    assert (await Contexts().context_for(spec)).expand_name(name) == iri


async def test_import_is_relative_to_its_document_and_gives_way_to_what_stands_beside_it() -> None:
    behind = {
        "https://x.org/c/top.jsonld": {"@import": "../base.jsonld", "a": "ex:own"},
        "https://x.org/base.jsonld": {"ex": "https://x.org/ns#", "a": "urn:a", "b": "ex:b"},
        "https://x.org/list": [{"b": "urn:b"}],
        "https://x.org/again": {"@import": "base.jsonld"},
        "https://x.org/round": ["leaf"],
        "https://x.org/leaf": ["round"],
    }

    async def fetch(url: str) -> Download:
        return Download(orjson.dumps({"@context": behind[url]}), {})

    contexts = Contexts(fetch)
    context = await contexts.context_for("https://x.org/c/top.jsonld")
    assert (context.expand_name("a"), context.expand_name("b")) == ("https://x.org/ns#own", "https://x.org/ns#b")
    assert contexts.restore(None, context.documents).expand_name("b") == "https://x.org/ns#b"
    assert (await contexts.context_for({"@import": CORE_URL, "b": "urn:b"})).expand_name("b") == "urn:b"
    for refused in ({"@import": "https://x.org/list"}, {"@import": "https://x.org/again"}):
        with pytest.raises(BadRequestData, match="cannot be imported"):
            await contexts.context_for(refused)
    with pytest.raises(BadRequestData, match="includes itself"):
        await contexts.context_for("https://x.org/round")


async def test_names_without_an_iri_are_refused_not_lost(client: httpx.AsyncClient) -> None:
    context = {"nothing": None, "identifier": "@id", "power": "urn:x:power"}
    for name in ("nothing", "identifier"):
        body = {"@context": context, "id": "urn:ngsi-ld:A:1", "type": "A", name: {"type": "Property", "value": 1}}
        answer = await client.post(f"{ROOT}/entities", json=body, headers=LD)
        assert answer.status_code == 400, (answer.status_code, answer.text)
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (400, "BadRequestData"), answer.text
        assert answer.json()["detail"].startswith(f"/{name}: ")
    kinds = {"type": "VocabProperty", "vocab": ["power", "nothing"]}
    body = {"@context": context, "id": "urn:ngsi-ld:A:1", "type": "A", "power": kinds}
    answer = await client.post(f"{ROOT}/entities", json=body, headers=LD)
    assert answer.status_code == 400 and answer.json()["detail"].startswith("/power/vocab: ")
    body = {"@context": context, "id": "urn:ngsi-ld:A:1", "type": "A", "power": {"type": "Property", "value": 1}}
    assert (await client.post(f"{ROOT}/entities", json=body, headers=LD)).status_code == 201


@pytest.mark.parametrize(
    ("version", "name", "iri"),
    [
        ("-v1.0", "name", "https://uri.etsi.org/ngsi-ld/name"),
        ("-v1.0", "description", "http://purl.org/dc/terms/description"),
        ("-v1.3", "name", f"{VOCAB}name"),
        ("-v1.7", "VocabularyProperty", "https://uri.etsi.org/ngsi-ld/VocabularyProperty"),
        ("-v1.6", "VocabularyProperty", f"{VOCAB}VocabularyProperty"),
        ("-v1.9", "VocabularyProperty", f"{VOCAB}VocabularyProperty"),
        ("", "name", f"{VOCAB}name"),
    ],
)
async def test_an_older_core_adds_what_the_newest_has_no_more(
    client: httpx.AsyncClient, version: str, name: str, iri: str
) -> None:
    url = f"https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context{version}.jsonld"
    named = {"Link": f'<{url}>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'}
    body = {"id": "urn:ngsi-ld:A:1", "type": "A", name: {"type": "Property", "value": 1}}
    assert (await client.post(f"{ROOT}/entities", json=body, headers=named)).status_code == 201
    shown = await client.get(f"{ROOT}/entities/urn:ngsi-ld:A:1", headers=named)
    assert name in shown.json() and url in shown.headers["link"]
    found = (await client.get(f"{ROOT}/attributes", params={"details": "true"}, headers=named)).json()
    assert [(one["id"], one["attributeName"]) for one in found] == [(iri, name)]
