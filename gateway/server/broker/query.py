"""Which entities a query means: types, ids, attributes, q, geometry, scopes (CIM 009 clauses 4.17, 5.7.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.server.broker.geo_query import GeoQuery
from gateway.server.broker.model import Stored
from gateway.server.broker.parse import Fault, check_uri, expand_checked
from gateway.server.broker.qlang import Condition, Linked, nothing_linked, parse_q
from gateway.server.broker.regex import Pattern
from gateway.server.broker.represent_filter import Projection, projects_to_nothing
from gateway.server.broker.scope_query import ScopeTest
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData
from gateway.server.storage.base import Selection

TYPES_MAX = 100
TOKEN = re.compile(r"[;,|()]|[^;,|()]+")


@dataclass(frozen=True, slots=True)
class TypeSelection:
    """``A,B``, ``(A;B)|C``: ``any_of`` where it is a plain list of alternatives, which an index can answer."""

    text: str
    matches: Callable[[frozenset[str]], bool]
    any_of: tuple[str, ...] | None


def parse_types(text: str, context: Context) -> TypeSelection | None:
    """None for ``*``, any type. Raises BadRequestData."""
    if text.strip() == "*":
        return None
    tokens = TOKEN.findall(text)
    if len(tokens) > 2 * TYPES_MAX:
        raise BadRequestData(f"type: more than {TYPES_MAX} types")
    names: list[str] = []
    try:
        matches, rest = _alternatives(tokens, context, names, 0)
        if rest:
            raise Fault(f"unexpected {rest[0]!r}")
    except Fault as fault:
        raise BadRequestData(f"type {text!r}: {fault}") from None
    plain = not {";", "("} & set(tokens)
    return TypeSelection(text, matches, tuple(names) if plain else None)


Matcher = Callable[[frozenset[str]], bool]


def _alternatives(
    tokens: Sequence[str], context: Context, names: list[str], depth: int
) -> tuple[Matcher, Sequence[str]]:
    if depth > 16:
        raise Fault("nested too deeply")
    part, tokens = _all_of(tokens, context, names, depth)
    parts = [part]
    while tokens and tokens[0] in ",|":
        part, tokens = _all_of(tokens[1:], context, names, depth)
        parts.append(part)
    return (parts[0] if len(parts) == 1 else lambda types: any(p(types) for p in parts)), tokens


def _all_of(tokens: Sequence[str], context: Context, names: list[str], depth: int) -> tuple[Matcher, Sequence[str]]:
    part, tokens = _one(tokens, context, names, depth)
    parts = [part]
    while tokens and tokens[0] == ";":
        part, tokens = _one(tokens[1:], context, names, depth)
        parts.append(part)
    return (parts[0] if len(parts) == 1 else lambda types: all(p(types) for p in parts)), tokens


def _one(tokens: Sequence[str], context: Context, names: list[str], depth: int) -> tuple[Matcher, Sequence[str]]:
    if not tokens or tokens[0] in ";,|)":
        raise Fault("a type is missing")
    if tokens[0] == "(":
        part, tokens = _alternatives(tokens[1:], context, names, depth + 1)
        if not tokens or tokens[0] != ")":
            raise Fault("a ) is missing")
        return part, tokens[1:]
    iri = expand_checked(tokens[0].strip(), context)
    names.append(iri)
    return lambda types: iri in types, tokens[1:]


@dataclass(frozen=True, slots=True)
class Selector:
    """Entities by type, id, id pattern: what a query by body may name several of."""

    types: TypeSelection | None = None
    ids: tuple[str, ...] = ()
    id_pattern: Pattern | None = None

    def matches(self, entity: Stored) -> bool:
        """Whether an entity in stored form is meant."""
        if self.ids and entity["id"] not in self.ids:
            return False
        if self.types is not None and not self.types.matches(frozenset(entity["type"])):
            return False
        return self.id_pattern is None or self.id_pattern.search(entity["id"])


@dataclass(frozen=True, slots=True)
class Query:
    """Every condition must hold; a condition that is not set always does. ``attrs``: has at least one of them.

    ``selectors``: one of them means it. ``pick`` and ``datasets``: something is left of it by these.
    """

    types: TypeSelection | None = None
    ids: tuple[str, ...] = ()
    id_pattern: Pattern | None = None
    attrs: tuple[str, ...] = ()
    q: Condition | None = None
    geo: GeoQuery | None = None
    scope: ScopeTest | None = None
    selectors: tuple[Selector, ...] = ()
    pick: Projection | None = None
    datasets: frozenset[str] | None = None

    @property
    def selection(self) -> Selection:
        """The part that indexes answer, and hints for it."""
        types, ids = _indexable(Selector(self.types, self.ids))
        if self.selectors:
            parts = [_indexable(selector) for selector in self.selectors]
            types = tuple(iri for part in parts for iri in part[0]) if all(part[0] for part in parts) else ()
            ids = tuple(uri for part in parts for uri in part[1]) if all(part[1] for part in parts) else ()
        areas = (self.geo.area,) if self.geo is not None and self.geo.area is not None else ()
        return Selection(types, ids, self.q.hints if self.q is not None else (), areas)

    @property
    def indexed(self) -> bool:
        """Whether the indexes answer all of it."""
        typed = self.types is None or self.types.any_of is not None
        whole = self.id_pattern is None and not self.attrs and not self.selectors and self.pick is None
        return typed and whole and self.q is None and self.geo is None and self.scope is None and self.datasets is None

    @property
    def narrow(self) -> bool:
        """Whether it says more than which ids (clause 5.7.2)."""
        typed = self.types is not None or any(selector.types is not None for selector in self.selectors)
        picked = self.pick is not None and any(":" in name for name in self.pick.names)
        asked = self.q is not None and not self.q.system_only
        return typed or bool(self.attrs) or picked or asked or self.geo is not None or self.scope is not None

    def matches(self, entity: Stored, linked: Linked = nothing_linked) -> bool:
        """Whether an entity in stored form is meant."""
        if not Selector(self.types, self.ids, self.id_pattern).matches(entity):
            return False
        if self.selectors and not any(selector.matches(entity) for selector in self.selectors):
            return False
        if self.attrs and not any(name in entity for name in self.attrs):
            return False
        if self.scope is not None and not self.scope(entity.get("scope", ())):
            return False
        if projects_to_nothing(entity, self.pick, self.datasets):
            return False
        if self.q is not None and not self.q.matches(entity, linked):
            return False
        return self.geo is None or self.geo.matches(entity)


def _indexable(selector: Selector) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (selector.types.any_of or ()) if selector.types else (), selector.ids


def build_selector(
    context: Context, types: str | None = None, ids: Sequence[str] = (), id_pattern: str | None = None
) -> Selector:
    """Raises BadRequestData."""
    try:
        checked = tuple(check_uri(entity_id) for entity_id in ids)
    except Fault as fault:
        raise BadRequestData(f"id: {fault}") from None
    try:
        pattern = None if id_pattern is None or ids else Pattern(id_pattern)
    except ValueError as error:
        raise BadRequestData(f"idPattern: {error}") from None
    return Selector(None if types is None else parse_types(types, context), checked, pattern)


def build_query(
    context: Context,
    *,
    types: str | None = None,
    ids: Sequence[str] = (),
    id_pattern: str | None = None,
    attrs: Sequence[str] = (),
    q: str | None = None,
    expand_values: Sequence[str] = (),
    json_keys: Sequence[str] = (),
) -> Query:
    """A query from the texts of a request. Raises BadRequestData."""
    selector = build_selector(context, types, ids, id_pattern)
    return Query(
        types=selector.types,
        ids=selector.ids,
        id_pattern=selector.id_pattern,
        attrs=expand_names(attrs, context),
        q=None if q is None else parse_q(q, context, expand=expand_values, json_keys=json_keys),
    )


def expand_names(names: Sequence[str], context: Context) -> tuple[str, ...]:
    """IRIs of attribute names. Raises BadRequestData."""
    try:
        return tuple(expand_checked(name, context) for name in names)
    except Fault as fault:
        raise BadRequestData(f"attribute name: {fault}") from None
