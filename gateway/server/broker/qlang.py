"""The query language ``q`` (CIM 009 clause 4.9): text to a predicate over stored entities.

query    = and *("|" and)            and = term *(";" term)
term     = "(" query ")" / ["!"] path / path operator values
path     = name *("." name) ["[" member *("." member) "]"]
         / name "{" [types ":"] query "}"       condition on the entities that a relationship leads to;
                                                a path inside may have its operator behind the brace
values   = value *("," value) / value ".." value        (several and ranges only with == and !=)

Paths and what they lead to are in ``qpath``, values in ``qvalue``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote, unquote

from gateway.server.broker.compare import OPERATORS, ORDERED, Literal, Range
from gateway.server.broker.model import Stored
from gateway.server.broker.parse import Fault, expand_checked
from gateway.server.broker.qpath import PLAIN_MEMBERS, SYSTEM_TIMES, Path
from gateway.server.broker.qvalue import ValueReader
from gateway.server.broker.regex import Pattern
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData
from gateway.server.storage.base import Term

Linked: TypeAlias = Callable[[str], Stored | None]
Predicate: TypeAlias = Callable[[Stored, Linked], bool]
NESTING_MAX = 32
LINKS_MAX = 5  # relationships that one condition goes along
TERMS_MAX = 200
OPERATOR = re.compile(r"==|!=|>=|<=|!~=|~=|>|<")
NAME_CHARS = re.compile(r"[^=!<>~;|()\[\]{}.,\"\s]+")
INNER_CHARS = re.compile(r"\"(?:[^\"\\]|\\.)*\"|[^=!<>~;|()\[\]{}.\"]+")
TYPES = re.compile(r"([^=!<>~;|()\[\]{}.\"\s]+?):(?!//)")


def nothing_linked(entity_id: str) -> Stored | None:
    """Where nothing can be reached, no condition on a linked entity holds."""
    return None


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of the condition; ``hints``: what must hold of plain values, for indexes."""

    test: Predicate
    hints: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed q. ``system_only``: no term looks at anything but system times, which is too wide a question.

    ``hints``: conditions that hold for each match where the attribute is one instance with a plain value.
    ``linked``: whether entities that relationships lead to are looked at.
    """

    test: Predicate
    system_only: bool
    hints: tuple[Term, ...] = ()
    linked: bool = False

    def matches(self, entity: Stored, linked: Linked = nothing_linked) -> bool:
        """Whether it holds; ``linked`` finds the entity of an id."""
        return self.test(entity, linked)


def parse_q(text: str, context: Context, *, expand: Sequence[str] = (), json_keys: Sequence[str] = ()) -> Condition:
    """``expand``: attributes whose values are terms; ``json_keys``: JsonProperties, whose paths are raw keys.

    Raises BadRequestData with the place in the text.
    """
    parser = _Parser(text, context)
    try:
        parser.expand = frozenset(expand_checked(name, context) for name in expand)
        parser.json_keys = frozenset(expand_checked(name, context) for name in json_keys)
        return parser.whole()
    except Fault as fault:
        raise BadRequestData(f"q, at character {parser.at + 1}: {fault}") from None


def renamed_q(
    text: str, source: Context, target: Context, *, expand: frozenset[str] = frozenset(), json_keys: frozenset[str]
) -> str:
    """The same condition in the names of another context; ``expand``, ``json_keys``: IRIs. Raises BadRequestData."""
    parser = _Parser(text, source)
    parser.expand, parser.json_keys = expand, json_keys
    try:
        parser.whole()
    except Fault as fault:
        raise BadRequestData(f"q, at character {parser.at + 1}: {fault}") from None
    for (began, ended), iri in sorted(parser.terms.items(), reverse=True):
        name, now = target.compact_name(iri), text[began:ended]
        if now.startswith('"'):
            text = text[:began] + json.dumps(name) + text[ended:]
        elif unquote(now) != name:  # an IRI has signs of the language, so it is percent-encoded
            encoded = quote(name, safe="").replace(".", "%2E").replace("~", "%7E")
            text = text[:began] + encoded + text[ended:]
    return text


class _Parser(ValueReader):
    """Recursive descent over the text; ``at`` is how far it has read."""

    def __init__(self, text: str, context: Context) -> None:
        super().__init__(text, context)
        self.expand: frozenset[str] = frozenset()
        self.json_keys: frozenset[str] = frozenset()
        self._terms = 0
        self._links = 0
        self._linked = False
        self._system_only = True

    def whole(self) -> Condition:
        """The predicate of the whole text."""
        part = self._or(0)
        if self.at < len(self.text):
            raise Fault(f"unexpected {self.text[self.at]!r}")
        return Condition(part.test, self._system_only, part.hints, self._linked)

    def _or(self, depth: int) -> _Part:
        if depth > NESTING_MAX:
            raise Fault(f"nested more than {NESTING_MAX} times")
        parts = [self._and(depth)]
        while self.eat("|"):
            parts.append(self._and(depth))
        if len(parts) == 1:
            return parts[0]
        tests = [part.test for part in parts]
        return _Part(lambda entity, linked: any(test(entity, linked) for test in tests))

    def _and(self, depth: int) -> _Part:
        parts = [self._term(depth)]
        while self.eat(";"):
            parts.append(self._term(depth))
        if len(parts) == 1:
            return parts[0]
        tests = [part.test for part in parts]
        hints = tuple(hint for part in parts for hint in part.hints)
        return _Part(lambda entity, linked: all(test(entity, linked) for test in tests), hints)

    def _term(self, depth: int) -> _Part:
        self._terms += 1
        if self._terms > TERMS_MAX:
            raise Fault(f"more than {TERMS_MAX} terms")
        if self.eat("("):
            inner = self._or(depth + 1)
            if not self.eat(")"):
                raise Fault("a ) is missing")
            return inner
        absent = self.eat("!")
        part = self._compared(depth, negated=absent)
        return _Part(lambda entity, linked: not part.test(entity, linked)) if absent else part

    def _compared(self, depth: int, *, negated: bool) -> _Part:
        path = self._path()
        if self.eat("{"):
            return self._link(path, depth)
        operator = "" if negated else self.match(OPERATOR)
        if not operator:
            return _Part(lambda entity, linked: any(True for _ in path.targets(entity)))
        return self._comparison(path, operator)

    def _comparison(self, path: Path, operator: str) -> _Part:
        if operator in ("~=", "!~="):
            test = self._pattern(negated=operator == "!~=")
            return _Part(lambda entity, linked: any(test(target) for target in path.targets(entity, uris=False)))
        values = self._values(operator, expand=path.steps[0] in self.expand)
        test = OPERATORS[operator](values)
        uris = operator not in ORDERED
        hints = _hints(path, operator, values)
        return _Part(lambda entity, linked: any(test(target) for target in path.targets(entity, uris=uris)), hints)

    # linked entities

    def _link(self, path: Path, depth: int) -> _Part:
        """What stands in the braces behind the path of a relationship."""
        self._linked = True
        self._links += 1
        if path.inner or self._links > LINKS_MAX:
            raise Fault(f"no relationship, or more than {LINKS_MAX} of them in one condition")
        types = self._types()
        began = self.at
        inner = self._or(depth + 1)
        plain = "".join(self.text[began : self.at].split())
        if not self.eat("}"):
            raise Fault("a } is missing")
        operator = self.match(OPERATOR)
        if operator:
            inner = self._behind(began, plain, operator)
        self._links -= 1
        return _Part(lambda entity, linked: _holds_linked(entity, path, types, inner.test, linked))

    def _behind(self, began: int, plain: str, operator: str) -> _Part:
        """``rel{path}==value``: read the path again, then the comparison behind the brace applies to it."""
        after, self.at = self.at, began
        if OPERATOR.search(plain) or any(sign in plain for sign in ";|()!"):
            raise Fault("an operator behind the } needs a path alone within the braces")
        path = self._path()
        links: list[tuple[Path, frozenset[str]]] = []
        while self.eat("{"):
            links.append((path, self._types()))
            path = self._path()
        self.at = after
        part = self._comparison(path, operator)
        for at, types in reversed(links):
            part = _wrapped(at, types, part.test)
        return part

    def _types(self) -> frozenset[str]:
        """The types before a colon; a colon may also belong to a prefixed name of an attribute."""
        found = TYPES.match(self.text, self.at)
        if found is None:
            return frozenset()
        parts = found[1].split(",")
        names = [name.strip() for name in parts]
        rest = self.match_at(NAME_CHARS, found.end())
        whole = f"{found[1]}:{rest}"
        if len(names) == 1 and (not rest or self.context.expand_name(whole) != whole):
            return frozenset()
        types, at = set(), self.at
        for part, name in zip(parts, names, strict=True):
            began = at + len(part) - len(part.lstrip())
            types.add(self._expanded(unquote(name), (began, began + len(name))))
            at += len(part) + 1
        self.at = found.end()
        return frozenset(types)

    # paths

    def _path(self) -> Path:
        places: list[tuple[int, int]] = []
        names = [self._name(places)]
        while self.eat("."):
            names.append(self._name(places))
        inner: list[str] = []
        if self.eat("["):
            inner.append(self._inner())
            while self.eat("."):
                inner.append(self._inner())
            if not self.eat("]"):
                raise Fault("a ] is missing")
        if names[0] in SYSTEM_TIMES and len(names) == 1:
            return Path((names[0],), ())
        self._system_only = False
        first = self._expanded(names[0], places[0])
        if first in self.json_keys:
            return Path((first,), (*names[1:], *inner))
        steps = [first]
        for name, place in zip(names[1:], places[1:], strict=True):
            steps.append(name if name in PLAIN_MEMBERS else self._expanded(name, place))
        return Path(tuple(steps), tuple(inner))

    def _name(self, places: list[tuple[int, int]]) -> str:
        name = self.match(NAME_CHARS)
        if not name:
            raise Fault("a name is missing")
        places.append((self.at - len(name), self.at))
        return unquote(name)

    def _expanded(self, name: str, place: tuple[int, int]) -> str:
        self.terms[place] = iri = expand_checked(name, self.context)
        return iri

    def _inner(self) -> str:
        name = self.match(INNER_CHARS)
        if not name.strip():
            raise Fault("a name is missing within [ ]")
        return self.unquoted(name) if name[0] == '"' else unquote(name)

    # values

    def _values(self, operator: str, *, expand: bool) -> list[Literal | Range]:
        first = self.value(expand=expand)
        values: list[Literal | Range] = [first]
        if self.eat(".."):
            values = [Range(first, self.value(expand=expand))]
        while self.eat(","):
            values.append(self.value(expand=expand))
        if operator in ORDERED and (len(values) > 1 or isinstance(values[0], Range)):
            raise Fault(f"{operator} takes one value")
        if len(values) > 1 and isinstance(values[0], Range):
            raise Fault("a range stands alone")
        return values

    def _pattern(self, *, negated: bool) -> Callable[[object], bool]:
        text = self.pattern()
        try:
            pattern = Pattern(text)
        except ValueError as error:
            raise Fault(f"the pattern {text!r}: {error}") from None
        return lambda target: isinstance(target, str) and pattern.search(target) is not negated


def _holds_linked(entity: Stored, path: Path, types: frozenset[str], test: Predicate, linked: Linked) -> bool:
    for uri in path.uris(entity):
        target = linked(uri)
        if target is not None and (not types or not types.isdisjoint(target["type"])) and test(target, linked):
            return True
    return False


def _wrapped(path: Path, types: frozenset[str], test: Predicate) -> _Part:
    return _Part(lambda entity, linked: _holds_linked(entity, path, types, test, linked))


def _hints(path: Path, operator: str, values: Sequence[Literal | Range]) -> tuple[Term, ...]:
    """What an index of plain values can answer of a comparison."""
    if len(path.steps) > 1 or path.inner or len(values) > 1 or ":" not in path.steps[0] or operator == "!=":
        return ()
    value, name = values[0], path.steps[0]
    if isinstance(value, Range):
        pair = (("<=", value.high), (">=", value.low))
        return tuple(Term(name, sign, bound) for sign, bound in pair if isinstance(bound, str | float))  # type: ignore[arg-type]  # two of the operators
    if not isinstance(value, str | float | bool):
        return ()
    return (Term(name, operator, value),)  # type: ignore[arg-type]  # one of the operators
