"""What is a context and what is not, as PyLD has it."""

from __future__ import annotations

from typing import Any

import pytest
from pyld import jsonld

from gateway.server.contexts.compiled import compile_context
from gateway.server.errors import BadRequestData

IRI = "https://example.org/a#"
NO_CONTEXTS: list[list[dict[str, Any]]] = [
    [{"@version": 1.0}],
    [{"@version": "1.1"}],
    [{"@vocab": 5}],
    [{"@base": 5}],
    [{"@language": 5}],
    [{"@direction": "up"}],
    [{"@propagate": "yes"}],
    [{"@id": IRI}],
    [{"@value": IRI}],
    [{"@type": IRI}],
    [{"@type": {"@container": "@list"}}],
    [{"": IRI}],
    [{"a": 5}],
    [{"a": ["x"]}],
    [{"a": {"@id": 5}}],
    [{"a": {"@id": IRI, "unknown": 1}}],
    [{"a": {"@id": IRI, "@container": "@value"}}],
    [{"a": {"@id": IRI, "@container": 5}}],
    [{"a": {"@id": IRI, "@container": ["@list", "@set"]}}],
    [{"a": {"@id": IRI, "@type": 5}}],
    [{"a": {"@id": IRI, "@type": "@value"}}],
    [{"a": {"@id": IRI, "@type": "_:b"}}],
    [{"a": {"@id": IRI, "@language": 5}}],
    [{"a": {"@id": IRI, "@direction": "up"}}],
    [{"a": {"@id": IRI, "@prefix": "yes"}}],
    [{"a:b": {"@id": "a:b", "@prefix": True}}],
    [{"a": {"@id": IRI, "@nest": "@id"}}],
    [{"a": {"@id": IRI, "@nest": 5}}],
    [{"a": {"@id": IRI, "@index": "b"}}],
    [{"a": "@context"}],
    [{"a": "b:x", "b": "a:x"}],
    [{"ex": "https://example.org/", "ex:a": "https://example.org/b"}],
    [{"a": {"@id": IRI, "@protected": True}}, {"a": "https://example.org/b"}],
    [{"@protected": True, "a": IRI}, {"a": "https://example.org/b"}],
]
CONTEXTS: list[list[dict[str, Any]]] = [
    [{"@vocab": "", "a": IRI}],
    [{"ex": "https://example.org/"}, {"@vocab": "ex:terms/"}],
    [{"@type": {"@container": "@set"}}],
    [{"@unknown": 5, "a": IRI}],
    [{"a": "@unknown"}],
    [{"a": "@id", "b": "@type"}],
    [{"a": None, "b": {"@id": None}}],
    [{"a": {"@id": IRI, "@container": ["@set", "@index"], "@type": "@vocab"}}],
    [{"a": {"@id": IRI, "@type": "ex:T"}, "ex": "https://example.org/"}],
    [{"a": {"@id": IRI, "@container": "@index", "@index": "b"}, "b": "https://example.org/b"}],
    [{"ex": "https://example.org/", "ex:a": "https://example.org/a", "ex:b": {"@type": "@id"}}],
    [{"a": {"@id": "https://example.org/a", "@protected": True}}, {"a": "https://example.org/a"}],
    [{"@protected": True, "a": {"@id": IRI, "@protected": False}}, {"a": "https://example.org/b"}],
]


def processed(documents: list[dict[str, Any]]) -> bool:
    """Whether PyLD takes it."""
    try:
        jsonld.expand({"@context": documents, "urn:p": 1})
    except jsonld.JsonLdError:
        return False
    return True


@pytest.mark.parametrize("documents", NO_CONTEXTS, ids=str)
def test_what_is_no_context_is_refused_as_by_pyld(documents: list[dict[str, Any]]) -> None:
    assert not processed(documents)
    with pytest.raises(BadRequestData, match="@context"):
        compile_context(documents, None)


@pytest.mark.parametrize("documents", CONTEXTS, ids=str)
def test_what_is_a_context_is_taken_as_by_pyld(documents: list[dict[str, Any]]) -> None:
    assert processed(documents)
    compile_context(documents, None)


def test_where_pyld_is_lax_or_fails() -> None:
    for documents in ([{"@protected": "yes"}], [{"a": {"@id": IRI, "@protected": "yes"}}]):
        with pytest.raises(BadRequestData, match="@protected"):
            compile_context(documents, None)
    nulls = {"@version": 1.1, "@base": None, "@language": None, "@direction": None, "@vocab": None}
    assert compile_context([{**nulls, "@propagate": True, "@protected": False, "a": IRI}], None).expand_name("a") == IRI
