"""What codecs have in common: a decoded frame, and what a frame alone does not say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drivers.base import Measurement
from drivers.errors import BadFrame

BUFFER_BYTES_MAX = 16 * 1024  # longer than any frame: what is older is noise


@dataclass(frozen=True, slots=True)
class Decoded:
    """One good frame. ``device_ns`` is the device's own UTC time where it states one with a zone."""

    measurements: tuple[Measurement, ...]
    device_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Hints:
    """What a frame alone does not say: a bind key, the sender's Bluetooth address, the MQTT topic it came on.

    ``address`` is in the form ``AA:BB:CC:DD:EE:FF``; ``model`` is the template's option of that name; empty members are
    unknown.
    """

    key: bytes = b""
    address: str = ""
    topic: str = ""
    model: str = ""


NO_HINTS = Hints()

# Cuts the next frame out of the buffer and decodes it; None: more bytes are needed. Raises BadFrame for a damaged
# frame, which has been cut out too, so that the next call goes on behind it.
Take = Callable[[bytearray], Decoded | None]

# Decodes one whole frame that somebody has captured. Raises BadFrame for what is not a good frame of the codec.
DecodeFrame = Callable[[bytes, Hints], tuple[Measurement, ...]]

# The whole size of a frame from its beginning: None while that is too short to tell, 0 for no frame of the codec.
SizeOf = Callable[[bytearray], int | None]


def take_headed(
    buffer: bytearray, header: bytes, size_of: SizeOf, decode: Callable[[bytes], Decoded]
) -> Decoded | None:
    """``Take`` for frames that begin with ``header`` and are decoded whole. Raises what ``decode`` raises.

    A damaged frame gives up its first byte only: the next good one may begin inside it.
    """
    while True:
        start = buffer.find(header)
        if start < 0:
            begun = next(n for n in range(len(header) - 1, -1, -1) if buffer.endswith(header[:n]))
            del buffer[: len(buffer) - begun]
            return None
        del buffer[:start]
        size = size_of(buffer)
        if size == 0:
            del buffer[:1]
            continue
        if size is None or len(buffer) < size:
            return None
        try:
            decoded = decode(bytes(buffer[:size]))
        except BadFrame:
            del buffer[:1]
            raise
        del buffer[:size]
        return decoded


def word_checked(frame: bytes) -> None:
    """Check the 16-bit sum, high byte first, of all bytes before it. Raises BadFrame."""
    if sum(frame[:-2]) & 0xFFFF != int.from_bytes(frame[-2:], "big"):
        raise BadFrame("sum of the frame is wrong")
