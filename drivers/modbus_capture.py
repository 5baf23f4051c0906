"""A captured Modbus exchange to values: request and answer, or an answer alone where its place in the map is certain.

Takes the bytes of an RTU line (request, answer, or the two one after the other) and those of Modbus TCP.
Source: Modbus application protocol v1.1b3, 6.3, 6.4 and 7; Modbus messaging on TCP/IP v1.0b, 3.1.3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.base import Measurement
from drivers.buses import modbus_adu as adu
from drivers.buses.modbus_device import decode_blocks
from drivers.errors import BadFrame
from drivers.planner import Block
from drivers.template import Template

READS = (3, 4)
REQUEST_PDU, MBAP, CRC = 5, 7, 2


@dataclass(frozen=True, slots=True)
class Exchange:
    """``address`` is None where no request was captured; ``registers`` are the answer's bytes."""

    unit: int
    function: int
    address: int | None
    registers: bytes

    @property
    def count(self) -> int:
        """Registers in the answer."""
        return len(self.registers) // 2


def parse(data: bytes) -> Exchange:
    """The exchange in these bytes. Raises BadFrame for a damaged one, a refusal, or what is no read of registers."""
    pdus = list(_tcp(data) or _rtu(data))
    if not pdus:
        raise BadFrame("no Modbus frame: neither checksum nor TCP header fits")
    if len(pdus) > 2:
        raise BadFrame(f"{len(pdus)} frames: give one request with its answer")
    unit, answer = pdus[-1]
    if answer[0] & 0x80:
        raise BadFrame(f"unit {unit} refused: {adu.EXCEPTIONS.get(answer[1], 'unknown exception')}")
    if answer[0] not in READS or len(answer) < 2 or answer[1] != len(answer) - 2 or answer[1] % 2 or not answer[1]:
        raise BadFrame("not the answer to a read of registers")
    if len(pdus) == 1:
        return Exchange(unit, answer[0], None, answer[2:])
    asked, request = pdus[0]
    if asked != unit or len(request) != REQUEST_PDU or request[0] != answer[0]:
        raise BadFrame("the answer does not belong to the request")
    address, count = struct.unpack(">HH", request[1:])
    if 2 * count != answer[1]:
        raise BadFrame(f"{count} registers were asked for, {answer[1] // 2} came")
    return Exchange(unit, answer[0], address, answer[2:])


def measurements(template: Template, exchange: Exchange) -> tuple[Measurement, ...]:
    """The values of the points in the exchange. Raises BadFrame where its place in the map is not certain."""
    places = [exchange.address] if exchange.address is not None else _places(template, exchange)
    if len(places) != 1:
        where = f"could be from {', '.join(f'{place:#06x}' for place in places[:5])}" if places else "fits nowhere"
        raise BadFrame(f"an answer of {exchange.count} registers {where} in {template.name}: give the request too")
    (first,) = places
    end = first + exchange.count
    points = tuple(
        point
        for point in template.points
        if point.function == exchange.function and first <= point.address and point.address + point.count <= end
    )
    return tuple(decode_blocks((Block(exchange.function, first, exchange.count, points),), (exchange.registers,)))


def _places(template: Template, exchange: Exchange) -> list[int]:
    """Where in the map an answer without its request begins: at a point, with another point's end at its own end."""
    of = [point for point in template.points if point.function == exchange.function]
    ends = {point.address + point.count for point in of}
    return sorted({point.address for point in of if point.address + exchange.count in ends})


def _tcp(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while len(data) > MBAP:
        _transaction, protocol, length, unit = struct.unpack(">HHHB", data[:MBAP])
        if protocol or not 2 < length <= len(data) - MBAP + 1:
            return []
        found.append((unit, data[MBAP : MBAP + length - 1]))
        data = data[MBAP + length - 1 :]
    return [] if data else found


def _rtu(data: bytes) -> Iterator[tuple[int, bytes]]:
    request = data[: 1 + REQUEST_PDU + CRC]
    if len(data) > len(request) and request[1] in READS and adu.sound(request):
        yield request[0], request[1:-CRC]
        data = data[len(request) :]
    if adu.sound(data):
        yield data[0], data[1:-CRC]
