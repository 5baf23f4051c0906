"""What PyLD says about contexts of users, which stand between the vocabulary of the core and the core."""

from __future__ import annotations

from typing import Any

from pyld import jsonld

from gateway.server.contexts.compiled import core_document

VOCAB = "https://uri.etsi.org/ngsi-ld/default-context/"


def oracle_context(documents: list[Any]) -> list[Any]:
    return [{"@vocab": VOCAB}, *documents, core_document()]


def oracle_expand(documents: list[Any], name: str) -> str | None:
    """None: JSON-LD drops the member."""
    expanded = jsonld.expand({"@context": oracle_context(documents), name: {"@id": "urn:value:1"}})
    return next((key for key in expanded[0] if not key.startswith("@")), None) if expanded else None


def oracle_compact(documents: list[Any], iri: str) -> str:
    compacted = jsonld.compact({iri: [{"@id": "urn:value:1"}]}, oracle_context(documents))
    return next(key for key in compacted if key != "@context")
