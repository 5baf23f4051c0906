"""A query in the words of one source: names of its context, the part of the conditions that it can judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.server.broker.query import TOKEN, Selector
from gateway.server.contexts import Context
from gateway.server.distributed.forward import Forward
from gateway.server.sources.model import Registration

GEO = ("georel", "geometry", "coordinates", "geoproperty")
NAMED = ("expandValues", "jsonKeys")


@dataclass(frozen=True, slots=True)
class Wish:
    """The parameters of a query. ``split``: parts of an entity may be anywhere, so conditions wait for the whole."""

    parameters: Mapping[str, str]
    split: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """For one source. ``names``: attributes (IRIs) that it is asked for, None for all."""

    wish: Wish
    source: Context
    target: Context
    selectors: tuple[Selector, ...]
    names: frozenset[str] | None

    def forward(self, registration: Registration, operation: str, limit: int, offset: int, dated: bool) -> Forward:
        """As GET or as POST, whichever the operation is; ``limit`` 0: a page of the source's own size."""
        pages = {"limit": str(limit)} if limit else {}
        if offset:
            pages["offset"] = str(offset)
        if dated and registration.mode != "exclusive":
            pages["options"] = "sysAttrs"
        if operation == "queryBatch":
            return Forward(registration, "POST", "/entityOperations/query", pages, self._body())
        selector = self.selectors[0]
        parameters: dict[str, str] = {}
        if selector.types is not None:
            parameters["type"] = self._types(selector)
        if selector.ids:
            parameters["id"] = ",".join(selector.ids)
        elif selector.id_pattern is not None:
            parameters["idPattern"] = selector.id_pattern.text
        if self.names:
            parameters["attrs"] = ",".join(self._names())
        return Forward(registration, "GET", "/entities", {**parameters, **self._conditions(), **pages})

    def _body(self) -> dict[str, Any]:
        """A Query (clause 5.2.23)."""
        conditions: dict[str, Any] = self._conditions()
        geo = {name: conditions.pop(name) for name in GEO if name in conditions}
        if geo:
            geo["coordinates"] = orjson.loads(geo["coordinates"])
            conditions["geoQ"] = geo
        for name in NAMED:
            if name in conditions:
                conditions[name] = conditions[name].split(",")
        if self.names:
            conditions["attrs"] = self._names()
        chosen = [self.selector(selector) for selector in self.selectors]
        entities = {"entities": chosen} if all(selector.types is not None for selector in self.selectors) else {}
        return {"type": "Query", **entities, **conditions}

    def selector(self, selector: Selector) -> dict[str, Any]:
        """As an EntitySelector (clause 5.2.33)."""
        found: dict[str, Any] = {"type": self._types(selector)}
        if selector.ids:
            found["id"] = list(selector.ids)
        elif selector.id_pattern is not None:
            found["idPattern"] = selector.id_pattern.text
        return found

    def _types(self, selector: Selector) -> str:
        """The type selection, name by name."""
        if selector.types is None:
            return "*"
        if self.source is self.target:
            return selector.types.text
        parts = (part.strip() for part in TOKEN.findall(selector.types.text))
        return "".join(part if part in ";,|()" else self._renamed(part) for part in parts)

    def _names(self) -> list[str]:
        return sorted(self.target.compact_name(name) for name in self.names or ())

    def _conditions(self) -> dict[str, str]:
        """What the source may judge by itself; ``q`` only where its names mean the same there."""
        if self.wish.split:
            return {}
        given = self.wish.parameters
        found = {name: given[name] for name in ("scopeQ", *GEO) if name in given}
        if "geoproperty" in found:
            found["geoproperty"] = self._renamed(found["geoproperty"])
        if self.source is self.target:
            found |= {name: given[name] for name in ("q", *NAMED) if name in given}
        return found

    def _renamed(self, name: str) -> str:
        return self.target.compact_name(self.source.expand_name(name))
