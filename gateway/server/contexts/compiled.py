"""Compiled contexts: from JSON-LD 1.1 context documents to two dictionaries.

Only names are mapped (terms, prefixes, vocabulary): that is what NGSI-LD asks of a broker; values stay as they are.
Rules after JSON-LD 1.1 API, 4.1 to 4.2 (context processing, create term definition), 5.2 and 6.2 (IRI expansion,
compaction); scoped contexts, ``@import`` and ``@reverse`` are refused (CIM 009 clause 5.5.7).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from gateway.server.errors import BadRequestData

CORE_URL = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.9.jsonld"
CORE_STEM = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context"
GEN_DELIMS = ":/?#[]@"
TERMS_MAX = 20_000
REMEMBERED_MAX = 8_192


@cache
def core() -> dict[str, Any]:
    """The core context of NGSI-LD 1.9 as data: vocab, and terms with iri, type, container."""
    return dict(json.loads((resources.files(__package__) / "core.json").read_text(encoding="utf-8")))


def is_core(url: str) -> bool:
    """Whether the URL is one of the core context's, of any version."""
    return url.startswith(CORE_STEM) and url.endswith(".jsonld")


class Context:
    """A compiled context. ``link``: what a response names; ``spec``: what goes into a body as ``@context``.

    ``documents``: the context objects that it was made of, for who must keep it beyond a restart.
    """

    __slots__ = ("_compacted", "_expanded", "_inverse", "_prefixes", "_terms", "documents", "link", "spec", "vocab")

    def __init__(self, definitions: Definitions, spec: object) -> None:
        base = core()
        self.vocab: str = base["vocab"]
        self._terms = dict(definitions.terms)
        self._terms.update((term, entry["iri"]) for term, entry in base["terms"].items() if entry["iri"][0] != "@")
        prefixes = definitions.prefixes | {t for t, e in base["terms"].items() if e["iri"][-1] in GEN_DELIMS}
        self._prefixes = {term: self._terms[term] for term in prefixes if term in self._terms}
        self._inverse: dict[str, str] = {}
        for term in sorted(self._terms, key=lambda t: (len(t), t)):
            self._inverse.setdefault(self._terms[term], term)
        self._expanded: dict[str, str] = {}
        self._compacted: dict[str, str] = {}
        self.documents: list[dict[str, Any]] = []
        self.spec = spec
        self.link = spec if isinstance(spec, str) else CORE_URL

    def expand_name(self, name: str) -> str:
        """The IRI of a term, prefixed name or IRI."""
        found = self._terms.get(name) or self._expanded.get(name)
        if found is None:
            found = self._expand(name)
            if len(self._expanded) < REMEMBERED_MAX:
                self._expanded[name] = found
        return found

    def compact_name(self, iri: str) -> str:
        """The shortest name that expands to the IRI; the IRI itself where there is none."""
        found = self._inverse.get(iri) or self._compacted.get(iri)
        if found is None:
            found = self._compact(iri)
            if len(self._compacted) < REMEMBERED_MAX:
                self._compacted[iri] = found
        return found

    def compact(self, entity: Mapping[str, Any]) -> dict[str, Any]:
        """A stored entity (or attribute instance) with all names compacted, otherwise as it is."""
        result: dict[str, Any] = {}
        for name, value in entity.items():
            if ":" in name:
                result[self.compact_name(name)] = self._compact_instances(value)
            elif name in ("vocab", "objectType") or (name == "type" and isinstance(value, list)):
                result[name] = self.compact_names(value)
            else:
                result[name] = value
        return result

    def compact_names(self, iris: str | list[str]) -> str | list[str]:
        """One IRI, or a list of which a single member stands alone."""
        if isinstance(iris, str):
            return self.compact_name(iris)
        names = [self.compact_name(iri) for iri in iris]
        return names[0] if len(names) == 1 else names

    def _compact_instances(self, value: dict[str, Any] | list[dict[str, Any]]) -> object:
        if isinstance(value, list):
            return [self.compact(instance) for instance in value]
        return self.compact(value)

    def _expand(self, name: str) -> str:
        prefix, colon, suffix = name.partition(":")
        if not colon:
            return self.vocab + name
        if not suffix.startswith("//") and prefix in self._prefixes:
            return self._prefixes[prefix] + suffix
        return name

    def _compact(self, iri: str) -> str:
        if iri.startswith(self.vocab):
            suffix = iri[len(self.vocab) :]
            if suffix and suffix not in self._terms and ":" not in suffix:
                return suffix
        candidates = [
            f"{term}:{iri[len(base) :]}"
            for term, base in self._prefixes.items()
            if len(iri) > len(base) and iri.startswith(base)
        ]
        usable = [name for name in candidates if name not in self._terms]
        return min(usable, key=lambda name: (len(name), name), default=iri)


class Definitions:
    """Collects the term definitions of context objects, in order. Raises BadRequestData for what is not JSON-LD."""

    def __init__(self) -> None:
        self.terms: dict[str, str] = {}
        self.prefixes: set[str] = set()
        self._vocab: str | None = None

    def add(self, document: Mapping[str, Any]) -> None:
        """Apply one context object after those before it."""
        if "@import" in document:
            raise BadRequestData("a @context with @import is not supported")
        if len(document) + len(self.terms) > TERMS_MAX:
            raise BadRequestData(f"a @context of more than {TERMS_MAX} terms")
        vocab = document.get("@vocab", self._vocab)
        if vocab is not None and (not isinstance(vocab, str) or ":" not in vocab):
            raise BadRequestData("@context: @vocab must be an IRI")
        self._vocab = vocab
        states: dict[str, bool] = {}
        for term in document:
            if not term.startswith("@"):
                self._define(document, term, states)

    def _define(self, document: Mapping[str, Any], term: str, states: dict[str, bool]) -> None:
        if term in states:
            if not states[term]:
                raise BadRequestData(f"@context: the definition of {term!r} refers to itself")
            return
        states[term] = False
        value = document[term]
        self.prefixes.discard(term)
        self.terms.pop(term, None)
        iri = self._iri_of(document, term, value, states)
        if iri is not None and not iri.startswith("@"):
            self.terms[term] = iri
            if _is_prefix(term, iri, value):
                self.prefixes.add(term)
        states[term] = True

    def _iri_of(self, document: Mapping[str, Any], term: str, value: object, states: dict[str, bool]) -> str | None:
        if value is None:
            return None
        if isinstance(value, str):
            value = {"@id": value}
        if not isinstance(value, dict):
            raise BadRequestData(f"@context: the definition of {term!r} must be a string or an object")
        for member in ("@context", "@reverse", "@import"):
            if member in value:
                raise BadRequestData(f"@context: {term!r} has {member}, which NGSI-LD contexts may not have")
        named = value.get("@id", term)
        if named is None:
            return None
        if not isinstance(named, str):
            raise BadRequestData(f"@context: @id of {term!r} must be a string")
        if named == term and ":" not in term:
            return (self._vocab if self._vocab is not None else core()["vocab"]) + term
        return self._expand(document, named, states, own=term)

    def _expand(self, document: Mapping[str, Any], value: str, states: dict[str, bool], own: str = "") -> str:
        if value.startswith("@"):
            return value
        if value in document and value != own:
            self._define(document, value, states)
        if value in self.terms:
            return self.terms[value]
        prefix, colon, suffix = value.partition(":")
        if not colon:
            return (self._vocab if self._vocab is not None else core()["vocab"]) + value
        if suffix.startswith("//"):
            return value
        if prefix in document:
            self._define(document, prefix, states)
        return self.terms[prefix] + suffix if prefix in self.prefixes else value


def _is_prefix(term: str, iri: str, value: object) -> bool:
    """JSON-LD 1.1: a simple term whose IRI ends in a delimiter, or one that says so."""
    if ":" in term or "/" in term:
        return False
    if isinstance(value, dict):
        return value.get("@prefix") is True
    return iri[-1] in GEN_DELIMS


def compile_context(documents: Iterable[Mapping[str, Any]], spec: object) -> Context:
    """The context of these context objects, applied in order, then the core. Raises BadRequestData."""
    definitions = Definitions()
    for document in documents:
        definitions.add(document)
    return Context(definitions, spec)


def core_document() -> dict[str, Any]:
    """The core context as a JSON-LD context object."""
    base = core()
    terms = {
        term: entry["iri"]
        if entry.keys() == {"iri"}
        else {"@id": entry["iri"], **{f"@{m}": entry[m] for m in ("type", "container") if m in entry}}
        for term, entry in base["terms"].items()
    }
    return {"@version": 1.1, "@protected": True, "@vocab": base["vocab"], **terms}
