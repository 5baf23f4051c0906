"""What the codecs of devices that speak by themselves have in common."""

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


# Cuts the next frame out of the buffer and decodes it; None: more bytes are needed. Raises BadFrame for a damaged
# frame, which has been cut out too, so that the next call goes on behind it.
Take = Callable[[bytearray], Decoded | None]
