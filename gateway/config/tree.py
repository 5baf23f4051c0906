"""YAML as a tree that knows the place of every key and value.

Read from the events of PyYAML's parser (libyaml where it is built in), so that size, depth and aliases are bounded
before anything is built. Plain scalars follow the core schema of YAML 1.2 (section 10.3.2), not YAML 1.1: ``no`` is a
word, ``010`` is ten, and a Bluetooth address of digits is not a number to the base of sixty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import yaml

from gateway.config.problem import Problem
from gateway.errors import Place

BYTES_MAX = 2**20
DEPTH_MAX = 32
NODES_MAX = 50_000  # after expansion of aliases; a site of 1000 devices has about 10,000
TEXT_MAX = 200

Scalar = str | int | float | bool | None
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SECRET = re.compile(r"(?i)((?:token|password|passphrase|secret|api[_-]?key|psk)[\"']?\s*:\s*)(\S.*)")
_LOGIN = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_INT = re.compile(r"[-+]?[0-9]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


class Source:
    """The text of a file, for showing its lines: control characters replaced, secrets covered, both one to one."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self._lines: list[str] | None = None

    def line(self, line: int) -> str:
        """The text of a line, counted from 1; empty beyond the end."""
        if self._lines is None:
            self._lines = _BREAK.split(self.text)
        return self._lines[line - 1] if 0 < line <= len(self._lines) else ""

    def place(self, line: int, column: int) -> Place:
        """The place with 1-based line and column."""
        raw = self.line(line)[: column + TEXT_MAX]
        covered = _SECRET.sub(lambda m: m[1] + "*" * len(m[2]), raw)
        covered = _LOGIN.sub(lambda m: "*" * len(m[0]), covered)
        return Place(self.file, line, column, "".join(c if c.isprintable() else _stand_in(c) for c in covered).rstrip())


@dataclass(slots=True)
class Node:
    """A value and where it stands (0-based marks). ``keys`` has the marks of a mapping's keys."""

    source: Source
    line: int
    column: int
    data: Scalar | dict[str, Node] | list[Node] = None
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    size: int = 1

    def place(self) -> Place:
        """Where the value begins."""
        return self.source.place(self.line + 1, self.column + 1)

    def key_place(self, key: str) -> Place:
        """Where a key of this mapping stands, or the mapping itself where it has no such key."""
        line, column = self.keys.get(key, (self.line, self.column))
        return self.source.place(line + 1, column + 1)

    def get(self, *keys: str) -> Node | None:
        """The node below, by keys of mappings; None where there is none."""
        node: Node | None = self
        for key in keys:
            node = node.data.get(key) if node is not None and isinstance(node.data, dict) else None
        return node

    def items(self) -> Iterator[tuple[str, Node]]:
        """Keys and values of a mapping; nothing for other nodes."""
        return iter(self.data.items()) if isinstance(self.data, dict) else iter(())

    def text(self, *keys: str) -> str | None:
        """The string at or below this node, None where there is none."""
        node = self.get(*keys)
        return node.data if node is not None and isinstance(node.data, str) else None

    def plain(self) -> object:
        """The value as plain Python objects."""
        if isinstance(self.data, dict):
            return {key: node.plain() for key, node in self.data.items()}
        return [node.plain() for node in self.data] if isinstance(self.data, list) else self.data


def parse(text: str, file: str) -> tuple[Node | None, list[Problem]]:
    """Read YAML. The tree is None where there is none to speak of; then there is at least one problem."""
    source = Source(file, text)
    found = _UNPRINTABLE.search(text)
    if found:
        before = _BREAK.split(text[: found.start()])
        cause = f"the character U+{ord(found[0]):04X} cannot stand in YAML"
        return None, [Problem("config.encoding", cause, source.place(len(before), len(before[-1]) + 1))]
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    builder = _Builder(source)
    try:
        while loader.check_event():
            builder.take(loader.get_event())
    except yaml.MarkedYAMLError as error:
        builder.problems.append(builder.syntax(error))
        return None, builder.problems
    except _StopReading:
        return None, builder.problems
    finally:
        loader.dispose()
    if builder.root is None:
        problem = Problem(
            "config.document", "the file is empty", source.place(1, 1), fix="Start from config/examples/."
        )
        return None, [*builder.problems, problem]
    return builder.root, builder.problems


class _StopReading(Exception):  # noqa: N818 - it is no error but the end of reading
    """What follows cannot be read in a useful way."""


class _Builder:
    """Builds nodes from events; what it finds wrong is in ``problems``."""

    def __init__(self, source: Source) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._source = source
        self._open: list[tuple[Node, bool, str | None]] = []  # node, flow style, anchor
        self._pending: list[tuple[str, int, int] | None] = []  # per open mapping: the key that waits for its value
        self._anchors: dict[str, Node] = {}
        self._total = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            node, _, anchor = self._open.pop()
            self._pending.pop()
            self._finish(node, anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            self._stop("config.document", "a second document begins here", event)

    def syntax(self, error: yaml.MarkedYAMLError) -> Problem:
        """The problem that a parser's error means."""
        mark, problem = error.problem_mark, error.problem or "not YAML"
        line, column = (mark.line, mark.column) if mark else (0, 0)
        at_end = not self._source.line(line + 1).strip() and line + 1 >= len(_BREAK.split(self._source.text))
        opened = next((node for node, flow, _ in reversed(self._open) if flow), None)
        if "quoted scalar" in (error.context or "") and "end of stream" in problem and error.context_mark:
            line, column, problem = error.context_mark.line, error.context_mark.column, "this quote is never closed"
        elif opened is not None and at_end:
            line, column, problem = opened.line, opened.column, "this bracket is never closed"
        place = self._source.place(line + 1, column + 1)
        indent = re.match(r" *\t", self._source.line(line + 1))
        if indent:
            return Problem(
                "config.tab", "a tab indents this line", self._source.place(line + 1, indent.end()), fix="Use spaces."
            )
        return Problem("config.syntax", _SYNTAX.get(problem, problem), place)

    def _begin(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        if len(self._open) >= DEPTH_MAX:
            self._stop("config.too-large", f"nested deeper than {DEPTH_MAX} levels", event)
        if event.tag is not None:
            self._problem("config.tag", f"the tag {event.tag!r} has no meaning here", event)
        mapping = isinstance(event, yaml.MappingStartEvent)
        node = Node(self._source, *_at(event), {} if mapping else [])
        self._count(1, event)
        self._open.append((node, bool(event.flow_style), event.anchor))
        self._pending.append(None)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        data: Scalar = event.value
        if event.tag not in (None, "tag:yaml.org,2002:str", "!"):
            self._problem("config.tag", f"the tag {event.tag!r} has no meaning here", event)
        if self._wants_key():
            self._key(event.value, event)
            return
        if event.implicit[0] and event.tag is None:
            data = resolve(event.value)
        self._count(1, event)
        self._finish(Node(self._source, *_at(event), data), event.anchor)

    def _alias(self, event: yaml.AliasEvent) -> None:
        node = self._anchors.get(event.anchor or "")
        if node is None:
            itself = any(anchor == event.anchor for _, _, anchor in self._open)
            cause = f"the alias '*{event.anchor}' {'stands inside of itself' if itself else 'names nothing above'}"
            self._problem("config.alias", cause, event)
            node = Node(self._source, *_at(event))
        self._count(node.size, event)
        if self._wants_key():
            self._key(node.data if isinstance(node.data, str) else None, event)
        else:
            self._finish(node, None)

    def _wants_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1][0].data, dict) and self._pending[-1] is None

    def _key(self, key: str | None, event: yaml.Event) -> None:
        if key is None:
            self._stop("config.syntax", "a key must be a word", event)
        self._pending[-1] = (key, *_at(event))

    def _finish(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        parent = self._open[-1][0]
        parent.size += node.size
        if isinstance(parent.data, list):
            parent.data.append(node)
        elif isinstance(parent.data, dict):
            self._enter(parent, parent.data, node)

    def _enter(self, parent: Node, data: dict[str, Node], node: Node) -> None:
        pending = self._pending[-1]
        if pending is None:  # a mapping or list where a key should be: `? [a]`
            self.problems.append(Problem("config.syntax", "a key must be a word", node.place()))
            raise _StopReading
        self._pending[-1] = None
        key, line, column = pending
        if key in data:
            place = self._source.place(line + 1, column + 1)
            hint = f"it stands in line {parent.keys[key][0] + 1} already"
            self.problems.append(
                Problem("config.duplicate-key", f"the key {shown(key)} stands here twice", place, hint)
            )
            return
        data[key] = node
        parent.keys[key] = (line, column)

    def _count(self, nodes: int, event: yaml.Event) -> None:
        self._total += nodes
        if self._total > NODES_MAX:
            self._stop("config.too-large", f"more than {NODES_MAX} values, counted as aliases repeat them", event)

    def _problem(self, code: str, message: str, event: yaml.Event) -> None:
        line, column = _at(event)
        self.problems.append(Problem(code, message, self._source.place(line + 1, column + 1)))

    def _stop(self, code: str, message: str, event: yaml.Event) -> NoReturn:
        self._problem(code, message, event)
        raise _StopReading


def _at(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line, mark.column) if mark is not None else (0, 0)


def resolve(text: str) -> Scalar:
    """The value of a plain scalar by the core schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if text.startswith(("0x", "0o")):
        try:
            return int(text[:400], 0)
        except ValueError:
            return text
    return float(text) if _FLOAT.fullmatch(text) else text


def shown(text: str, length_max: int = 60) -> str:
    """A user's text in quotes, cut and with control characters replaced, for messages."""
    cut = text if len(text) <= length_max else text[: length_max - 1] + "…"
    return f"'{''.join(c if c.isprintable() else _stand_in(c) for c in cut)}'"


def _stand_in(character: str) -> str:
    return " " if character == "\t" else "\ufffd"


_SYNTAX = {
    "mapping values are not allowed in this context": "there is no place for a ':' here; is the indentation right, "
    "or are quotes missing?",
    "mapping values are not allowed here": "there is no place for a ':' here; is the indentation right, "
    "or are quotes missing?",
    "found character that cannot start any token": "a value cannot begin with this character; put quotes around it",
    "did not find expected key": "this does not belong to the lines above; check the indentation",
    "could not find expected ':'": "a ':' is missing after the key",
    "did not find expected '-' indicator": "a list goes on here, so '- ' is expected; check the indentation",
    "found unknown escape character": "an unknown escape; in double quotes write \\\\ for \\, or use single quotes",
}
