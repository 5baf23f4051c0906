"""Shelly Pro 3EM (generation 2) status messages.

Source: Shelly Gen2+ API documentation, components EM, EM1 and EMData, "Status": JSON at
``<prefix>/status/<component>``. Energies are in Wh there. A value of null means that the meter has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import orjson

from drivers.base import Measurement
from drivers.errors import BadFrame

PAYLOAD_BYTES_MAX = 64 * 1024
_LETTERS: Mapping[str, str] = MappingProxyType({"a": "l1", "b": "l2", "c": "l3"})
_PER_PHASE: Mapping[str, str] = MappingProxyType(
    {
        "voltage": "voltage",
        "current": "current",
        "act_power": "active_power",
        "aprt_power": "apparent_power",
        "pf": "power_factor",
    }
)


def decode(topic: str, payload: bytes) -> tuple[Measurement, ...]:
    """Decode a message; ``topic`` is what follows the device's prefix. Other components give (). Raises BadFrame."""
    component, _, number = topic.removeprefix("status/").partition(":")
    if component not in ("em", "em1", "emdata") or not number:
        return ()
    status = _parse(payload)
    if component == "em":
        values = _triphase(status)
    elif component == "emdata":
        values = _energies(status)
    else:
        values = _monophase(status, number)
    return tuple(Measurement(quantity, value) for quantity, value in values if value is not None)


def _parse(payload: bytes) -> dict[str, Any]:
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise BadFrame(f"a status of {len(payload)} bytes")
    try:
        status = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise BadFrame(f"a status that is not JSON: {error}") from None
    if not isinstance(status, dict):
        raise BadFrame("a status that is not an object")
    return status


def _number(status: dict[str, Any], key: str) -> float | int | None:
    value = status.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadFrame(f"{key} of a status is not a number")
    return value


def _triphase(status: dict[str, Any]) -> Iterator[tuple[str, float | int | None]]:
    for letter, phase in _LETTERS.items():
        for key, stem in _PER_PHASE.items():
            yield f"{stem}_{phase}", _number(status, f"{letter}_{key}")
    yield "frequency", _number(status, "a_freq")
    yield "current_n", _number(status, "n_current")
    yield "active_power_total", _number(status, "total_act_power")
    yield "apparent_power_total", _number(status, "total_aprt_power")


def _monophase(status: dict[str, Any], number: str) -> Iterator[tuple[str, float | int | None]]:
    """Profile "monophase": three meters on their own, em1:0 to em1:2; phases by their number."""
    phase = {"0": "l1", "1": "l2", "2": "l3"}.get(number)
    if phase is None:
        return
    for key, stem in _PER_PHASE.items():
        yield f"{stem}_{phase}", _number(status, key)
    yield "frequency", _number(status, "freq")


def _energies(status: dict[str, Any]) -> Iterator[tuple[str, float | int | None]]:
    for quantity, key in (("energy_import_total", "total_act"), ("energy_export_total", "total_act_ret")):
        watt_hours = _number(status, key)
        yield quantity, None if watt_hours is None else round(watt_hours / 1000, 6)
