"""CBOR (RFC 8949) as far as sensors use it: read strictly, with bounds, and nothing that runs code or shares memory.

Numbers, byte and text strings, arrays, maps, false, true, null, decimal fractions (tag 4). Arrays and maps may be of
indefinite length, strings not. A key that stands twice, bytes behind the item and every other tag are refused.
"""

from __future__ import annotations

import math
import struct

from drivers.errors import BadFrame

Item = float | int | bool | str | bytes | list["Item"] | dict["Item", "Item"] | None

DEPTH_MAX = 8
ITEMS_MAX = 200_000  # in the whole document
_EXPONENT_MAX = 400  # beyond the range of a double

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_DECIMAL_FRACTION, _SELF_DESCRIBED = 4, 55799
_SIMPLE_VALUES: dict[int, bool | None] = {20: False, 21: True, 22: None}
_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}
_INDEFINITE = 31
_BREAK = 0xFF


def loads(data: bytes) -> Item:
    """The one item in ``data``. Raises BadFrame."""
    reader = _Reader(data)
    item = reader.item(0)
    if reader.at != len(data):
        raise BadFrame(f"{len(data) - reader.at} bytes behind the CBOR item")
    return item


def _shortest(form: struct.Struct, raw: bytes) -> float:
    """The shortest decimal that names the number: a single 21.3 is 21.3, not 21.299999237."""
    value: float = form.unpack(raw)[0]
    if form.size < 8 and math.isfinite(value):
        for digits in range(3, 10):
            short = float(f"{value:.{digits}g}")
            try:
                if form.pack(short) == raw:
                    return short
            except OverflowError:  # rounded up beyond the largest number of that size
                continue
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self._items = 0

    def item(self, depth: int) -> Item:
        self._items += 1
        if depth > DEPTH_MAX or self._items > ITEMS_MAX:
            raise BadFrame(f"CBOR of more than {DEPTH_MAX} levels or {ITEMS_MAX} items")
        first = self._take(1)[0]
        major, info = first >> 5, first & 0x1F
        if major == _SIMPLE:
            return self._simple(info)
        count = None if info == _INDEFINITE and major in (_ARRAY, _MAP) else self._argument(info)
        if major == _ARRAY:
            return self._array(count, depth)
        if major == _MAP:
            return self._map(count, depth)
        assert count is not None  # only arrays and maps may be of indefinite length
        if major == _TAG:
            return self._tagged(count, depth)
        if major in (_BYTES, _TEXT):
            return self._string(count, text=major == _TEXT)
        return count if major == _UNSIGNED else -1 - count

    def _take(self, count: int) -> bytes:
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise BadFrame(f"CBOR ends {count - len(taken)} bytes early")
        self.at += count
        return taken

    def _argument(self, info: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise BadFrame(f"CBOR with a length of kind {info}")
        return int.from_bytes(self._take(1 << (info - 24)), "big")

    def _simple(self, info: int) -> Item:
        if info in _FLOATS:
            form = _FLOATS[info]
            return _shortest(form, self._take(form.size))
        if info in _SIMPLE_VALUES:
            return _SIMPLE_VALUES[info]
        raise BadFrame(f"CBOR with a simple value {info}")

    def _string(self, count: int, *, text: bool) -> str | bytes:
        raw = self._take(count)
        if not text:
            return raw
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise BadFrame("CBOR with a text that is not UTF-8") from None

    def _ends(self, count: int | None, found: int) -> bool:
        if count is not None:
            return found == count
        if self.data[self.at : self.at + 1] == bytes([_BREAK]):
            self.at += 1
            return True
        return False

    def _array(self, count: int | None, depth: int) -> list[Item]:
        items: list[Item] = []
        while not self._ends(count, len(items)):
            items.append(self.item(depth + 1))
        return items

    def _map(self, count: int | None, depth: int) -> dict[Item, Item]:
        items: dict[Item, Item] = {}
        while not self._ends(count, len(items)):
            key = self.item(depth + 1)
            if not isinstance(key, int | str) or isinstance(key, bool):
                raise BadFrame("CBOR with a key that is neither a number nor a text")
            if key in items:
                raise BadFrame(f"CBOR with the key {key!r:.40} twice")
            items[key] = self.item(depth + 1)
        return items

    def _tagged(self, tag: int, depth: int) -> Item:
        if tag == _SELF_DESCRIBED and depth == 0:
            return self.item(depth + 1)
        if tag != _DECIMAL_FRACTION:
            raise BadFrame(f"CBOR with a tag {tag}")
        pair = self.item(depth + 1)
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadFrame("CBOR with a decimal fraction that is not two numbers")
        exponent, mantissa = pair
        if type(exponent) is not int or type(mantissa) is not int:
            raise BadFrame("CBOR with a decimal fraction that is not whole numbers")
        value = float(f"{mantissa}e{exponent}") if abs(exponent) <= _EXPONENT_MAX else math.inf
        if not math.isfinite(value):
            raise BadFrame("CBOR with a decimal fraction beyond all numbers")
        return value
