"""Compiled contexts: from JSON-LD 1.1 context documents to two dictionaries.

Only names are mapped (terms, prefixes, vocabulary): that is what NGSI-LD asks of a broker; values stay as they are.
Rules after JSON-LD 1.1 API, 5.2 and 6.2 (IRI expansion, compaction); for the definitions see ``definitions``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from gateway.server.contexts.definitions import GEN_DELIMS, Definitions

CORE_URL = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.9.jsonld"
CORE_STEM = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context"
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


def compile_context(documents: Iterable[Mapping[str, Any]], spec: object) -> Context:
    """The context of these context objects, applied in order, then the core. Raises BadRequestData."""
    definitions = Definitions(core()["vocab"])
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
