"""Templates: YAML data that describes a model of device, loaded strictly.

A template lies at ``lamppost_config/templates/<kind>/<name>.yaml``. Every key is checked; the first mistake raises
:class:`TemplateError` with file, line, column and, for a mistyped word, what was probably meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NoReturn, cast, get_args

import yaml

from drivers.quantities import QUANTITIES

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Protocol = Literal["modbus", "p1", "pms", "ble-adv", "csc", "shelly"]
Parity = Literal["none", "even", "odd"]
RegisterType = Literal["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"]
WordOrder = Literal["high-first", "low-first"]
Evidence = Literal["captured", "manual", "public map"]

FILE_BYTES_MAX = 256 * 1024
REGISTERS_MAX = 125  # Modbus application protocol v1.1b3, 6.3 and 6.4: quantity of registers 1..0x7D
WIDTHS: Mapping[str, int] = MappingProxyType({kind: int(kind[1:]) // 16 for kind in get_args(RegisterType)})
_NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,62}$")


class TemplateError(ValueError):
    """A template that is not there or is not right. ``line`` and ``column`` count from 1; 0 where there is no place."""

    code = "template.invalid"
    fix = "See the list of templates with `lamppost check`, or correct the file at the place named."

    def __init__(self, cause: str, *, file: str = "", line: int = 0, column: int = 0) -> None:
        super().__init__(f"{file}:{line}:{column}: {cause}" if file else cause)
        self.cause, self.file, self.line, self.column = cause, file, line, column


@dataclass(frozen=True, slots=True)
class Point:
    """One value in a Modbus map: ``value = raw x scale``, in the unit of ``drivers.quantities``; addresses are 0-based.

    A raw number listed in ``nan`` means "no value".
    """

    quantity: str
    address: int
    function: Literal[3, 4]
    type: RegisterType
    word_order: WordOrder = "high-first"
    scale: float = 1.0
    nan: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Registers of 16 bits that the value takes."""
        return WIDTHS[self.type]


@dataclass(frozen=True, slots=True)
class Line:
    """How the device leaves the factory; what is really set stands at the bus in the configuration."""

    baud: int = 9600
    parity: Parity = "none"
    data_bits: Literal[7, 8] = 8
    stop_bits: Literal[1, 2] = 1


@dataclass(frozen=True, slots=True)
class Example:
    """Bytes of the device and what they decode to: the template's own test. ``request`` is b"" where none is sent.

    ``topic`` is the MQTT topic below the device's prefix where there is one.
    """

    answer: bytes
    expect: Mapping[str, float | int | str]
    request: bytes = b""
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """One model of device. ``kind`` is the folder; ``identify`` gives per quantity the range that makes it plausible.

    ``address`` is the device's address where none is configured. ``registers_max`` and ``gap_max`` (registers read in
    vain to save a request; None: whatever wire time says) bound how points are joined.
    """

    name: str
    kind: str
    vendor: str
    model: str
    protocol: Protocol
    data_model: str
    evidence: Evidence
    codec: str = ""
    period_s: float | None = None
    silence_s: float = 60.0
    address: int | None = None
    line: Line = Line()
    registers_max: int = REGISTERS_MAX
    gap_max: int | None = None
    points: tuple[Point, ...] = ()
    identify: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    frames: tuple[Example, ...] = ()


def names() -> list[str]:
    """The names of all templates, sorted."""
    return sorted(_files())


@lru_cache(maxsize=256)
def load(name: str) -> Template:
    """The template of that name. Raises TemplateError where it is missing or wrong."""
    path = _files().get(name)
    if path is None:
        raise TemplateError(f"there is no template {name!r}{_meant(name, names())}")
    raw = path.read_bytes()
    if len(raw) > FILE_BYTES_MAX:
        raise TemplateError(f"larger than {FILE_BYTES_MAX} bytes", file=str(path), line=1, column=1)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise TemplateError("not UTF-8", file=str(path), line=1, column=1) from None
    return parse(text, name=name, kind=str(path).rsplit("/", 2)[-2], file=str(path))


def parse(text: str, *, name: str, kind: str, file: str) -> Template:
    """Read the text of a template file. Raises TemplateError with the place of the first mistake."""
    if not _NAME.match(name):
        raise TemplateError(
            f"{name!r} is no template name: small letters, digits and hyphens", file=file, line=1, column=1
        )
    try:
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise TemplateError(
            error.problem or "not YAML",
            file=file,
            line=mark.line + 1 if mark else 1,
            column=mark.column + 1 if mark else 1,
        ) from None
    except yaml.YAMLError as error:
        raise TemplateError(f"not YAML: {error}", file=file, line=1, column=1) from None
    if root is None:
        raise TemplateError("the file is empty", file=file, line=1, column=1)
    return _template(_Part(root, file), name, kind)


@lru_cache(maxsize=1)
def _files() -> dict[str, Traversable]:
    found: dict[str, Traversable] = {}
    for folder in resources.files("lamppost_config").joinpath("templates").iterdir():
        if folder.is_dir():
            found |= {f.name.removesuffix(".yaml"): f for f in folder.iterdir() if f.name.endswith(".yaml")}
    return found


def _meant(word: str, words: list[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(words))}"


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
                key.fail(f"unknown key {word!r}{_meant(word, [*required, *known])}")
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
            self.fail(f"unknown value {word!r}{_meant(word, list(options))}")
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
            self.fail(f"unknown quantity {word!r}{_meant_short(word)}")
        return word


def _meant_short(word: str) -> str:
    close = difflib.get_close_matches(word, list(QUANTITIES), n=1)
    return f"; did you mean {close[0]!r}?" if close else "; see drivers/quantities.py"


_REQUIRED = ("vendor", "model", "protocol", "data_model", "evidence", "frames")
_KNOWN = ("codec", "period_s", "silence_s", "address", "line", "modbus", "points", "identify")


def _template(root: _Part, name: str, kind: str) -> Template:
    parts = root.mapping(_REQUIRED, _KNOWN)
    protocol = cast("Protocol", parts["protocol"].choice(get_args(Protocol)))
    modbus = (
        parts["modbus"].mapping(("function",), ("word_order", "registers_max", "gap_max")) if "modbus" in parts else {}
    )
    if (protocol == "modbus") != bool("points" in parts and modbus):
        root.fail("`modbus` and `points` go with protocol modbus, and only with it")
    if (protocol == "ble-adv") != ("codec" in parts):
        root.fail("`codec` goes with protocol ble-adv, and only with it")
    points = _points(parts["points"], modbus) if "points" in parts else ()
    return Template(
        name=name,
        kind=kind,
        vendor=parts["vendor"].text(),
        model=parts["model"].text(),
        protocol=protocol,
        data_model=parts["data_model"].text(),
        evidence=cast("Evidence", parts["evidence"].choice(get_args(Evidence))),
        codec=parts["codec"].text() if "codec" in parts else "",
        period_s=parts["period_s"].number(positive=True) if "period_s" in parts else None,
        silence_s=parts["silence_s"].number(positive=True) if "silence_s" in parts else 60.0,
        address=parts["address"].integer(0, 255) if "address" in parts else None,
        line=_line(parts["line"]) if "line" in parts else Line(),
        registers_max=modbus["registers_max"].integer(1, REGISTERS_MAX) if "registers_max" in modbus else REGISTERS_MAX,
        gap_max=modbus["gap_max"].integer(0, REGISTERS_MAX) if "gap_max" in modbus else None,
        points=points,
        identify=_identify(parts["identify"]) if "identify" in parts else {},
        frames=tuple(_example(part) for part in parts["frames"].items()),
    )


def _line(part: _Part) -> Line:
    parts = part.mapping((), ("baud", "parity", "data_bits", "stop_bits"))
    return Line(
        baud=parts["baud"].integer(300, 1_000_000) if "baud" in parts else 9600,
        parity=cast("Parity", parts["parity"].choice(get_args(Parity))) if "parity" in parts else "none",
        data_bits=cast("Literal[7, 8]", parts["data_bits"].integer(7, 8)) if "data_bits" in parts else 8,
        stop_bits=cast("Literal[1, 2]", parts["stop_bits"].integer(1, 2)) if "stop_bits" in parts else 1,
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


def _point(item: _Part, modbus: dict[str, _Part]) -> Point:
    parts = item.mapping(("quantity", "address", "type"), ("function", "word_order", "scale", "nan"))
    function = parts.get("function", modbus["function"]).integer(3, 4)
    order = parts.get("word_order", modbus.get("word_order"))
    point = Point(
        quantity=parts["quantity"].quantity(),
        address=parts["address"].integer(0, 0xFFFF),
        function=cast("Literal[3, 4]", function),
        type=cast("RegisterType", parts["type"].choice(get_args(RegisterType))),
        word_order=cast("WordOrder", order.choice(get_args(WordOrder))) if order else "high-first",
        scale=parts["scale"].number() if "scale" in parts else 1.0,
        nan=tuple(raw.integer(-(2**63), 2**64 - 1) for raw in parts["nan"].items()) if "nan" in parts else (),
    )
    if point.scale == 0:
        parts["scale"].fail("a scale of 0 makes every value 0")
    if point.address + point.count > 0x10000:
        parts["address"].fail(f"a {point.type} at {point.address:#06x} reaches beyond 0xFFFF")
    return point


def _identify(part: _Part) -> dict[str, tuple[float, float]]:
    ranges: dict[str, tuple[float, float]] = {}
    for word, bounds in part.mapping().items():
        if word not in QUANTITIES:
            bounds.fail(f"unknown quantity {word!r}{_meant_short(word)}")
        pair = [item.number() for item in bounds.items()]
        if len(pair) != 2 or pair[0] > pair[1]:
            bounds.fail("expected [lowest, highest]")
        ranges[word] = (pair[0], pair[1])
    return ranges


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
            value.fail(f"unknown quantity {word!r}{_meant_short(word)}")
        expect[word] = value.text() if QUANTITIES[word].kind == "state" else value.number()
    request = parts["request"].hex() if "request" in parts else b""
    return Example(answer, expect, request, parts["topic"].text() if "topic" in parts else "")
