"""Compiled contexts: from JSON-LD 1.1 context documents to two dictionaries.

Only names are mapped (terms, prefixes, vocabulary): that is what NGSI-LD asks of a broker; values stay as they are.
Rules after JSON-LD 1.1 API, 5.2 and 6.2 (IRI expansion, compaction).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from gateway.server.contexts.definitions import GEN_DELIMS, KEYWORDS, Definitions
from gateway.server.errors import BadRequestData

CORE_URL = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.9.jsonld"
CORE_STEM = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context"
REMEMBERED_MAX = 8_192


@cache
def core() -> dict[str, Any]:
    """The core context of NGSI-LD 1.9 as data: vocab, and terms with iri, type, container.

    ``retired``: version -> terms that it had and 1.9 has no more.
    """
    return dict(json.loads((resources.files(__package__) / "core.json").read_text(encoding="utf-8")))


def is_core(url: str) -> bool:
    """Whether the URL is one of the core context's, of any version."""
    return url.startswith(CORE_STEM) and url.endswith(".jsonld")


def retired(url: str) -> dict[str, str]:
    """What is left of an older core context once that of 1.9 is applied after it: the terms that 1.9 has no more."""
    version = url.removeprefix(CORE_STEM).removesuffix(".jsonld").removeprefix("-v")
    return dict(core()["retired"].get(version, {}))


class Context:
    """A compiled context. ``link``: what a response names; ``spec``: what goes into a body as ``@context``.

    ``aliases``: terms of users that stand for keywords, as in ``{"identifier": "@id"}``.
    ``documents``: the context objects that it was made of, for who must keep it beyond a restart.
    """

    __slots__ = (
        "_compacted",
        "_empty",
        "_expanded",
        "_inverse",
        "_prefixes",
        "_terms",
        "aliases",
        "documents",
        "link",
        "spec",
        "vocab",
    )

    def __init__(self, definitions: Definitions, spec: object) -> None:
        base = core()
        self.vocab: str = base["vocab"]
        own = {term: made for term, made in definitions.terms.items() if term not in base["terms"]}
        self._terms = {term: made.iri for term, made in own.items() if made.iri and made.iri not in KEYWORDS}
        self._terms.update((term, entry["iri"]) for term, entry in base["terms"].items() if entry["iri"][0] != "@")
        self.aliases = {term: made.iri for term, made in own.items() if made.iri in KEYWORDS}
        self._empty = frozenset(term for term, made in own.items() if made.iri is None)
        prefixes = {t for t, made in own.items() if made.prefix}
        prefixes |= {t for t, entry in base["terms"].items() if entry["iri"][-1] in GEN_DELIMS}
        self._prefixes = {term: self._terms[term] for term in prefixes if ":" not in term}
        self._inverse: dict[str, str] = {}
        for term in sorted(self._terms, key=lambda t: (len(t), t)):
            self._inverse.setdefault(self._terms[term], term)
        self._expanded: dict[str, str] = {}
        self._compacted: dict[str, str] = {}
        self.documents: list[dict[str, Any]] = []
        self.spec = spec
        self.link = spec if isinstance(spec, str) else CORE_URL

    def expand_name(self, name: str) -> str:
        """The IRI of a term, prefixed name or IRI. Raises BadRequestData for a term without an IRI."""
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
        # JSON-LD would drop such members without a word; here nothing of what is sent gets lost.
        if name in self._empty:
            raise BadRequestData(f"the @context defines {name!r} as null: it cannot be used")
        if name in self.aliases:
            raise BadRequestData(f"the @context makes {name!r} a name of {self.aliases[name]}: it cannot stand here")
        prefix, colon, suffix = name.partition(":")
        if not colon:
            return self.vocab + name
        if not suffix.startswith("//") and prefix in self._prefixes:
            return self._prefixes[prefix] + suffix
        return name

    def _compact(self, iri: str) -> str:
        if iri.startswith(self.vocab):
            suffix = iri[len(self.vocab) :]
            if suffix and not self._is_term(suffix) and ":" not in suffix:
                return suffix
        candidates = [
            f"{term}:{iri[len(base) :]}"
            for term, base in self._prefixes.items()
            if len(iri) > len(base) and iri.startswith(base)
        ]
        usable = [name for name in candidates if not self._is_term(name)]
        return min(usable, key=lambda name: (len(name), name), default=iri)

    def _is_term(self, name: str) -> bool:
        return name in self._terms or name in self._empty or name in self.aliases


def compile_context(documents: Iterable[Mapping[str, Any]], spec: object) -> Context:
    """The context of these context objects, applied in order, then the core. Raises BadRequestData."""
    return Context(Definitions(core()["vocab"], documents), spec)


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
