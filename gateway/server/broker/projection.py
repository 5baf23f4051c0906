"""``pick`` and ``omit``: which members of an entity, and of those that its relationships lead to (CIM 009 clause 4.21).

list = item *("," item)         item = name ["{" list "}"]
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from gateway.server.broker.parse import Fault, expand_checked
from gateway.server.broker.represent_filter import MEMBERS, Projection
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData

NAME = re.compile(r"\s*([^,|{}\s]+)\s*")
NAMES_MAX = 1000
DEPTH_MAX = 10


def parse_projection(parameter: str, text: str | None, context: Context) -> Projection | None:
    """None where the parameter is missing. Raises BadRequestData."""
    if text is None:
        return None
    try:
        projection, at = _list(text, 0, context, 0)
        if at < len(text):
            raise Fault(f"unexpected {text[at]!r}")
    except Fault as fault:
        raise BadRequestData(f"{parameter}: {fault}") from None
    return projection


def check_projections(pick: Projection | None, omit: Projection | None, join_level: int) -> None:
    """Raises BadRequestData for a name in both, and for braces that the join does not reach."""
    if pick is not None and omit is not None:
        whole = {name for name in omit.names if omit.of(name) is None}
        if both := pick.names & whole:
            raise BadRequestData(f"pick and omit both name {', '.join(sorted(both))}")
    for name, projection in (("pick", pick), ("omit", omit)):
        if projection is not None and projection.depth > join_level:
            raise BadRequestData(f"{name}: members of linked entities need join, and a joinLevel that reaches them")


def _list(text: str, at: int, context: Context, depth: int) -> tuple[Projection, int]:
    if depth > DEPTH_MAX:
        raise Fault(f"nested more than {DEPTH_MAX} times")
    names: set[str] = set()
    inner: list[tuple[str, Projection]] = []
    while True:
        found = NAME.match(text, at)
        if found is None or len(names) >= NAMES_MAX:
            raise Fault(f"a name is missing at character {at + 1}, or there are more than {NAMES_MAX}")
        at = found.end()
        name = found[1] if found[1] in MEMBERS else expand_checked(unquote(found[1]), context)
        names.add(name)
        if text.startswith("{", at):
            part, at = _list(text, at + 1, context, depth + 1)
            if not text.startswith("}", at):
                raise Fault("a } is missing")
            at += 1
            inner.append((name, part))
        while text.startswith(" ", at):
            at += 1
        if not text.startswith((",", "|"), at):
            return Projection(frozenset(names), tuple(inner)), at
        at += 1
