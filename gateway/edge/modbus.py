"""Registers of a Modbus device for a person who looks into it: read only, between the daemon's own polls."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from drivers.base import Bus
from drivers.planner import Block
from gateway.errors import UsageError

FUNCTIONS = (3, 4)
COUNT_MAX = 125


class _Poll(Protocol):
    data: tuple[bytes, ...]


@runtime_checkable
class _Modbus(Protocol):
    async def read(self, unit: int, blocks: tuple[Block, ...]) -> _Poll: ...


async def modbus_exchange(bus: Bus, unit: Any, function: Any, address: Any, count: Any) -> dict[str, Any]:
    """Request and answer of one read, both as RTU frames in hexadecimal. Raises DriverError, or UsageError."""
    from drivers.buses import modbus_adu  # it brings pymodbus

    if not isinstance(bus, _Modbus):
        raise UsageError(f"the bus {bus.name!r} is no Modbus line", fix="Name a bus of type modbus-rtu or modbus-tcp.")
    if not all(isinstance(value, int) for value in (unit, function, address, count)):
        raise UsageError(
            "unit, function, address and count are whole numbers", fix="Ask as `lamppost modbus read` does."
        )
    if function not in FUNCTIONS or not 0 <= unit <= 255 or not 1 <= count <= COUNT_MAX:
        raise UsageError(f"unit {unit}, function {function}, {count} registers cannot be read", fix="Read fewer.")
    poll = await bus.read(unit, (Block(function, address, count, ()),))
    answer = bytes((unit, function, 2 * count)) + poll.data[0]
    request = modbus_adu.encode_read(unit, function, address, count)
    return {"request": request.hex(), "answer": (answer + modbus_adu.crc(answer)).hex()}
