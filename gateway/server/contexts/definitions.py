"""Term definitions of context objects, in order; what JSON-LD 1.1 does not allow is refused with its place.

After JSON-LD 1.1 API 4.1 and 4.2 (context processing, create term definition) as far as names go; scoped contexts,
``@import`` and ``@reverse`` are refused (CIM 009 clause 5.5.7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from gateway.server.errors import BadRequestData

GEN_DELIMS = ":/?#[]@"
TERMS_MAX = 20_000
KEYWORD = re.compile(r"@[a-zA-Z]+\Z")  # also what may become one: it is passed over
MEMBERS = frozenset(
    {"@id", "@reverse", "@container", "@context", "@direction", "@index", "@language", "@nest", "@prefix", "@propagate"}
    | {"@protected", "@type"}
)
SETTINGS = frozenset({"@base", "@direction", "@language", "@propagate", "@protected", "@version", "@vocab"})
CONTAINERS = frozenset({"@graph", "@id", "@index", "@language", "@list", "@set", "@type"})
KEYWORDS = MEMBERS | SETTINGS | CONTAINERS | {"@import", "@included", "@json", "@none", "@value"}
TYPES = frozenset({"@id", "@json", "@none", "@vocab"})
UNSUPPORTED = ("@context", "@reverse", "@import")


def refuse(term: str, why: str) -> NoReturn:
    """Raises BadRequestData."""
    raise BadRequestData(f"@context: {f'{term!r} ' if term else ''}{why}")


class Definitions:
    """Collects the term definitions of context objects, in order. Raises BadRequestData for what is not JSON-LD.

    ``vocab``: that of the core context, which comes last: what has no IRI of its own is in it.
    """

    def __init__(self, vocab: str) -> None:
        self.terms: dict[str, str] = {}
        self.prefixes: set[str] = set()
        self._default = vocab
        self._vocab: str | None = None
        self._protected: dict[str, object] = {}  # term -> its definition

    def add(self, document: Mapping[str, Any]) -> None:
        """Apply one context object after those before it."""
        if len(document) + len(self.terms) > TERMS_MAX:
            raise BadRequestData(f"a @context of more than {TERMS_MAX} terms")
        check_keywords(document)
        states: dict[str, bool] = {}
        if "@vocab" in document:
            self._vocab = self._vocab_of(document, document["@vocab"], states)
        for term in document:
            if not KEYWORD.match(term):
                self._define(document, term, states)

    def _vocab_of(self, document: Mapping[str, Any], value: object, states: dict[str, bool]) -> str | None:
        if value is None or value == "":  # relative to the document: of no use for names of a broker
            return None
        if not isinstance(value, str):
            refuse("@vocab", "must be an IRI")
        vocab = self._expand({}, value, states)
        if ":" not in vocab:
            refuse("@vocab", "must be an IRI")
        return vocab

    def _define(self, document: Mapping[str, Any], term: str, states: dict[str, bool]) -> None:
        if term in states:
            if not states[term]:
                refuse(term, "is defined by itself")
            return
        if not term:
            refuse("''", "is no term")
        states[term] = False
        value = document[term]
        check_members(term, value)
        known = self._protected.get(term)
        if known is not None and _plain(value) != known:
            refuse(term, "is protected by a context before this one")
        self.prefixes.discard(term)
        self.terms.pop(term, None)
        iri = self._iri_of(document, term, value, states)
        if iri is not None and not iri.startswith("@"):
            self.terms[term] = iri
            if _is_prefix(term, iri, value):
                self.prefixes.add(term)
        if (value.get("@protected") if isinstance(value, dict) else None) or (
            document.get("@protected") and not (isinstance(value, dict) and value.get("@protected") is False)
        ):
            self._protected[term] = _plain(value)
        states[term] = True

    def _iri_of(self, document: Mapping[str, Any], term: str, value: Any, states: dict[str, bool]) -> str | None:
        named = value.get("@id", term) if isinstance(value, dict) else value
        if named is None or (KEYWORD.match(named) and named not in KEYWORDS):
            return None
        if named == "@context":
            refuse(term, "cannot stand for @context")
        if isinstance(value, dict):
            self._check_type(document, term, value, states)
        if named == term and ":" not in term:
            if "/" in term:
                refuse(term, "has no IRI")
            return self._in_vocab(term)
        iri = self._expand(document, named, states, own=term)
        if ":" in term[1:-1] and self._expand(document, term, {**states, term: True}, own=term) != iri:
            refuse(term, f"looks like an IRI, and is not {iri!r}")
        return iri

    def _check_type(
        self, document: Mapping[str, Any], term: str, value: Mapping[str, Any], states: dict[str, bool]
    ) -> None:
        named = value.get("@type")
        if named is None:
            return
        if not isinstance(named, str):
            refuse(term, "has a @type that is no text")
        if named in TYPES:
            return
        iri = self._expand(document, named, states, own=term)
        if ":" not in iri or iri.startswith(("@", "_:")):
            refuse(term, f"has the @type {named!r}, which is no IRI")

    def _in_vocab(self, name: str) -> str:
        return (self._vocab if self._vocab is not None else self._default) + name

    def _expand(self, document: Mapping[str, Any], value: str, states: dict[str, bool], own: str = "") -> str:
        if value.startswith("@"):
            return value
        if value in document and value != own:
            self._define(document, value, states)
        if value in self.terms:
            return self.terms[value]
        prefix, colon, suffix = value.partition(":")
        if not colon:
            return self._in_vocab(value)
        if suffix.startswith("//"):
            return value
        if prefix in document:
            self._define(document, prefix, states)
        return self.terms[prefix] + suffix if prefix in self.prefixes else value


def check_keywords(document: Mapping[str, Any]) -> None:
    """What a context object says beside its terms."""
    if "@import" in document:
        refuse("@import", "is not supported")
    if document.get("@version", 1.1) != 1.1 or isinstance(document.get("@version"), bool):
        refuse("@version", "must be 1.1")
    for name in ("@protected", "@propagate"):
        if not isinstance(document.get(name, True), bool):
            refuse(name, "must be true or false")
    for name in ("@base", "@language"):
        if not isinstance(document.get(name, ""), str | None):
            refuse(name, "must be a text or null")
    if document.get("@direction") not in (None, "ltr", "rtl"):
        refuse("@direction", "must be ltr, rtl or null")
    for name in document:
        if name in KEYWORDS - SETTINGS and name != "@type":
            refuse(name, "is a keyword and cannot be defined")
    if "@type" in document:  # JSON-LD 1.1 API 4.2.2, step 4: it may be said to be a set
        value = document["@type"]
        allowed = {"@container", "@protected"}
        if not isinstance(value, dict) or not value or value.keys() - allowed or value.get("@container") != "@set":
            refuse("@type", "is a keyword and cannot be defined")


def check_members(term: str, value: object) -> None:
    """The definition of a term, apart from its IRI and type."""
    if value is None or isinstance(value, str):
        return
    if not isinstance(value, dict):
        refuse(term, "must be defined by a text or an object")
    for member in UNSUPPORTED:
        if member in value:
            refuse(term, f"has {member}, which NGSI-LD contexts may not have")
    if unknown := value.keys() - MEMBERS:
        refuse(term, f"has {min(unknown)!r}, which is no member of a definition")
    if not isinstance(value.get("@id"), str | None):
        refuse(term, "has an @id that is no text")
    for name in ("@prefix", "@protected", "@propagate"):
        if not isinstance(value.get(name, True), bool):
            refuse(term, f"has a {name} that is neither true nor false")
    if value.get("@prefix") and (":" in term or "/" in term):
        refuse(term, "cannot be a prefix")
    if not isinstance(value.get("@language"), str | None) or value.get("@direction") not in (None, "ltr", "rtl"):
        refuse(term, "has a language or direction that is none")
    _check_container(term, value)


def _check_container(term: str, value: Mapping[str, Any]) -> None:
    given = value.get("@container")
    listed = [] if given is None else given if isinstance(given, list) else [given]
    if not all(isinstance(one, str) and one in CONTAINERS for one in listed):
        refuse(term, f"has the @container {given!r}")
    if len(listed) > 1 and ("@list" in listed or not {"@set", "@graph"} & set(listed)):
        refuse(term, f"has the @container {given!r}")
    if "@index" in value and (not isinstance(value["@index"], str) or "@index" not in listed):
        refuse(term, "has an @index without such a container")
    nest = value.get("@nest", "@nest")
    if not isinstance(nest, str) or (nest.startswith("@") and nest != "@nest"):
        refuse(term, "has a @nest that is no term")


def _plain(value: Any) -> object:
    """A definition as it is compared: whether it is protected does not count."""
    if isinstance(value, str):
        return {"@id": value, "@prefix": value[-1:] in GEN_DELIMS}
    if value is None:
        return {"@id": None, "@prefix": False}
    return {"@prefix": False} | {key: part for key, part in value.items() if key != "@protected"}


def _is_prefix(term: str, iri: str, value: object) -> bool:
    """JSON-LD 1.1: a simple term whose IRI ends in a delimiter, or one that says so."""
    if ":" in term or "/" in term:
        return False
    if isinstance(value, dict):
        return value.get("@prefix") is True
    return iri[-1] in GEN_DELIMS
