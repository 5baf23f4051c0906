"""A Modbus device made from the template that is to read it: the plumbing is proven by it, the addresses are not.

The registers are encoded here, with exact arithmetic and nothing of the gateway's decoder, so that the one can prove
the other wrong.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

from drivers.quantities import QUANTITIES
from drivers.template import WIDTHS, Point, Template
from firmware_sim.devices.plausible import Site, Value
from firmware_sim.line import Line
from firmware_sim.modbus import READ_HOLDING, READ_INPUT, Registers, Slave, Table, Unit

EXPONENTS = range(-3, 4)
HEADROOM = 2  # a value may grow so many times before its exponent would have to change
FLOATS = {"f32": ">f", "f64": ">d"}


class TemplateDevice:
    """Registers of a model, filled with plausible values.

    ``clock`` tells seconds from a start. ``fixed`` holds values that somebody has set, by quantity; those in ``absent``
    the device says that it does not have. Registers between two points read as zero where both may come in one answer.
    """

    def __init__(self, template: Template, name: str, seed: int = 1, clock: Callable[[], float] | None = None) -> None:
        began = time.monotonic()
        self.template = template
        self.fixed: dict[str, Value] = {}
        self.absent: set[str] = set()
        single = not {point.quantity[-2:] for point in template.points} & {"l2", "l3"}
        self._site = Site(name, seed, 1 if single else 3, clock or (lambda: time.monotonic() - began))
        self._exponents = self._choose_exponents()
        self._zeros = {function: self._holes(function) for function in (READ_HOLDING, READ_INPUT)}

    def slave(self, line: Line, address: int, *, turnaround_s: float) -> Slave:
        """Put the device on a line."""
        return Slave(line, address, self._tables(), turnaround_s=turnaround_s, count_max=self.template.registers_max)

    def unit(self, *, turnaround_s: float = 0.0) -> Unit:
        """The device without wires, for a TCP host."""
        return Unit(self._tables(), turnaround_s=turnaround_s, count_max=self.template.registers_max)

    def _tables(self) -> dict[int, Table]:
        return {function: self.table(function) for function in (READ_HOLDING, READ_INPUT)}

    def table(self, function: int) -> Table:
        """The registers of a function, as they are at the moment of asking."""
        points = [point for point in self.template.points if point.function == function]
        exponents = {
            point.scale_register: self._exponents[point.scale_register] & 0xFFFF
            for point in points
            if point.scale_register is not None
        }

        def registers() -> Registers:
            held = self._zeros[function] | exponents
            for point in points:
                held.update(enumerate(self.words(point), point.address))
            return held

        return registers

    def held(self) -> dict[str, Value]:
        """What the registers say now, by quantity, as exactly as they can; what is absent is left out."""
        return {
            point.quantity: self._said(point) for point in self.template.points if point.quantity not in self.absent
        }

    def words(self, point: Point) -> list[int]:
        """The registers of a point, in the order in which they lie."""
        if point.type == "ascii":
            text = "" if point.quantity in self.absent else str(self._value(point))
            data = text.encode("ascii")[: 2 * point.words].ljust(2 * point.words, b"\0")
        elif point.type in FLOATS:
            data = struct.pack(FLOATS[point.type], self._float(point))
        else:
            size = 16 * point.count
            data = (self._raw(point) % (1 << size)).to_bytes(size // 8, "big")
        words = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
        if point.byte_order == "low-first":
            words = [(word & 0xFF) << 8 | word >> 8 for word in words]
        return words[::-1] if point.word_order == "low-first" and point.type != "ascii" else words

    def _value(self, point: Point) -> Value:
        return self.fixed.get(point.quantity, self._site.value(point.quantity))

    def _said(self, point: Point) -> Value:
        if QUANTITIES[point.quantity].kind == "state":
            return str(self._value(point))[: 2 * point.words or None] if not point.map else point.map[self._raw(point)]
        if point.type in FLOATS:
            kept = struct.unpack(FLOATS[point.type], struct.pack(FLOATS[point.type], self._float(point)))[0]
            return float(Fraction(kept) * self._step(point) + Fraction(str(point.offset)))
        bits = 16 * point.count
        raw = self._raw(point) % (1 << bits)
        signed = raw - (1 << bits) if point.type[0] == "i" and raw >> (bits - 1) else raw
        return float(signed * self._step(point) + Fraction(str(point.offset)))

    def _float(self, point: Point) -> float:
        if point.quantity in self.absent:
            return float("nan")
        return float(self._number(point) / self._step(point))

    def _raw(self, point: Point) -> int:
        """The whole number in the registers, before it is cut to their width; a counter wraps there."""
        if point.quantity in self.absent:
            if not point.nan:
                raise ValueError(f"{self.template.name}: {point.quantity} cannot be absent")
            return point.nan[0]
        if point.map:
            return next((raw for raw, word in point.map.items() if word == self._value(point)), next(iter(point.map)))
        number = round(self._number(point) / self._step(point))
        if QUANTITIES[point.quantity].kind == "counter":
            return number % (point.wrap or 1 << 16 * WIDTHS[point.type])
        low, high = _limits(point)
        return max(low, min(high, number))

    def _number(self, point: Point) -> Fraction:
        return Fraction(str(float(self._value(point)))) - Fraction(str(point.offset))

    def _step(self, point: Point) -> Fraction:
        """What a count is worth."""
        power = 0 if point.scale_register is None else self._exponents[point.scale_register]
        return Fraction(str(point.scale)) * Fraction(10) ** power

    def _choose_exponents(self) -> dict[int, int]:
        """The finest exponent for each scale register with which all its values fit into their registers."""
        chosen: dict[int, int] = {}
        for point in self.template.points:
            if point.scale_register is not None:
                most = HEADROOM * abs(self._number(point)) / abs(Fraction(str(point.scale)))
                fits = next(
                    e for e in EXPONENTS if point.type in FLOATS or most / Fraction(10) ** e <= _limits(point)[1]
                )
                chosen[point.scale_register] = max(fits, chosen.get(point.scale_register, fits))
        return chosen

    def _holes(self, function: int) -> dict[int, int]:
        template = self.template
        spans = sorted((p.address, p.address + p.count) for p in template.points if p.function == function)
        gaps = [range(end, begin) for (_, end), (begin, _) in pairwise(spans) if begin - end <= template.registers_max]
        never = [range(first, last + 1) for first, last in template.no_fill]
        return {at: 0 for gap in gaps for at in gap if not any(at in part for part in never)}


def _limits(point: Point) -> tuple[int, int]:
    bits = 16 * WIDTHS[point.type]
    return (0, (1 << bits) - 1) if point.type[0] == "u" else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
