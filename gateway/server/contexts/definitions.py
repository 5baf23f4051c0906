"""From JSON-LD 1.1 context objects to term definitions: context processing and the rules for what may stand in it.

After JSON-LD 1.1 API, 4.1 (context processing), 4.2 (create term definition), 5.2 (IRI expansion). Scoped contexts and
``@reverse`` are refused (CIM 009 clause 5.5.7). Of ``@import`` the service has taken care: it can download.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.server.errors import BadRequestData

GEN_DELIMS = ":/?#[]@"
TERMS_MAX = 20_000
KEYWORDS = frozenset(
    f"@{name}"
    for name in (
        *(
            "base",
            "container",
            "context",
            "direction",
            "graph",
            "id",
            "import",
            "included",
            "index",
            "json",
            "language",
        ),
        *("list", "nest", "none", "prefix", "propagate", "protected", "reverse", "set", "type", "value", "version"),
        "vocab",
    )
)
KEYWORD_LIKE = re.compile(r"@[A-Za-z]+\Z")
ABSOLUTE = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*|_):\S*\Z")
IRI_SHAPED = re.compile(r".+:.|.*/", re.DOTALL)
MEMBERS = frozenset(
    ["@id", "@type", "@container", "@language", "@direction", "@index", "@nest", "@prefix", "@protected"]
)
CONTAINERS = frozenset(["@list", "@set", "@index", "@language", "@graph", "@id", "@type"])
OF_A_CONTEXT = frozenset(["@base", "@direction", "@language", "@propagate", "@protected", "@version", "@vocab"])
States = dict[str, bool]  # of the terms of one context object: begun (False), done (True)


@dataclass(frozen=True, slots=True)
class Term:
    """A definition. ``iri``: an IRI, a keyword, or None: the term means nothing. ``rest``: what names do not need."""

    iri: str | None
    prefix: bool = False
    protected: bool = False
    rest: str = ""


class Definitions:
    """Collects the term definitions of context objects, in order. Raises BadRequestData for what is not JSON-LD.

    ``vocab``: of the core context, which everybody may put first, so a context need not have one of its own.
    """

    def __init__(self, vocab: str, documents: Iterable[Mapping[str, Any]] = ()) -> None:
        self.terms: dict[str, Term] = {}
        self._vocab: str | None = vocab
        for document in documents:
            self.add(document)

    @property
    def protected(self) -> bool:
        """Whether any term must stay what it is."""
        return any(term.protected for term in self.terms.values())

    def add(self, document: Mapping[str, Any]) -> None:
        """Apply one context object after those before it."""
        if len(document) + len(self.terms) > TERMS_MAX:
            raise BadRequestData(f"a @context of more than {TERMS_MAX} terms")
        _check_keywords(document)
        if "@vocab" in document:
            vocab = document["@vocab"]
            self._vocab = None if vocab is None else self._absolute("@vocab", self._expand({}, vocab, {}))
        states: States = {}
        for term in document:
            if term not in OF_A_CONTEXT:
                self._define(document, term, states)

    def _define(self, document: Mapping[str, Any], term: str, states: States) -> None:
        if term in states:
            if not states[term]:
                raise BadRequestData(f"@context: the definition of {term!r} refers to itself")
            return
        if _is_ignored(term, document[term]):
            return
        states[term] = False
        value = document[term]
        if value is None or isinstance(value, str):
            value = {"@id": value}
        _check_members(term, value)
        before = self.terms.pop(term, None)
        named = value.get("@id", term)
        if isinstance(named, str) and named not in KEYWORDS and KEYWORD_LIKE.match(named):
            made = before  # JSON-LD keeps the names of such a shape for its later versions
        else:
            made = self._made(document, term, value, states)
        if before is not None and before.protected and made is not None:
            made = replace(made, protected=True)
            if made != before:
                raise BadRequestData(f"@context: {term!r} is protected and cannot be defined otherwise")
        if made is not None:
            self.terms[term] = made
        states[term] = True

    def _made(self, document: Mapping[str, Any], term: str, value: Mapping[str, Any], states: States) -> Term:
        """The definition that the members give."""
        iri = self._iri_of(document, term, value, states)
        prefix = value.get("@prefix")
        if prefix is None:
            given = document[term]
            simple = isinstance(given, str) and given != term and ":" not in term[1:]
            prefix = simple and iri is not None and (iri[-1:] in GEN_DELIMS or iri.startswith("_:"))
        elif iri in KEYWORDS:
            raise BadRequestData(f"@context: {term!r} stands for {iri}, which cannot be a prefix")
        if iri == "@context":
            raise BadRequestData(f"@context: {term!r} cannot stand for @context")
        kind = value.get("@type")
        if kind is not None and kind not in ("@id", "@vocab", "@json", "@none"):
            kind = self._expand(document, kind, states)
            if kind is None or not ABSOLUTE.match(kind) or kind.startswith("_:"):
                raise BadRequestData(f"@context: @type of {term!r} must be an IRI, @id, @vocab, @json or @none")
        container = value.get("@container")
        if "@type" in _listed(container) and kind not in (None, "@id", "@vocab"):
            raise BadRequestData(f"@context: {term!r} with @container @type may only have @type @id or @vocab")
        rest = (kind, sorted(_listed(container)), *(repr(value.get(m, "")) for m in sorted(MEMBERS) if m in RESTING))
        protected = bool(value.get("@protected", document.get("@protected", False)))
        return Term(iri, bool(prefix) and iri is not None, protected, repr(rest))

    def _iri_of(self, document: Mapping[str, Any], term: str, value: Mapping[str, Any], states: States) -> str | None:
        named = value.get("@id", term)
        if named is None or term == "@type":
            return None if named is None else "@type"
        if named != term:
            iri = self._expand(document, named, states)
            if iri not in KEYWORDS:
                iri = self._absolute(f"@id of {term!r}", iri)
            if IRI_SHAPED.match(term) and self._expand(document, term, {**states, term: True}) != iri:
                raise BadRequestData(f"@context: {term!r} looks like an IRI and must stand for that one")
            return iri
        prefix, colon, suffix = term.partition(":")
        if prefix and colon:
            if prefix in document:
                self._define(document, prefix, states)
            base = self.terms.get(prefix)
            return term if base is None or base.iri is None else base.iri + suffix
        if self._vocab is None:
            raise BadRequestData(f"@context: {term!r} needs an @id, as there is no @vocab")
        return self._vocab + term

    def _expand(self, document: Mapping[str, Any], value: str, states: States) -> str | None:
        """The IRI or keyword that a string stands for; as it is where nothing makes an IRI of it."""
        if value in KEYWORDS:
            return value
        if KEYWORD_LIKE.match(value):
            return None
        if value in document and not states.get(value):
            self._define(document, value, states)
        if value in self.terms:
            return self.terms[value].iri
        prefix, colon, suffix = value.partition(":")
        if prefix and colon:
            if prefix == "_" or suffix.startswith("//"):
                return value
            if prefix in document and not states.get(prefix):
                self._define(document, prefix, states)
            base = self.terms.get(prefix)
            if base is not None and base.prefix and base.iri is not None:
                return base.iri + suffix
            if ABSOLUTE.match(value):
                return value
        return value if self._vocab is None else self._vocab + value

    @staticmethod
    def _absolute(what: str, iri: str | None) -> str:
        if iri is None or not ABSOLUTE.match(iri):
            raise BadRequestData(f"@context: {what} must be an IRI, or a name that stands for one")
        return iri


RESTING = ("@language", "@direction", "@index", "@nest")


def _check_keywords(document: Mapping[str, Any]) -> None:
    """The keywords of a context itself. ``@base`` and ``@propagate`` mean nothing for names: only checked."""
    if "@version" in document and (document["@version"] != 1.1 or isinstance(document["@version"], bool)):
        raise BadRequestData("@context: @version must be the number 1.1")
    for keyword in ("@base", "@vocab", "@language"):
        if not isinstance(document.get(keyword), str | None):
            raise BadRequestData(f"@context: {keyword} must be a string or null")
    if document.get("@direction") not in (None, "ltr", "rtl"):
        raise BadRequestData("@context: @direction must be ltr, rtl or null")
    for keyword in ("@propagate", "@protected"):
        if not isinstance(document.get(keyword, False), bool):
            raise BadRequestData(f"@context: {keyword} must be true or false")


def _is_ignored(term: str, value: object) -> bool:
    """Whether a term has the shape of a keyword without being one. Raises for those that cannot be defined."""
    if term == "":
        raise BadRequestData("@context: a term cannot be empty")
    if term == "@type" and isinstance(value, dict) and value and value.keys() <= {"@container", "@protected"}:
        if value.get("@container", "@set") not in ("@set", ["@set"]):
            raise BadRequestData("@context: @container of @type must be @set")
        return False
    if term in KEYWORDS:
        raise BadRequestData(f"@context: {term} is a keyword and cannot be defined")
    return KEYWORD_LIKE.match(term) is not None


def _check_members(term: str, value: object) -> None:
    """What the definition of a term may have, each by itself."""
    if not isinstance(value, dict):
        raise BadRequestData(f"@context: the definition of {term!r} must be a string, an object or null")
    for member in value:
        if member in ("@context", "@reverse"):
            raise BadRequestData(f"@context: {term!r} has {member}, which NGSI-LD contexts may not have")
        if member not in MEMBERS:
            raise BadRequestData(f"@context: {term!r} cannot have {member!r}")
    container = _listed(value.get("@container"))
    nest, index = value.get("@nest", "@nest"), value.get("@index", "index")
    good = {
        "@id": isinstance(value.get("@id"), str | None),
        "@type": isinstance(value.get("@type", ""), str),
        "@language": isinstance(value.get("@language"), str | None),
        "@direction": value.get("@direction") in (None, "ltr", "rtl"),
        "@protected": isinstance(value.get("@protected", False), bool),
        "@prefix": isinstance(value.get("@prefix", False), bool)
        and ("@prefix" not in value or not re.search("[:/]", term)),
        "@nest": isinstance(nest, str) and (nest == "@nest" or (nest not in KEYWORDS and nest[:1] != "@")),
        "@index": isinstance(index, str) and index[:1] != "@" and ("@index" not in value or "@index" in container),
        "@container": "@container" not in value or _is_container(container),
    }
    for member, is_good in good.items():
        if not is_good:
            raise BadRequestData(f"@context: {member} of {term!r} cannot be {str(value[member])[:100]!r}")


def _listed(container: object) -> list[Any]:
    return container if isinstance(container, list) else [] if container is None else [container]


def _is_container(container: list[Any]) -> bool:
    """JSON-LD 1.1 API, 4.2, step 19: which may stand together."""
    if not container or not all(isinstance(one, str) and one in CONTAINERS for one in container):
        return False
    given = set(container)
    if "@graph" in given:
        return given <= {"@graph", "@id", "@index", "@set"} and not {"@id", "@index"} <= given
    return len(container) == 1 or (len(container) == 2 and "@set" in given and "@list" not in given)
