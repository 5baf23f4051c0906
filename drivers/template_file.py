"""The strict reader of template files: every key is checked, the first mistake raises with file, line and column.

For a mistyped word the error says what was probably meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn, cast, get_args

import yaml

from drivers.plugins import offered
from drivers.quantities import QUANTITIES
from drivers.template import (
    REGISTERS_MAX,
    Evidence,
    Example,
    Field,
    Line,
    Order,
    Parity,
    Point,
    RegisterType,
    Scalar,
    Template,
    TemplateError,
    Transport,
)

DRIVERS = "lamppost.drivers"
_NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,62}$")


def parse(text: str, *, name: str, kind: str, file: str) -> Template:
    """See ``drivers.template.parse``."""
    if not _NAME.match(name):
        cause = f"{name!r} is no template name: small letters, digits and hyphens"
        raise TemplateError(cause, file=file, line=1, column=1)
    try:
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise TemplateError(error.problem or "not YAML", file=file, line=line, column=column) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise TemplateError(f"not YAML: {error}", file=file, line=1, column=1) from None
    if root is None:
        raise TemplateError("the file is empty", file=file, line=1, column=1)
    return _template(_Part(root, file), name, kind)


def meant(word: str, words: list[str]) -> str:
    """What a mistyped word was probably meant to be, or all that is known."""
    close = difflib.get_close_matches(word, words, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(words))}"


def _meant_quantity(word: str) -> str:
    close = difflib.get_close_matches(word, list(QUANTITIES), n=1)
    return f"; did you mean {close[0]!r}?" if close else "; see docs/reference/quantities.md"


class _Part:
    """A node of the file with its place; each method returns what it is asked for or raises TemplateError."""

    def __init__(self, node: yaml.Node, file: str) -> None:
        self.node, self.file = node, file

    def fail(self, cause: str) -> NoReturn:
        mark = self.node.start_mark
        raise TemplateError(cause, file=self.file, line=mark.line + 1, column=mark.column + 1)

    def mapping(self, required: tuple[str, ...] = (), known: tuple[str, ...] | None = None) -> dict[str, _Part]:
        """The parts by key; ``known`` None allows any key."""
        if not isinstance(self.node, yaml.MappingNode):
            self.fail("expected keys and values here")
        parts: dict[str, _Part] = {}
        for key_node, value_node in self.node.value:
            key = _Part(key_node, self.file)
            word = key.text()
            if word in parts:
                key.fail(f"{word!r} stands here twice")
            if known is not None and word not in (*required, *known):
                key.fail(f"unknown key {word!r}{meant(word, [*required, *known])}")
            parts[word] = _Part(value_node, self.file)
        missing = [word for word in required if word not in parts]
        if missing:
            self.fail(f"missing: {', '.join(missing)}")
        return parts

    def items(self) -> list[_Part]:
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail("expected a list here")
        return [_Part(node, self.file) for node in self.node.value]

    def text(self) -> str:
        if not isinstance(self.node, yaml.ScalarNode) or self.node.tag == "tag:yaml.org,2002:null":
            self.fail("expected a word or text here")
        return str(self.node.value)

    def choice(self, options: tuple[str, ...]) -> str:
        word = self.text()
        if word not in options:
            self.fail(f"unknown value {word!r}{meant(word, list(options))}")
        return word

    def integer(self, low: int, high: int) -> int:
        try:
            value = int(self.text(), 0)
        except ValueError:
            self.fail(f"expected a whole number, not {self.text()!r}")
        if not low <= value <= high:
            self.fail(f"{value} is not within {low}..{high}")
        return value

    def number(self, *, positive: bool = False) -> float:
        try:
            value = float(self.text())
        except ValueError:
            self.fail(f"expected a number, not {self.text()!r}")
        if value != value or value in (float("inf"), float("-inf")) or (positive and value <= 0):
            self.fail(f"{self.text()} is not a {'positive ' if positive else ''}number that can be used here")
        return value

    def hex(self) -> bytes:
        try:
            return bytes.fromhex(self.text())
        except ValueError:
            self.fail("expected bytes in hexadecimal")

    def quantity(self) -> str:
        word = self.text()
        if word not in QUANTITIES:
            self.fail(f"unknown quantity {word!r}{_meant_quantity(word)}")
        return word

    def scalar(self) -> Scalar:
        """A text, number or truth value, as YAML reads it."""
        self.text()
        value = yaml.safe_load(yaml.serialize(self.node))
        return value if isinstance(value, str | int | float) else self.text()

    def texts(self) -> tuple[str, ...]:
        return tuple(item.text() for item in self.items())


_REQUIRED = ("vendor", "model", "protocol", "data_model", "evidence")
_KNOWN = (
    *("variants", "sources", "caveats", "disputed", "captured", "codec", "period_s", "silence_s", "address", "line"),
    *("modbus", "points", "fields", "options", "identify", "frames"),
)
_MODBUS = (
    *("transports", "word_order", "byte_order", "registers_max", "gap_max", "no_fill"),
    *("timeout_s", "gap_s", "late_s", "tcp_port"),
)


def _template(root: _Part, name: str, kind: str) -> Template:
    parts = root.mapping(_REQUIRED, _KNOWN)
    protocol = parts["protocol"].choice(tuple(offered(DRIVERS)))
    modbus = parts["modbus"].mapping(("function",), _MODBUS) if "modbus" in parts else {}
    if (protocol == "modbus") != bool("points" in parts and modbus):
        root.fail("`modbus` and `points` go with protocol modbus, and only with it")
    if (protocol == "ble-adv") != ("codec" in parts):
        root.fail("`codec` goes with protocol ble-adv, and only with it")
    points = _points(parts["points"], modbus) if "points" in parts else ()
    _of_points(parts, points)
    return Template(
        name=name,
        kind=kind,
        vendor=parts["vendor"].text(),
        model=parts["model"].text(),
        protocol=protocol,
        data_model=parts["data_model"].text(),
        evidence=cast("Evidence", parts["evidence"].choice(get_args(Evidence))),
        points=points,
        fields=_fields(parts["fields"]) if "fields" in parts else (),
        **_modbus(modbus),
        **_optional(parts),
    )


def _optional(parts: Mapping[str, _Part]) -> dict[str, Any]:
    readers: dict[str, Callable[[_Part], Any]] = {
        "variants": _Part.texts,
        "sources": _Part.texts,
        "caveats": _Part.texts,
        "disputed": _Part.texts,
        "captured": _Part.texts,
        "codec": _Part.text,
        "period_s": _positive,
        "silence_s": _positive,
        "address": lambda part: part.integer(0, 255),
        "line": _line,
        "identify": _identify,
        "frames": lambda part: tuple(_example(item) for item in part.items()),
        "options": lambda part: {word: value.scalar() for word, value in part.mapping().items()},
    }
    return {word: read(parts[word]) for word, read in readers.items() if word in parts}


def _of_points(parts: Mapping[str, _Part], points: tuple[Point, ...]) -> None:
    """What speaks of points must name points of the file. Raises TemplateError."""
    known = {point.quantity for point in points}
    for item in parts["disputed"].items() if "disputed" in parts else ():
        if item.text() not in known:
            item.fail(f"{item.text()!r} is none of the points")
    for word, bounds in parts["identify"].mapping().items() if points and "identify" in parts else ():
        if word in QUANTITIES and word not in known:
            bounds.fail(f"{word!r} is none of the points")


def _modbus(parts: Mapping[str, _Part]) -> dict[str, Any]:
    readers: dict[str, Callable[[_Part], Any]] = {
        "transports": lambda part: tuple(item.choice(get_args(Transport)) for item in part.items()),
        "registers_max": lambda part: part.integer(1, REGISTERS_MAX),
        "gap_max": lambda part: part.integer(0, REGISTERS_MAX),
        "no_fill": lambda part: tuple(_range(item) for item in part.items()),
        "timeout_s": _positive,
        "gap_s": _positive,
        "late_s": _positive,
        "tcp_port": lambda part: part.integer(1, 65535),
    }
    return {word: read(parts[word]) for word, read in readers.items() if word in parts}


def _positive(part: _Part) -> float:
    return part.number(positive=True)


def _range(part: _Part) -> tuple[int, int]:
    pair = [item.integer(0, 0xFFFF) for item in part.items()]
    if len(pair) != 2 or pair[0] > pair[1]:
        part.fail("expected [first address, last address]")
    return pair[0], pair[1]


def _line(part: _Part) -> Line:
    parts = part.mapping((), ("baud", "parity", "data_bits", "stop_bits"))
    return Line(
        baud=parts["baud"].integer(300, 1_000_000) if "baud" in parts else 9600,
        parity=cast("Parity", parts["parity"].choice(get_args(Parity))) if "parity" in parts else "none",
        data_bits=cast("Literal[7, 8]", parts["data_bits"].integer(7, 8)) if "data_bits" in parts else 8,
        stop_bits=cast("Literal[1, 2]", parts["stop_bits"].integer(1, 2)) if "stop_bits" in parts else 1,
        stated=True,
    )


def _points(part: _Part, modbus: dict[str, _Part]) -> tuple[Point, ...]:
    points: list[Point] = []
    for item in part.items():
        point = _point(item, modbus)
        if any(point.quantity == other.quantity for other in points):
            item.fail(f"{point.quantity!r} stands here twice")
        points.append(point)
    if not points:
        part.fail("no points: nothing would be read")
    return tuple(points)


_POINT = (
    *("function", "word_order", "byte_order", "scale", "offset", "scale_register", "nan", "map", "words"),
    *("range", "max_rate", "wrap", "every"),
)


def _point(item: _Part, modbus: dict[str, _Part]) -> Point:
    parts = item.mapping(("quantity", "address", "type"), _POINT)
    function = parts.get("function", modbus["function"]).integer(3, 4)
    readers: dict[str, Callable[[_Part], Any]] = {
        "scale": _Part.number,
        "offset": _Part.number,
        "scale_register": lambda part: part.integer(0, 0xFFFF),
        "nan": lambda part: tuple(raw.integer(-(2**63), 2**64 - 1) for raw in part.items()),
        "map": _states,
        "words": lambda part: part.integer(1, REGISTERS_MAX),
        "max_rate": _positive,
        "wrap": lambda part: part.integer(2, 2**64),
        "every": _positive,
    }
    bounds = _bounds(parts["range"]) if "range" in parts else (None, None)
    kind = parts["type"].choice(get_args(RegisterType))
    usual = modbus if kind != "ascii" else {}  # the order of words is one of numbers: text reads as it stands
    point = Point(
        quantity=parts["quantity"].quantity(),
        address=parts["address"].integer(0, 0xFFFF),
        function=cast("Literal[3, 4]", function),
        type=cast("RegisterType", kind),
        word_order=_order(parts.get("word_order", usual.get("word_order"))),
        byte_order=_order(parts.get("byte_order", usual.get("byte_order"))),
        low=bounds[0],
        high=bounds[1],
        **{word: read(parts[word]) for word, read in readers.items() if word in parts},
    )
    if point.scale == 0:
        parts["scale"].fail("a scale of 0 makes every value 0")
    if (point.type == "ascii") != ("words" in parts):
        item.fail("`words` goes with type ascii, and only with it")
    if point.address + point.count > 0x10000:
        parts["address"].fail(f"a {point.type} at {point.address:#06x} reaches beyond 0xFFFF")
    return point


def _order(part: _Part | None) -> Order:
    return "high-first" if part is None else cast("Order", part.choice(get_args(Order)))


def _states(part: _Part) -> dict[int, str]:
    states: dict[int, str] = {}
    for word, value in part.mapping().items():
        try:
            states[int(word, 0)] = value.text()
        except ValueError:
            value.fail(f"expected a whole number before the colon, not {word!r}")
    return states


def _fields(part: _Part) -> tuple[Field, ...]:
    fields: list[Field] = []
    for item in part.items():
        parts = item.mapping(("quantity", "path"), ("scale", "offset", "map"))
        states = parts["map"].mapping() if "map" in parts else {}
        field = Field(
            quantity=parts["quantity"].quantity(),
            path=parts["path"].text(),
            scale=parts["scale"].number() if "scale" in parts else 1.0,
            offset=parts["offset"].number() if "offset" in parts else 0.0,
            map={word: value.text() for word, value in states.items()},
        )
        if any(field.quantity == other.quantity and field.path == other.path for other in fields):
            item.fail(f"{field.quantity!r} stands here twice")
        fields.append(field)
    return tuple(fields)


def _identify(part: _Part) -> dict[str, tuple[float, float]]:
    ranges: dict[str, tuple[float, float]] = {}
    for word, bounds in part.mapping().items():
        if word not in QUANTITIES:
            bounds.fail(f"unknown quantity {word!r}{_meant_quantity(word)}")
        ranges[word] = _bounds(bounds)
    return ranges


def _bounds(part: _Part) -> tuple[float, float]:
    pair = [item.number() for item in part.items()]
    if len(pair) != 2 or pair[0] > pair[1]:
        part.fail("expected [lowest, highest]")
    return pair[0], pair[1]


def _example(part: _Part) -> Example:
    parts = part.mapping(("expect",), ("request", "answer", "text", "lines", "topic"))
    given = [key for key in ("answer", "text", "lines") if key in parts]
    if len(given) != 1:
        part.fail("give the bytes as one of: answer (hexadecimal), text, lines (each ends in CR LF on the wire)")
    if "answer" in parts:
        answer = parts["answer"].hex()
    elif "text" in parts:
        answer = parts["text"].text().encode()
    else:
        answer = "".join(f"{line}\r\n" for line in parts["lines"].text().splitlines()).encode()
    expect: dict[str, float | int | str] = {}
    for word, value in parts["expect"].mapping().items():
        if word not in QUANTITIES:
            value.fail(f"unknown quantity {word!r}{_meant_quantity(word)}")
        expect[word] = value.text() if QUANTITIES[word].kind == "state" else value.number()
    request = parts["request"].hex() if "request" in parts else b""
    return Example(answer, expect, request, parts["topic"].text() if "topic" in parts else "")
