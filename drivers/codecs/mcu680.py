"""GY-MCU680 modules: a Bosch BME680 behind a microcontroller, with all outputs on.

Source: manual of the GY-MCU680V1: ``5A 5A``, the mask of what follows, its length, the values with their high byte
first, the 8-bit sum of all bytes before it. Temperature and humidity in hundredths, pressure in Pa (24 bits), the
accuracy of the air quality index (4 bits) and the index (12 bits), gas resistance in Ohm, altitude in m, which the
module computes from the pressure.
"""

from __future__ import annotations

import struct

from drivers.base import Measurement
from drivers.codecs.framing import Decoded, Hints, take_headed
from drivers.errors import BadFrame

_HEADER = b"ZZ\x3f\x0f"  # all six outputs, in 15 bytes
_SIZE = 20
_LAYOUT = struct.Struct(">hHBHHIh")


def take(buffer: bytearray) -> Decoded | None:
    """Cut the next frame out of the buffer and decode it; see ``framing.Take``. Raises BadFrame."""
    return take_headed(buffer, _HEADER, lambda _: _SIZE, decode)


def decode(frame: bytes) -> Decoded:
    """Decode one whole frame. Raises BadFrame."""
    if len(frame) != _SIZE or not frame.startswith(_HEADER):
        raise BadFrame("not a whole frame of a GY-MCU680 with all outputs on")
    if sum(frame[:-1]) & 0xFF != frame[-1]:
        raise BadFrame("sum of the frame is wrong")
    temperature, humidity, pressure_high, pressure_low, index, ohms, altitude = _LAYOUT.unpack_from(frame, 4)
    return Decoded(
        (
            Measurement("temperature", temperature / 100),
            Measurement("relative_humidity", humidity / 100),
            Measurement("pressure", (pressure_high << 16 | pressure_low) / 100),
            Measurement("air_quality_index", index & 0x0FFF),
            Measurement("gas_resistance", ohms / 1000),
            Measurement("altitude", altitude),
        )
    )


def decode_frame(data: bytes, _hints: Hints) -> tuple[Measurement, ...]:
    """The measurements of one captured frame. Raises BadFrame."""
    return decode(data).measurements
