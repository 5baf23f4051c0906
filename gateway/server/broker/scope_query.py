"""Scope queries (CIM 009 clause 4.19): ``/a/+/c``, ``/a/#``; ``;`` is and, ``,`` or ``|`` is or, with parentheses."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

from gateway.server.errors import BadRequestData

TOKEN = re.compile(r"[;,|()]|[^;,|()]+")
LEVEL = re.compile(r"\w+\Z")
TOKENS_MAX = 200
NESTING_MAX = 16
ScopeTest: TypeAlias = Callable[[Sequence[str]], bool]


def parse_scope_query(text: str) -> ScopeTest:
    """A test of the scopes of an entity. Raises BadRequestData."""
    tokens = [token.strip() for token in TOKEN.findall(text)]
    if len(tokens) > TOKENS_MAX:
        raise BadRequestData(f"scopeQ: more than {TOKENS_MAX} parts")
    test, rest = _either(tokens, 0)
    if rest:
        raise BadRequestData(f"scopeQ {text!r}: unexpected {rest[0]!r}")
    return test


def _either(tokens: Sequence[str], depth: int) -> tuple[ScopeTest, Sequence[str]]:
    if depth > NESTING_MAX:
        raise BadRequestData(f"scopeQ: nested more than {NESTING_MAX} times")
    test, tokens = _all_of(tokens, depth)
    tests = [test]
    while tokens and tokens[0] in ",|":
        test, tokens = _all_of(tokens[1:], depth)
        tests.append(test)
    return (tests[0] if len(tests) == 1 else lambda scopes: any(t(scopes) for t in tests)), tokens


def _all_of(tokens: Sequence[str], depth: int) -> tuple[ScopeTest, Sequence[str]]:
    test, tokens = _one(tokens, depth)
    tests = [test]
    while tokens and tokens[0] == ";":
        test, tokens = _one(tokens[1:], depth)
        tests.append(test)
    return (tests[0] if len(tests) == 1 else lambda scopes: all(t(scopes) for t in tests)), tokens


def _one(tokens: Sequence[str], depth: int) -> tuple[ScopeTest, Sequence[str]]:
    if not tokens or tokens[0] in ("", ";", ",", "|", ")"):
        raise BadRequestData("scopeQ: a scope is missing")
    if tokens[0] == "(":
        test, tokens = _either(tokens[1:], depth + 1)
        if not tokens or tokens[0] != ")":
            raise BadRequestData("scopeQ: a ) is missing")
        return test, tokens[1:]
    pattern = _pattern(tokens[0])
    return lambda scopes: any(pattern.match(scope) for scope in scopes), tokens[1:]


def _pattern(text: str) -> re.Pattern[str]:
    """A regular expression without repetition within repetition: it cannot run away."""
    levels = text.removeprefix("/").split("/")
    below = levels[-1] == "#"
    if below:
        levels.pop()
    for level in levels:
        if level != "+" and not LEVEL.match(level):
            raise BadRequestData(f"scopeQ: {text!r} is not /level/level, with + for one level and /# at the end")
    whole = "".join(r"/[^/]+" if level == "+" else f"/{re.escape(level)}" for level in levels)
    return re.compile(whole + (r"(?:/.*)?\Z" if below else r"\Z"), re.DOTALL)
