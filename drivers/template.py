"""Templates: YAML data that describes a model of device.

Shipped ones lie at ``lamppost_config/templates/<kind>/<name>.yaml``. A file ``<name>.yaml`` or ``<kind>/<name>.yaml``
in the folder of the box (``/etc/lamppost/templates.d``, or the one that ``LAMPPOST_TEMPLATES`` names) wins over the
shipped one of that name. Other distributions bring theirs by the entry-point group ``lamppost.templates``: a package
with the same folders. Files are read strictly (``drivers.template_file``).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

from drivers.plugins import offered
from drivers.quantities import QUANTITIES

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Parity = Literal["none", "even", "odd"]
RegisterType = Literal["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "ascii"]
Order = Literal["high-first", "low-first"]
Evidence = Literal["captured", "agreed", "one source", "manual"]
Transport = Literal["rtu", "tcp"]
Scalar = str | int | float | bool

TEMPLATES = "lamppost.templates"
FOLDER = Path("/etc/lamppost/templates.d")
FOLDER_VARIABLE = "LAMPPOST_TEMPLATES"
FILE_BYTES_MAX = 256 * 1024
REGISTERS_MAX = 125  # Modbus application protocol v1.1b3, 6.3 and 6.4: quantity of registers 1..0x7D
WIDTHS: Mapping[str, int] = MappingProxyType(
    {kind: int(kind[1:]) // 16 for kind in get_args(RegisterType) if kind != "ascii"}
)


class TemplateError(ValueError):
    """A template that is not there or is not right. ``line`` and ``column`` count from 1; 0 where there is no place."""

    code = "template.invalid"
    fix = "See the list of templates with `lamppost template list`, or correct the file at the place named."

    def __init__(self, cause: str, *, file: str = "", line: int = 0, column: int = 0) -> None:
        super().__init__(f"{file}:{line}:{column}: {cause}" if file else cause)
        self.cause, self.file, self.line, self.column = cause, file, line, column


@dataclass(frozen=True, slots=True)
class Point:
    """One value in a Modbus map: ``value = raw x scale + offset``, in the unit of ``drivers.quantities``.

    Addresses are 0-based. A raw number listed in ``nan`` means "no value". ``scale_register`` holds a power of ten that
    multiplies too (SunSpec). ``map`` turns a raw number into the word of a state. ``words`` is the length of an ascii
    text in registers. ``low``, ``high`` bound what is plausible for this device, ``max_rate`` how fast a counter
    can count, in units a second; ``wrap`` is the raw count at which a counter starts again from 0, where that is not
    the width of its type. ``every`` is the wanted time between readings in seconds, None for what its quantity implies.
    """

    quantity: str
    address: int
    function: Literal[3, 4]
    type: RegisterType
    word_order: Order = "high-first"
    byte_order: Order = "high-first"
    scale: float = 1.0
    offset: float = 0.0
    scale_register: int | None = None
    nan: tuple[int, ...] = ()
    map: Mapping[int, str] = field(default_factory=dict)
    words: int = 0
    low: float | None = None
    high: float | None = None
    max_rate: float | None = None
    wrap: int | None = None
    every: float | None = None

    @property
    def count(self) -> int:
        """Registers of 16 bits that the value takes."""
        return WIDTHS.get(self.type, self.words)

    @property
    def modulus(self) -> float | None:
        """The value at which a counter starts again from 0, None where it does not."""
        raw = self.wrap or (1 << 16 * self.count if self.type in ("u16", "u32") else None)
        return None if raw is None or QUANTITIES[self.quantity].kind != "counter" else raw * abs(self.scale)


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a device that names its values (JSON, M-Bus, SenML, Sparkplug): ``value = raw x scale + offset``.

    The protocol's driver says what a ``path`` looks like. ``map`` turns a raw word or number into that of a state.
    """

    quantity: str
    path: str
    scale: float = 1.0
    offset: float = 0.0
    map: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """How the device leaves the factory; what is really set stands at the bus in the configuration.

    ``stated`` is False where no source says so.
    """

    baud: int = 9600
    parity: Parity = "none"
    data_bits: Literal[7, 8] = 8
    stop_bits: Literal[1, 2] = 1
    stated: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """Bytes of the device and what they decode to: the template's own test. ``request`` is b"" where none is sent.

    ``topic`` is the MQTT topic where there is one, whole or below the device's prefix.
    """

    answer: bytes
    expect: Mapping[str, float | int | str]
    request: bytes = b""
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """One model of device, or a family of ``variants`` that share the map.

    ``kind`` is the folder; ``identify`` gives per quantity the range that makes it plausible. ``evidence`` says how far
    the map is proven: a frame of the device (captured), two independent sources (agreed), one source, or the
    vendor's document (manual); ``sources`` name them, ``caveats`` say where they differ and what to look out for.
    ``disputed`` are the points on which they differ and neither a frame nor a majority decides. ``captured`` names
    frames of the device, beside those in the file, in the collection that the tests read. ``transports`` are the ways
    in which a Modbus device itself speaks; behind a gateway it may be another.
    ``address`` is the device's address where none is configured. ``registers_max`` and ``gap_max`` (registers read in
    vain to save a request; None: whatever wire time says) bound how points are joined, and nothing within ``no_fill``
    (first and last address) is ever read in vain. ``timeout_s``, ``gap_s`` (silence before a request) and ``late_s``
    (how late an answer may still come) are those of the device where they differ from its bus's.
    """

    name: str
    kind: str
    vendor: str
    model: str
    protocol: str
    data_model: str
    evidence: Evidence
    variants: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    disputed: tuple[str, ...] = ()
    captured: tuple[str, ...] = ()
    codec: str = ""
    period_s: float | None = None
    silence_s: float = 60.0
    address: int | None = None
    line: Line = Line()
    transports: tuple[Transport, ...] = ("rtu",)
    tcp_port: int | None = None
    registers_max: int = REGISTERS_MAX
    gap_max: int | None = None
    no_fill: tuple[tuple[int, int], ...] = ()
    timeout_s: float | None = None
    gap_s: float | None = None
    late_s: float | None = None
    points: tuple[Point, ...] = ()
    fields: tuple[Field, ...] = ()
    options: Mapping[str, Scalar] = field(default_factory=dict)
    identify: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    frames: tuple[Example, ...] = ()
    shipped: bool = True


def names() -> list[str]:
    """The names of all templates, sorted."""
    return sorted(_shipped().keys() | _local())


def load(name: str) -> Template:
    """The template of that name. Raises TemplateError where it is missing or wrong."""
    local = _local().get(name)
    if local is not None:
        return _load_local(name, local, local.stat().st_mtime_ns)
    return _load_shipped(name)


def folder() -> Path:
    """Where this box keeps templates of its own."""
    return Path(os.environ.get(FOLDER_VARIABLE) or FOLDER)


def parse(text: str, *, name: str, kind: str, file: str) -> Template:
    """Read the text of a template file. Raises TemplateError with the place of the first mistake."""
    from drivers import template_file  # it needs the classes of this module

    return template_file.parse(text, name=name, kind=kind, file=file)


@lru_cache(maxsize=512)
def _load_shipped(name: str) -> Template:
    from drivers.template_file import meant

    path = _shipped().get(name)
    if path is None:
        raise TemplateError(f"there is no template {name!r}{meant(name, names())}")
    return parse(_text(path), name=name, kind=str(path).rsplit("/", 2)[-2], file=str(path))


@lru_cache(maxsize=64)
def _load_local(name: str, path: Path, _changed_ns: int) -> Template:
    kind = "local" if path.parent == folder() else path.parent.name
    return dataclasses.replace(parse(_text(path), name=name, kind=kind, file=str(path)), shipped=False)


def _text(path: Traversable | Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TemplateError(f"cannot be read: {error.strerror}", file=str(path), line=1, column=1) from None
    if len(raw) > FILE_BYTES_MAX:
        raise TemplateError(f"larger than {FILE_BYTES_MAX} bytes", file=str(path), line=1, column=1)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise TemplateError("not UTF-8", file=str(path), line=1, column=1) from None


def _local() -> dict[str, Path]:
    """The files of the box, looked for each time: a field engineer has just put one there."""
    top = folder()
    try:
        return {path.stem: path for path in sorted((*top.glob("*/*.yaml"), *top.glob("*.yaml")))}
    except OSError:
        return {}


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Traversable]:
    found: dict[str, Traversable] = {}
    for point in offered(TEMPLATES).values():
        found |= _in(resources.files(point.value))
    return found | _in(resources.files("lamppost_config").joinpath("templates"))


def _in(top: Traversable) -> dict[str, Traversable]:
    return {path.name.removesuffix(".yaml"): path for kind in _folders(top) for path in _yamls(kind)}


def _folders(top: Traversable) -> Iterator[Traversable]:
    return (entry for entry in top.iterdir() if entry.is_dir())


def _yamls(top: Traversable) -> Iterator[Traversable]:
    return (entry for entry in top.iterdir() if entry.name.endswith(".yaml"))
