"""What is common to the codecs of devices that are connected to: characteristics in, observations out."""

from __future__ import annotations

from typing import Protocol

from drivers.base import Observation

_SHORT = "0000{:04x}-0000-1000-8000-00805f9b34fb"


def uuid16(number: int) -> str:
    """The whole form of an assigned 16-bit UUID (Bluetooth Core 5.4, Vol 3, Part B, 2.5.1)."""
    return _SHORT.format(number)


class GattCodec(Protocol):
    """One device, followed over time and across links.

    ``service`` is the one it is known by, ``asked`` are the characteristics that are read once a connection stands,
    ``notified`` those that are subscribed to; all of them must be there. UUIDs are whole and in small letters.
    """

    service: str
    asked: tuple[str, ...]
    notified: tuple[str, ...]

    def take(self, uuid: str, value: bytes, mono_ns: int) -> tuple[Observation, ...]:
        """What the value of a characteristic says, perhaps nothing yet. Raises BadFrame."""
