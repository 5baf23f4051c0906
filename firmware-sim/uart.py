"""What a serial receiver makes of a message that was sent with other settings, or with the wires swapped.

A byte on the wire is a start bit (0), the data bits with the lowest first, the parity bit where there is one, and a
stop bit (1); between bytes the line rests at 1. A receiver waits for a falling edge and then looks into the middle of
each bit. It hands over what it saw, also where the stop bit was missing, and then waits for the line to be at rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Parity = Literal["none", "even", "odd"]
REST_BITS = 24  # of silence behind a message: long enough for a character that begins with its last edge


@dataclass(frozen=True, slots=True)
class Uart:
    """Settings of one end; ``swapped``: its two wires are connected the wrong way round."""

    baud: int
    parity: Parity = "none"
    swapped: bool = False

    @property
    def bits(self) -> int:
        """Bits of a character on the wire."""
        return 10 if self.parity == "none" else 11


def misheard(message: bytes, sender: Uart, receiver: Uart, *, checks_parity: bool = False) -> bytes:
    """The bytes that the receiver hands over for a message without pauses in it.

    A device that ``checks_parity`` drops bytes whose parity is wrong; ports of computers are mostly told not to.
    """
    levels = _levels(message, sender)
    if sender.swapped != receiver.swapped:
        levels = [1 - level for level in levels]
    ratio = sender.baud / receiver.baud  # bits of the sender in one of the receiver
    heard = bytearray()
    at = 0.0

    def level(bit: float) -> int:
        index = int(at + bit * ratio)
        return levels[index] if index < len(levels) else levels[-1]

    while True:
        while at < len(levels) and levels[int(at)] == 0:  # until the line is at rest
            at = int(at) + 1.0
        while at < len(levels) and levels[int(at)] == 1:  # until the next falling edge
            at = int(at) + 1.0
        if at >= len(levels):
            return bytes(heard)
        byte = sum(level(1.5 + bit) << bit for bit in range(8))
        if not checks_parity or receiver.parity == "none" or level(9.5) == _parity(byte, receiver.parity):
            heard.append(byte)
        at += (receiver.bits - 0.5) * ratio


def _levels(message: bytes, sender: Uart) -> list[int]:
    levels = [1] * REST_BITS
    for byte in message:
        bits = [byte >> bit & 1 for bit in range(8)]
        parity = [] if sender.parity == "none" else [_parity(byte, sender.parity)]
        levels += [0, *bits, *parity, 1]
    return levels + [1] * REST_BITS


def _parity(byte: int, parity: Parity) -> int:
    return byte.bit_count() & 1 ^ (parity == "odd")
