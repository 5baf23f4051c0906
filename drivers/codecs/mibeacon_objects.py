"""What Xiaomi's MiBeacon objects say: an object's id and bytes to quantities.

Ids and layouts: Xiaomi IoT developer platform, "BLE object definition"; those that are not published there as
xiaomi-ble and bleparser (both MIT) read them. Some ids mean different things in different products: those are read
only where the product is known. Objects about persons (scales, toothbrushes, wristbands) are passed over.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping

from drivers.base import Value
from drivers.errors import BadFrame

Pairs = list[tuple[str, Value]]
Sizes = tuple[int, ...]  # the lengths that an object may have
Reader = Callable[[bytes, int], Pairs]  # (bytes of the object, number of the product)

# Products on which the meaning of an object hangs
_CGPR1 = 0x0A83
_MJYD02YL, _MCCGQ02HL = 0x07F6, 0x098B
_RTCGQ02LM, _YLAI003, _JTYJGD03MI, _SJWS01LM = 0x0A8D, 0x07BF, 0x0997, 0x0863  # one button
_K9B_1, _K9B_2, _K9B_3, _K9BB_1 = 0x1568, 0x1569, 0x0DFD, 0x1C10
_CUBE, _DIMMER = 0x04E1, 0x03B6
_REMOTES = (0x0153, 0x068E, 0x04E6, 0x03BF)
_XMWXKG01YL, _XMWS01XS = 0x1949, 0x5968  # two buttons
_KS1, _KS1BP = 0x3A61, 0x3E17  # four buttons
_XMOSB01XS = 0x4683

_LIGHT_PRODUCTS = (_MJYD02YL, _MCCGQ02HL)
_ONE_BUTTON = (_RTCGQ02LM, _YLAI003, _JTYJGD03MI, _SJWS01LM)
_BRIGHT = 100  # from here on "light" in products that only tell light from dark
_STILL_S = 30  # no motion for so long is still the same motion in the vendor's application
_BUTTONS_MAX = 8

_PRESSES = {0: "press", 1: "double_press", 2: "long_press", 5: "press", 6: "long_press"}
_SWITCH_PRESSES = {0: "press", 1: "long_press", 2: "double_press"}
_SWITCH_BUTTONS: Mapping[int, tuple[tuple[int, ...], ...]] = {
    _K9B_1: ((1,),),
    _K9B_2: ((1,), (2,), (1, 2)),
    _K9B_3: ((1,), (2,), (3,), (1, 2), (2, 3), (1, 3), (1, 2, 3)),
}
_K9BB_PRESSES = {1: "press", 8: "long_press", 15: "double_press"}
_LOCKED = {0: "unlocked", 1: "locked", 4: "unlocked", 5: "locked", 8: "locked"}
_DOOR_OPEN = {0: True, 1: False, 2: True, 3: False, 4: True, 5: False}  # open, closed, left open, knock, prised, stuck


def _number(quantity: str, layout: str, divisor: int = 1, digits: int | None = None) -> tuple[Sizes, Reader]:
    """One number; floats are rounded to ``digits``."""
    shape = struct.Struct(layout)

    def read(value: bytes, _product: int) -> Pairs:
        (raw,) = shape.unpack(value)
        if isinstance(raw, float):
            if not math.isfinite(raw):
                raise BadFrame(f"a MiBeacon {quantity} that is no number")
            return [(quantity, round(raw, digits))]
        return [(quantity, raw if divisor == 1 else raw / divisor)]

    return (shape.size,), read


def _state(quantity: str, *, on: tuple[int, ...] = (), off: tuple[int, ...] = ()) -> tuple[Sizes, Reader]:
    """True for the numbers of ``on``, False for those of ``off``; without these for anything but 0."""

    def read(value: bytes, _product: int) -> Pairs:
        if not on:
            return [(quantity, value[0] > 0)]
        return [(quantity, value[0] in on)] if value[0] in on + off else []

    return (1,), read


def _event(quantity: str) -> tuple[Sizes, Reader]:
    """Something that happened, if the byte is 1."""
    return (1,), lambda value, _product: [(quantity, True)] if value[0] == 1 else []


def _climate(value: bytes, _product: int) -> Pairs:
    temperature, humidity = struct.unpack("<hH", value)
    return [("temperature", temperature / 10), ("relative_humidity", humidity / 10)]


def _moving_in_light(value: bytes, product: int) -> Pairs:
    light = int.from_bytes(value, "little")
    if product == _CGPR1:
        return [("motion", True), ("illuminance", light)]
    if product in (_MJYD02YL, _RTCGQ02LM):
        return [("motion", True), ("light", light >= _BRIGHT)]
    return [("motion", True)]


def _illuminance(value: bytes, product: int) -> Pairs:
    light = int.from_bytes(value, "little")
    return [("light", light == _BRIGHT) if product in _LIGHT_PRODUCTS else ("illuminance", light)]


def _still(value: bytes, _product: int) -> Pairs:
    return [("motion", int.from_bytes(value, "little") <= _STILL_S)]


def _moving_and_lux(value: bytes, _product: int) -> Pairs:
    (lux,) = struct.unpack("<f", value)
    return [("motion", True)] + ([("illuminance", round(lux, 2))] if math.isfinite(lux) else [])


def _kettle(value: bytes, _product: int) -> Pairs:
    return [("power_state", value[0] > 0), ("temperature", value[1])]


def _occupancy(value: bytes, product: int) -> Pairs:
    return [("occupancy", value[0] == 1 if product == _XMOSB01XS else value[0] > 0)]


def _door(value: bytes, _product: int) -> Pairs:
    return [("opening", _DOOR_OPEN[value[0]])] if value[0] in _DOOR_OPEN else []


def _lock(value: bytes, _product: int) -> Pairs:
    action = value[0] & 0x0F
    return [("lock", _LOCKED[action])] if action in _LOCKED else []


def _body(value: bytes, _product: int) -> Pairs:
    """The vendor's formula is not published; this one of bleparser fits what the application shows, 36.5 to 37.8."""
    first, second, battery = struct.unpack("<hhB", value)
    if not 0 <= first < 6000 or not 0 <= second < 6000:
        raise BadFrame("a body thermometer beyond 60 degrees")
    celsius = 3.71934e-11 * math.exp(0.69314 * first / 100) - 1.02801e-8 * math.exp(0.53871 * second / 100) + 36.413
    return [("temperature", round(celsius, 2)), ("battery_level", battery)]


def _bed(value: bytes, _product: int) -> Pairs:
    """Somebody lies down, gets up, or pressed the button twice."""
    if value[0] == 3:
        return [("button", "double_press")]
    return [("occupancy", value[0] == 1)] if value[0] in (1, 2) else []


def _charging(value: bytes, _product: int) -> Pairs:
    return [("battery_charging", value[0] == 0)] if value[0] <= 2 else []


def _button(value: bytes, product: int) -> Pairs:
    """0x1001: kind, value, press; what they mean hangs on the product."""
    kind, amount, press = value
    if product == _DIMMER:
        return _dimmer(kind, amount, press)
    if product == _CUBE:
        return [("button", ("rotate_right", "rotate_left")[kind])] if kind < 2 else []
    if product in _SWITCH_BUTTONS:
        groups, word = _SWITCH_BUTTONS[product], _SWITCH_PRESSES.get(press)
        return _clicks(groups[kind], word) if kind < len(groups) and word else []
    word = _PRESSES.get(press)
    if product in _REMOTES:
        return _clicks((kind + 1,), word)
    return _clicks((1,), word) if product in _ONE_BUTTON else []


def _dimmer(kind: int, amount: int, press: int) -> Pairs:
    if press == 4:
        steps = amount if kind == 0 else kind  # turned, or turned while pressed
        return [("dimmer", steps - 256 if steps > 127 else steps)]
    return [("button", "long_press" if kind else "press")] if press == 3 and kind < 2 else []


def _click(word: str) -> tuple[Sizes, Reader]:
    """0x4A0C and others: the id is the press, the byte the button; some products send no byte at all."""

    def read(value: bytes, product: int) -> Pairs:
        number = value[0] if value else 1
        if product == _XMWXKG01YL:
            return _clicks(tuple(bit + 1 for bit in (0, 1) if number >> bit & 1), word)
        if product == _K9BB_1:
            return _clicks((1,), _K9BB_PRESSES.get(number))
        if product == _XMWS01XS:
            return _clicks((number + 1,), word)
        return _clicks((number if product in (_KS1, _KS1BP) else 1,), word)

    return (0, 1), read


def _clicks(buttons: tuple[int, ...], word: str | None) -> Pairs:
    if not word:
        return []
    return [("button" if one == 1 else f"button_{one}", word) for one in buttons if 1 <= one <= _BUTTONS_MAX]


OBJECTS: Mapping[int, tuple[Sizes, Reader]] = {
    0x0003: ((1,), lambda value, _product: [("motion", True)]),
    0x0007: ((1, 5), _door),
    0x000A: _number("temperature", "<h", 100),
    0x000B: ((9,), _lock),
    0x000F: ((3,), _moving_in_light),
    0x1001: ((3,), _button),
    0x1004: _number("temperature", "<h", 10),
    0x1005: ((2,), _kettle),
    0x1006: _number("relative_humidity", "<H", 10),
    0x1007: ((3,), _illuminance),
    0x1008: _number("soil_moisture", "<B"),
    0x1009: _number("soil_conductivity", "<H"),
    0x100A: _number("battery_level", "<B"),
    0x100D: ((4,), _climate),
    0x1010: _number("formaldehyde", "<H", 100),
    0x1012: _state("power_state"),
    0x1013: _number("consumable_level", "<B"),
    0x1014: _state("moisture"),
    0x1015: _state("smoke"),
    0x1017: ((4,), _still),
    0x1018: _state("light"),
    0x1019: _state("opening", on=(0, 2), off=(1,)),
    0x101B: ((4,), lambda value, _product: [("motion", False)]),
    0x2000: ((5,), _body),
    0x4801: _number("temperature", "<f", digits=2),
    0x4802: _number("relative_humidity", "<B"),
    0x4803: _number("battery_level", "<B"),
    0x4804: _state("opening", on=(1,), off=(2,)),
    0x4805: _number("illuminance", "<f", digits=2),
    0x4806: _state("moisture"),
    0x4808: _number("relative_humidity", "<f", digits=2),
    0x480C: _state("opening", on=(0,), off=(1,)),
    0x4818: ((2,), _still),
    0x483C: _state("occupancy"),
    0x484E: ((1,), _occupancy),
    0x4A01: _state("battery_low"),
    0x4A08: ((4,), _moving_and_lux),
    0x4A0C: _click("press"),
    0x4A0D: _click("double_press"),
    0x4A0E: _click("long_press"),
    0x4A0F: _event("tamper"),
    0x4A12: _state("opening", on=(1,), off=(2,)),
    0x4A13: ((1,), lambda value, _product: _clicks((1,), "press" if value[0] == 1 else None)),
    0x4A1A: _event("opening"),  # left open
    0x4C01: _number("temperature", "<f", digits=2),
    0x4C02: _number("relative_humidity", "<B"),
    0x4C03: _number("battery_level", "<B"),
    0x4C08: _number("relative_humidity", "<f", digits=2),
    0x4E01: _state("battery_low"),
    0x4E0C: _click("press"),
    0x4E0D: _click("double_press"),
    0x4E0E: _click("long_press"),
    0x5003: _number("battery_level", "<B"),
    0x5403: _number("battery_level", "<B"),
    0x5422: ((1,), _charging),
    0x5601: _state("battery_low"),
    0x560C: _click("press"),
    0x560D: _click("double_press"),
    0x560E: _click("long_press"),
    0x5A16: ((1,), _bed),
}
