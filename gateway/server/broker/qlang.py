"""The query language ``q`` (CIM 009 clause 4.9): text to a predicate over stored entities.

query    = and *("|" and)            and = term *(";" term)
term     = "(" query ")" / ["!"] path / path operator values
path     = name *("." name) ["[" member *("." member) "]"]
values   = value *("," value) / value ".." value        (several and ranges only with == and !=)

Linked entities (``rel{...}``) are not offered yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from gateway.server.broker.compare import OPERATORS, ORDERED, Literal, Moment, Range
from gateway.server.broker.model import VALUE_MEMBERS, Stored, instances
from gateway.server.broker.parse import Fault, expand_checked
from gateway.server.broker.regex import Pattern
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData, OperationNotSupported

Predicate = Callable[[Stored], bool]
NESTING_MAX = 32
TERMS_MAX = 200
OPERATOR = re.compile(r"==|!=|>=|<=|!~=|~=|>|<")
NAME_CHARS = re.compile(r"[^=!<>~;|()\[\]{}.,\"\s]+")
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w:-])")
MOMENT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,6})?Z|\d{4}-\d\d-\d\d(?![\w])|\d\d:\d\d:\d\d(?:[.,]\d{1,6})?Z"
)
WORD = re.compile(r"true(?![\w:])|false(?![\w:])")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
BARE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:(?!\.\.)[^;|(),\"\s])+")
SYSTEM_TIMES = frozenset({"createdAt", "modifiedAt"})
PLAIN_MEMBERS = frozenset({"observedAt", "createdAt", "modifiedAt", "unitCode", "datasetId"})


@dataclass(frozen=True, slots=True)
class Path:
    """What a term looks at: ``steps`` are IRIs or plain members, ``inner`` are keys inside the value."""

    steps: tuple[str, ...]
    inner: tuple[str, ...]

    def targets(self, entity: Stored) -> Iterator[Any]:
        """Every value that the path leads to; none where an element on the way is missing."""
        first = entity.get(self.steps[0])
        if first is None:
            return
        found: list[Any] = [first] if self.steps[0] in SYSTEM_TIMES else instances(first)
        for step in self.steps[1:]:
            found = [part for node in found if isinstance(node, dict) and step in node for part in _all(node[step])]
        for node in found:
            yield from self._values(node)

    def _values(self, node: Any) -> Iterator[Any]:
        if not isinstance(node, dict) or node.get("type") not in VALUE_MEMBERS:
            yield node
            return
        value = node.get(VALUE_MEMBERS[node["type"]])
        if node["type"] == "LanguageProperty" and isinstance(value, dict) and len(self.inner) <= 1:
            tag = self.inner[0] if self.inner else "*"
            yield from (text for key, text in value.items() if tag in ("*", key))
            return
        for key in self.inner:
            if not isinstance(value, dict) or key not in value:
                return
            value = value[key]
        yield value


def _all(node: Any) -> list[Any]:
    return node if isinstance(node, list) else [node]


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed q. ``system_only``: no term looks at anything but system times, which is too wide a question."""

    matches: Predicate
    system_only: bool


def parse_q(text: str, context: Context) -> Condition:
    """Raises BadRequestData with the place in the text."""
    parser = _Parser(text, context)
    try:
        return parser.whole()
    except Fault as fault:
        raise BadRequestData(f"q, at character {parser.at + 1}: {fault}") from None


class _Parser:
    """Recursive descent over the text; ``at`` is how far it has read."""

    def __init__(self, text: str, context: Context) -> None:
        self.text = text
        self.at = 0
        self._context = context
        self._terms = 0
        self._system_only = True

    def whole(self) -> Condition:
        """The predicate of the whole text."""
        predicate = self._or(0)
        if self.at < len(self.text):
            raise Fault(f"unexpected {self.text[self.at]!r}")
        return Condition(predicate, self._system_only)

    def _eat(self, sign: str) -> bool:
        if self.text.startswith(sign, self.at):
            self.at += len(sign)
            return True
        return False

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return found[0]

    def _or(self, depth: int) -> Predicate:
        if depth > NESTING_MAX:
            raise Fault(f"nested more than {NESTING_MAX} times")
        parts = [self._and(depth)]
        while self._eat("|"):
            parts.append(self._and(depth))
        return parts[0] if len(parts) == 1 else lambda entity: any(part(entity) for part in parts)

    def _and(self, depth: int) -> Predicate:
        parts = [self._term(depth)]
        while self._eat(";"):
            parts.append(self._term(depth))
        return parts[0] if len(parts) == 1 else lambda entity: all(part(entity) for part in parts)

    def _term(self, depth: int) -> Predicate:
        self._terms += 1
        if self._terms > TERMS_MAX:
            raise Fault(f"more than {TERMS_MAX} terms")
        if self._eat("("):
            inner = self._or(depth + 1)
            if not self._eat(")"):
                raise Fault("a ) is missing")
            return inner
        if self._eat("!"):
            absent = self._path()
            return lambda entity: not any(True for _ in absent.targets(entity))
        path = self._path()
        operator = self._match(OPERATOR)
        if not operator:
            return lambda entity: any(True for _ in path.targets(entity))
        test = self._test(operator)
        return lambda entity: any(test(target) for target in path.targets(entity))

    def _path(self) -> Path:
        names = [self._name()]
        while self._eat("."):
            names.append(self._name())
        if self._eat("{"):
            raise OperationNotSupported("q: conditions on linked entities are not offered by this version")
        inner: list[str] = []
        if self._eat("["):
            inner.append(self._name())
            while self._eat("."):
                inner.append(self._name())
            if not self._eat("]"):
                raise Fault("a ] is missing")
        if names[0] in SYSTEM_TIMES and len(names) == 1:
            return Path((names[0],), ())
        self._system_only = False
        steps = [expand_checked(names[0], self._context)]
        for name in names[1:]:
            steps.append(name if name in PLAIN_MEMBERS else expand_checked(name, self._context))
        return Path(tuple(steps), tuple(inner))

    def _name(self) -> str:
        name = self._match(NAME_CHARS)
        if not name:
            raise Fault("a name is missing")
        return unquote(name)

    def _test(self, operator: str) -> Callable[[object], bool]:
        if operator in ("~=", "!~="):
            return self._pattern(negated=operator == "!~=")
        values: list[Literal | Range] = [self._value()]
        if self._eat(".."):
            values = [Range(values[0], self._value())]  # type: ignore[arg-type]  # the first is a literal here
        while self._eat(","):
            values.append(self._value())
        if operator in ORDERED and (len(values) > 1 or isinstance(values[0], Range)):
            raise Fault(f"{operator} takes one value")
        return OPERATORS[operator](values)

    def _pattern(self, *, negated: bool) -> Callable[[object], bool]:
        quoted = self._match(STRING)
        text = _unquoted(quoted) if quoted else self._match(re.compile(r"[^;|)]+"))
        try:
            pattern = Pattern(text)
        except ValueError as error:
            raise Fault(f"the pattern {text!r}: {error}") from None
        return lambda target: isinstance(target, str) and pattern.search(target) is not negated

    def _value(self) -> Literal:
        if quoted := self._match(STRING):
            return _unquoted(quoted)
        if moment := self._match(MOMENT):
            try:
                return Moment.of(moment)
            except ValueError as error:
                raise Fault(f"{moment!r}: {error}") from None
        if number := self._match(NUMBER):
            return float(number)
        if word := self._match(WORD):
            return word == "true"
        if uri := self._match(BARE_URI):
            return unquote(uri)
        raise Fault('a value is missing: a number, "text" in quotes, true, false, a date or time, or a URI')


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError as error:
        raise Fault(f"{text} is not a JSON string: {error}") from None
