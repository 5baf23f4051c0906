"""What codecs have in common: a decoded frame, and what a frame alone does not say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drivers.base import Measurement

BUFFER_BYTES_MAX = 16 * 1024  # longer than any frame: what is older is noise


@dataclass(frozen=True, slots=True)
class Decoded:
    """One good frame. ``device_ns`` is the device's own UTC time where it states one with a zone."""

    measurements: tuple[Measurement, ...]
    device_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Hints:
    """What a frame alone does not say: a bind key, the sender's Bluetooth address, the MQTT topic it came on.

    ``address`` is in the form ``AA:BB:CC:DD:EE:FF``; empty members are unknown.
    """

    key: bytes = b""
    address: str = ""
    topic: str = ""


NO_HINTS = Hints()

# Cuts the next frame out of the buffer and decodes it; None: more bytes are needed. Raises BadFrame for a damaged
# frame, which has been cut out too, so that the next call goes on behind it.
Take = Callable[[bytearray], Decoded | None]

# Decodes one whole frame that somebody has captured. Raises BadFrame for what is not a good frame of the codec.
DecodeFrame = Callable[[bytes, Hints], tuple[Measurement, ...]]
