"""Plantower PMSx003 dust sensors, active mode.

Source: PMS5003 series data manual v2.3, appendix I: ``BM``, length, 16-bit big-endian words, 16-bit sum of all bytes
before it. Words 1-3 are for a factory environment (CF=1) and not reported, words 4-6 for ordinary air, in ug/m3.
PMS5003, PMS7003 and PMSA003 go on with the counts of particles above 0.3, 0.5, 1, 2.5, 5 and 10 um in 0.1 l, then
version and error code in one word. Manuals of the variants: PMS5003T has temperature and humidity, in tenths, where the
counts above 5 and 10 um were; PMS5003S has formaldehyde, in thousandths of a mg/m3, where the version was; PMS5003ST is
longer and has all of it. Frames of T and S have the length of the plain ones: who configures the sensor says which it
is, and what cannot be of that kind is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Literal, cast, get_args

from drivers.base import Measurement
from drivers.codecs.framing import Decoded, Hints, take_headed, word_checked
from drivers.errors import BadFrame

Model = Literal["plain", "T", "S"]

_HEADER = b"BM"
_PMS3003, _PMS5003, _PMS5003ST = 20, 28, 36  # the lengths that frames state
_MASSES = ("pm1", "pm25", "pm10")
_COUNTS = tuple(f"particles_{size}" for size in ("03um", "05um", "1um", "25um", "5um", "10um"))
_PER_CM3 = 100  # counts are of 0.1 l


def take(buffer: bytearray, model: Model = "plain") -> Decoded | None:
    """Cut the next frame out of the buffer and decode it; see ``framing.Take``. Raises BadFrame."""
    return take_headed(buffer, _HEADER, _size, partial(decode, model=model))


def decode(frame: bytes, model: Model = "plain") -> Decoded:
    """Decode one whole frame. Raises BadFrame."""
    words = _words(frame)
    found = [Measurement(q, w) for q, w in zip(_MASSES, words[3:6], strict=True)]
    if len(words) > 9:
        found += {"plain": _plain, "T": _with_climate, "S": _with_gas}[model](words) if len(words) < 17 else _all(words)
    return Decoded(tuple(found))


def decode_frame(data: bytes, hints: Hints) -> tuple[Measurement, ...]:
    """The measurements of one captured frame; a PMS5003T is told by counts that no plain sensor can have.

    Raises BadFrame.
    """
    words = _words(data)
    if hints.model in get_args(Model):
        return decode(data, cast("Model", hints.model)).measurements
    plain = len(words) != 13 or words[9] >= words[10] >= words[11]
    return decode(data, "plain" if plain else "T").measurements


def _size(buffer: bytearray) -> int | None:
    if len(buffer) < 4:
        return None
    length = int.from_bytes(buffer[2:4], "big")
    return 4 + length if length in (_PMS3003, _PMS5003, _PMS5003ST) else 0


def _words(frame: bytes) -> tuple[int, ...]:
    """The words between length and sum."""
    if not frame.startswith(_HEADER) or _size(bytearray(frame)) != len(frame):
        raise BadFrame("not a whole frame of a Plantower sensor")
    word_checked(frame)
    return struct.unpack_from(f">{len(frame) // 2 - 3}H", frame, 4)


def _counts(words: Sequence[int]) -> list[Measurement]:
    """Each count contains the next: what rises is something else."""
    if any(above < below for above, below in pairwise(words)):
        raise BadFrame("more large particles than small ones: a PMS5003T needs its own template")
    return [Measurement(q, word / _PER_CM3) for q, word in zip(_COUNTS, words, strict=False)]


def _plain(words: Sequence[int]) -> list[Measurement]:
    _without_error(words[12])
    return _counts(words[6:12])


def _with_climate(words: Sequence[int]) -> list[Measurement]:
    _without_error(words[12])
    return [*_counts(words[6:10]), *_climate(words[10], words[11])]


def _with_gas(words: Sequence[int]) -> list[Measurement]:
    return [*_counts(words[6:12]), Measurement("formaldehyde", words[12] / 1000)]


def _all(words: Sequence[int]) -> list[Measurement]:
    _without_error(words[16])
    return [*_with_gas(words), *_climate(words[13], words[14])]


def _climate(tenths: int, humidity: int) -> list[Measurement]:
    celsius = (tenths - 0x10000 if tenths & 0x8000 else tenths) / 10
    if not (-40 <= celsius <= 85 and 10 <= humidity <= 1000):
        raise BadFrame(f"{celsius} degrees and {humidity / 10} % are no climate: this is not a PMS5003T or ST")
    return [Measurement("temperature", celsius), Measurement("relative_humidity", humidity / 10)]


def _without_error(word: int) -> None:
    if word & 0xFF:
        raise BadFrame(f"the sensor states error {word & 0xFF:#04x}, and its values may not be used")
