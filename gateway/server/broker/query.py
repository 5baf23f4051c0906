"""Which entities a query means: type selection, ids, id pattern, attributes, q (CIM 009 clauses 4.9, 4.17, 5.7.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.server.broker.model import Stored
from gateway.server.broker.parse import Fault, check_uri, expand_checked
from gateway.server.broker.qlang import Condition, parse_q
from gateway.server.broker.regex import Pattern
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
class Query:
    """Every condition must hold; a condition that is not set always does. ``attrs``: has at least one of them."""

    types: TypeSelection | None = None
    ids: tuple[str, ...] = ()
    id_pattern: Pattern | None = None
    attrs: tuple[str, ...] = ()
    q: Condition | None = None

    @property
    def selection(self) -> Selection:
        """The part that indexes answer."""
        return Selection(types=(self.types.any_of or ()) if self.types else (), ids=self.ids)

    @property
    def indexed(self) -> bool:
        """Whether the indexes answer all of it."""
        typed = self.types is None or self.types.any_of is not None
        return typed and self.id_pattern is None and not self.attrs and self.q is None

    def matches(self, entity: Stored) -> bool:
        """Whether an entity in stored form is meant."""
        if self.ids and entity["id"] not in self.ids:
            return False
        if self.types is not None and not self.types.matches(frozenset(entity["type"])):
            return False
        if self.id_pattern is not None and not self.id_pattern.search(entity["id"]):
            return False
        if self.attrs and not any(name in entity for name in self.attrs):
            return False
        return self.q is None or self.q.matches(entity)


def build_query(
    context: Context,
    *,
    types: str | None = None,
    ids: Sequence[str] = (),
    id_pattern: str | None = None,
    attrs: Sequence[str] = (),
    q: str | None = None,
) -> Query:
    """A query from the texts of a request. Raises BadRequestData."""
    try:
        checked = tuple(check_uri(entity_id) for entity_id in ids)
    except Fault as fault:
        raise BadRequestData(f"id: {fault}") from None
    try:
        pattern = None if id_pattern is None or ids else Pattern(id_pattern)
    except ValueError as error:
        raise BadRequestData(f"idPattern: {error}") from None
    return Query(
        types=None if types is None else parse_types(types, context),
        ids=checked,
        id_pattern=pattern,
        attrs=expand_names(attrs, context),
        q=None if q is None else parse_q(q, context),
    )


def expand_names(names: Sequence[str], context: Context) -> tuple[str, ...]:
    """IRIs of attribute names. Raises BadRequestData."""
    try:
        return tuple(expand_checked(name, context) for name in names)
    except Fault as fault:
        raise BadRequestData(f"attribute name: {fault}") from None
