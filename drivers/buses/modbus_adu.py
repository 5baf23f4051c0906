"""Modbus RTU frames for the master: requests to bytes, and the one answer that fits out of whatever came in.

RTU has no transaction number. An answer is taken only where unit, function and byte count fit the question and the CRC
holds; bytes before and behind it are noise. Source: Modbus application protocol v1.1b3, 6.3, 6.4 and 7; Modbus over
serial line v1.02, 2.5.1. PDUs and CRC are pymodbus's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from pymodbus.framer import FramerRTU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

ANSWER_OVERHEAD = 5  # unit, function, byte count, two of CRC
EXCEPTION_LENGTH = 5
GATEWAY_EXCEPTIONS = (10, 11)  # a gateway says that the unit behind it cannot be reached
EXCEPTIONS: Mapping[int, str] = MappingProxyType(
    {
        1: "illegal function",
        2: "illegal data address",
        3: "illegal data value",
        4: "device failure",
        5: "acknowledged, takes long",
        6: "device busy",
        8: "memory parity error",
        10: "gateway path unavailable",
        11: "gateway target does not answer",
    }
)
_REQUESTS = {3: ReadHoldingRegistersRequest, 4: ReadInputRegistersRequest}


@dataclass(frozen=True, slots=True)
class Answer:
    """``data`` are the registers' bytes; ``exception`` is the code where the device refused, 0 else."""

    data: bytes
    exception: int = 0


@lru_cache(maxsize=512)
def encode_read(unit: int, function: int, address: int, count: int) -> bytes:
    """The request to read ``count`` registers with function 3 or 4."""
    pdu = _REQUESTS[function](address=address, count=count)
    frame = bytes((unit, function)) + pdu.encode()
    return frame + crc(frame)


def crc(frame: bytes) -> bytes:
    """The two bytes that follow a frame."""
    return FramerRTU.compute_CRC(frame).to_bytes(2, "big")


def sound(frame: bytes) -> bool:
    """Whether these bytes are one frame with its CRC: somebody's, at some time."""
    return len(frame) >= 4 and crc(frame[:-2]) == frame[-2:]


def find_answer(heard: bytes, unit: int, function: int, count: int) -> Answer | None:
    """The answer to such a request among the bytes heard, None where it is not there, or not yet, or damaged."""
    length = ANSWER_OVERHEAD + 2 * count
    good = bytes((unit, function, 2 * count))
    refusal = bytes((unit, function | 0x80))
    start = heard.find(unit)
    while 0 <= start <= len(heard) - EXCEPTION_LENGTH:
        if heard.startswith(good, start) and len(heard) - start >= length:
            if sound(frame := heard[start : start + length]):
                return Answer(frame[3:-2])
        elif heard.startswith(refusal, start) and sound(frame := heard[start : start + EXCEPTION_LENGTH]):
            return Answer(b"", frame[2])
        start = heard.find(unit, start + 1)
    return None


def begun(heard: bytes, unit: int, function: int, count: int) -> bool:
    """Whether something came that began like the answer to such a request."""
    return bytes((unit, function, 2 * count)) in heard


def all_there(heard: bytes, unit: int, function: int, count: int) -> bool:
    """Whether as many bytes as such an answer has came from where it began; see :func:`find_answer` for a good one."""
    start = heard.find(bytes((unit, function, 2 * count)))
    return 0 <= start <= len(heard) - ANSWER_OVERHEAD - 2 * count
