"""A stream of bits, first bit in the highest of the first byte, and lists of whole numbers in it as Rice codes.

In Python the fastest way to handle single bits is as text of ``0`` and ``1``: it is joined, searched and turned into
one big number by code in C.

A list of n numbers (n is known to both sides) is a bit 0 where all are 0, else a bit 1, 5 bits ``k`` and then

* k = 31: less than a fifth are not 0: how many (16 bits); as a list, how many zeros stand before each of them; and as a
  list, they less 1
* else, where k = 30 stands for the number in the 6 bits that follow, the Rice code of R. F. Rice (JPL 79-22, 1979): the
  quotients ``number >> k`` in unary, that is as many ones and then a zero; the lowest k bits of each number; and of
  each quotient of QUOTIENT_MAX ones what it has beyond that: 7 bits with its length in bits, and these.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from gateway.compact.errors import CompactError

QUOTIENT_MAX = 12
_RICE_MAX, _WIDE, _SPARSE = 63, 30, 31
_UNARY = tuple("1" * count + "0" for count in range(QUOTIENT_MAX + 1))
_HEADS = tuple(f"1{k:05b}" for k in range(32))
_TABLE_BITS_MAX = 10
_SPARSE_SHARE = 5


@cache
def _texts(width: int) -> tuple[str, ...]:
    return tuple(format(number, f"0{width}b") for number in range(1 << width))


def folded(numbers: Sequence[int]) -> list[int]:
    """Whole numbers as those from 0 on: 0, -1, 1, -2, 2 ... become 0, 1, 2, 3, 4 ..."""
    return [2 * number if number >= 0 else -2 * number - 1 for number in numbers]


def unfolded(numbers: Sequence[int]) -> list[int]:
    """The reverse of :func:`folded`."""
    return [(number >> 1) ^ -(number & 1) for number in numbers]


def between(low: int, numbers: list[int], high: int) -> list[int]:
    """The numbers as they are. Raises CompactError where one of them is not in that range."""
    if numbers and (min(numbers) < low or max(numbers) > high):
        raise CompactError("a number beyond what it may be")
    return numbers


class BitWriter:
    """Collects bits."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def put(self, width: int, number: int) -> None:
        """A number from 0 to 2^width - 1."""
        if width:
            self._parts.append(format(number, f"0{width}b"))

    def put_one(self, number: int) -> None:
        """A number from 0 on."""
        self.put_list((number,))

    def put_list(self, numbers: Sequence[int]) -> None:
        """Numbers from 0 on; the reader must know how many."""
        count = len(numbers)
        zeros = numbers.count(0)
        if zeros == count:
            self._parts.append("0")
        elif count - zeros < count // _SPARSE_SHARE:
            self._put_sparse(numbers)
        else:
            self._put_rice(numbers, _parameter(numbers))

    def _put_sparse(self, numbers: Sequence[int]) -> None:
        places = [place for place, number in enumerate(numbers) if number]
        self._parts.append(_HEADS[_SPARSE])
        self.put(16, len(places))
        self.put_list([place - before - 1 for before, place in zip([-1, *places], places, strict=False)])
        self.put_list([numbers[place] - 1 for place in places])

    def _put_rice(self, numbers: Sequence[int], k: int) -> None:
        self._parts.append(_HEADS[min(k, _WIDE)])
        if k >= _WIDE:
            self.put(6, k)
        quotients = [number >> k for number in numbers]
        beyond: list[int] = []
        if max(quotients) >= QUOTIENT_MAX:
            beyond = [quotient - QUOTIENT_MAX for quotient in quotients if quotient >= QUOTIENT_MAX]
            quotients = [min(quotient, QUOTIENT_MAX) for quotient in quotients]
        self._parts += [_UNARY[quotient] for quotient in quotients]
        mask = (1 << k) - 1
        if 0 < k <= _TABLE_BITS_MAX:
            texts = _texts(k)
            self._parts += [texts[number & mask] for number in numbers]
        elif k:
            form = f"0{k}b"
            self._parts += [format(number & mask, form) for number in numbers]
        for more in beyond:
            self.put(7, more.bit_length())
            self.put(more.bit_length(), more)

    def to_bytes(self) -> bytes:
        """All bits, and zeros up to a whole byte."""
        text = "".join(self._parts)
        if not text:
            return b""
        size = -(-len(text) // 8)
        return (int(text, 2) << (8 * size - len(text))).to_bytes(size, "big")


def _parameter(numbers: Sequence[int]) -> int:
    """The k that makes the code shortest, the largest numbers aside: those are few and cost what they cost."""
    if len(numbers) == 1:
        return min(numbers[0].bit_length(), _RICE_MAX)
    ordered = sorted(numbers)
    ordered = ordered[: len(ordered) - len(ordered) // 16]
    length = ordered[len(ordered) // 2].bit_length()
    best, cheapest = 0, None
    for k in range(max(0, min(length - 2, _RICE_MAX)), min(length, _RICE_MAX) + 1):
        cost = len(ordered) * k + sum([number >> k for number in ordered])
        if cheapest is None or cost < cheapest:
            best, cheapest = k, cost
    return best


class BitReader:
    """Takes bits in the order in which they were put. Raises CompactError."""

    def __init__(self, data: bytes) -> None:
        self._text = format(int.from_bytes(data, "big"), f"0{8 * len(data)}b") if data else ""
        self._at = 0
        self._end = len(self._text)

    def take(self, width: int) -> int:
        """A number of ``width`` bits."""
        begin = self._at
        self._at = end = begin + width
        if end > self._end:
            raise CompactError("the bits end early")
        return int(self._text[begin:end], 2) if width else 0

    def take_list(self, count: int) -> list[int]:
        """``count`` numbers from 0 on."""
        if self._text.startswith("0", self._at):
            self._at += 1
            return [0] * count
        k = self.take(6) - (1 << 5)
        if k == _SPARSE:
            return self._take_sparse(count)
        return self._take_rice(count, self.take(6) if k == _WIDE else k)

    def take_one(self) -> int:
        """One number from 0 on."""
        return self.take_list(1)[0]

    def end(self) -> None:
        """Raises CompactError unless nothing is left but the zeros of the last byte."""
        rest = self._text[self._at :]
        if len(rest) > 7 or "1" in rest:
            raise CompactError("bits are left over")

    def _take_sparse(self, count: int) -> list[int]:
        few = self.take(16)
        if not 0 < few < count // _SPARSE_SHARE:  # also what ends the recursion
            raise CompactError("a list has more numbers than it may")
        numbers = [0] * count
        at = -1
        for gap, number in zip(self.take_list(few), self.take_list(few), strict=True):
            at += gap + 1
            if at >= count:
                raise CompactError("a list has more numbers than it may")
            numbers[at] = number + 1
        return numbers

    def _take_rice(self, count: int, k: int) -> list[int]:
        quotients = []
        find, at = self._text.find, self._at
        for _ in range(count):
            end = find("0", at)
            if end < 0 or end - at > QUOTIENT_MAX:
                raise CompactError("a number has no end")
            quotients.append(end - at)
            at = end + 1
        self._at = at
        numbers = quotients
        if k:
            text = self._text
            end = self._at = at + count * k
            if end > len(text):
                raise CompactError("the bits end early")
            lows = [int(text[begin : begin + k], 2) for begin in range(at, end, k)]
            numbers = [(quotient << k) | low for quotient, low in zip(quotients, lows, strict=True)]
        if QUOTIENT_MAX in quotients:
            for place, quotient in enumerate(quotients):
                if quotient == QUOTIENT_MAX:
                    numbers[place] += self.take(self.take(7)) << k
        return numbers
