"""One captured frame to measurements, with the codec named or found: the entry-point group ``lamppost.codecs``.

A codec of the group is a function ``decode_frame(data, hints)`` (``drivers.codecs.framing.DecodeFrame``): it takes one
whole frame as it was captured and raises BadFrame for everything that is not a good frame of its kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

from drivers.base import Measurement
from drivers.codecs import json_paths, published, senml, sparkplug
from drivers.codecs.framing import NO_HINTS, DecodeFrame, Hints
from drivers.errors import BadFrame, Misconfigured
from drivers.plugins import offered
from drivers.template import Template

CODECS = "lamppost.codecs"
# Their frames carry neither a checksum nor a mark of their own: almost any bytes would pass. They are decoded when they
# are named, and those of Bluetooth when they come in their advertisement, which names them (codec ble).
NAMED_ONLY = frozenset(
    {
        *("airthings", "aranet", "atc", "bike", "bthome", "csc", "cycling-power", "govee", "mibeacon"),
        *("openbikesensor", "qingping", "ruuvi", "sparkplug"),
    }
)


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a codec made of a frame."""

    codec: str
    measurements: tuple[Measurement, ...]


def codecs() -> list[str]:
    """The names of all codecs, sorted."""
    return sorted(offered(CODECS))


def decode_as(codec: str, data: bytes, hints: Hints = NO_HINTS) -> tuple[Measurement, ...]:
    """The measurements in a frame of that codec. Raises BadFrame, or Misconfigured for a codec that is not there."""
    return _function(codec)(data, hints)


def decode_with(template: Template, data: bytes, hints: Hints = NO_HINTS) -> tuple[Measurement, ...]:
    """The measurements in a frame of a device of that template. Raises BadFrame or Misconfigured."""
    if template.protocol == "modbus":
        from drivers import modbus_capture  # it brings pymodbus

        return modbus_capture.measurements(template, modbus_capture.parse(data))
    if template.protocol in published.PROTOCOLS:
        return published.decode(template.protocol, template.options, template.fields, hints.topic, data)
    if template.protocol == "sparkplug":
        return sparkplug.decode(data, template.fields)
    if template.protocol == "http-json":
        return json_paths.measurements(json_paths.parse(data), template.fields)
    if template.protocol == "coap-senml":
        return senml.decode_frame(data, hints, template.fields)
    if template.protocol == "mbus":
        from drivers.codecs import mbus

        return mbus.measurements(mbus.decode(data), template.fields)
    hints = replace(hints, model=str(template.options.get("model", "")))
    return decode_as(template.codec or template.protocol, data, hints)


def recognise(data: bytes, hints: Hints = NO_HINTS) -> list[Recognised]:
    """What every codec that takes the frame makes of it; those that find more values come first.

    Passed over: codecs in NAMED_ONLY, and those whose package is not installed.
    """
    found = []
    for codec in sorted(set(codecs()) - NAMED_ONLY):
        try:
            found.append(Recognised(codec, decode_as(codec, data, hints)))
        except (BadFrame, Misconfigured):
            continue
    return sorted(found, key=lambda one: -len(one.measurements))


@lru_cache(maxsize=64)
def _function(codec: str) -> DecodeFrame:
    point = offered(CODECS).get(codec)
    if point is None:
        raise Misconfigured(f"there is no codec {codec!r}; known: {', '.join(codecs())}")
    try:
        return cast("DecodeFrame", point.load())
    except (ImportError, AttributeError) as error:
        raise Misconfigured(f"codec {codec}: {error}") from None
