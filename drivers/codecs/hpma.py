"""Honeywell HPMA115 dust sensors: S0 (PM2.5 and PM10) and C0 (PM1, PM2.5, PM4 and PM10).

Source: HPM Series datasheet 32322550, "Customer communication protocol" and the tables of commands. By itself
("auto send", on at power-up) a sensor sends ``BM``, a length of 28, 13 words with the high byte first and their 16-bit
sum, as Plantower's do; which words hold what differs between S0 and C0 and cannot be seen, so the model must be told.
Asked with READ it answers ``40``, the length of what follows without the sum, ``04``, the values and a check byte that
makes the sum of all bytes 0: two words from an S0, four and four unused bytes from a C0. Values in ug/m3.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Literal

from drivers.base import Measurement
from drivers.codecs.framing import Decoded, Hints, take_headed, word_checked
from drivers.errors import BadFrame

Model = Literal["S0", "C0"]

START, STOP = bytes.fromhex("68010196"), bytes.fromhex("68010295")
READ = bytes.fromhex("68010493")
AUTO_OFF = bytes.fromhex("68012077")
_SENT, _SENT_SIZE = b"BM\x00\x1c", 32
_ANSWERS = {b"\x40\x05\x04": 8, b"\x40\x0d\x04": 16}
_QUANTITIES: dict[Model, tuple[str, ...]] = {"S0": ("pm25", "pm10"), "C0": ("pm1", "pm25", "pm4", "pm10")}


def take(buffer: bytearray, model: Model) -> Decoded | None:
    """Cut the next frame that was sent unasked out of the buffer; see ``framing.Take``. Raises BadFrame."""
    return take_headed(buffer, _SENT, lambda _: _SENT_SIZE, partial(decode_sent, model=model))


def take_answer(buffer: bytearray) -> Decoded | None:
    """Cut the next answer to READ out of the buffer; see ``framing.Take``. Raises BadFrame."""
    return take_headed(buffer, b"\x40", _answer_size, decode_answer)


def decode_sent(frame: bytes, model: Model) -> Decoded:
    """Decode one whole frame that was sent unasked. Raises BadFrame."""
    if len(frame) != _SENT_SIZE or not frame.startswith(_SENT):
        raise BadFrame("not a whole frame of an HPMA115")
    word_checked(frame)
    return _decoded(model, frame, 6 if model == "S0" else 4)


def decode_answer(frame: bytes) -> Decoded:
    """Decode one whole answer to READ. Raises BadFrame."""
    if _answer_size(bytearray(frame)) != len(frame):
        raise BadFrame("not a whole answer of an HPMA115")
    if sum(frame) & 0xFF:
        raise BadFrame("sum of the answer is wrong")
    return _decoded("S0" if len(frame) == 8 else "C0", frame, 3)


def decode_frame(data: bytes, hints: Hints) -> tuple[Measurement, ...]:
    """The measurements of one captured answer, or of what was sent unasked where the model is known.

    Raises BadFrame.
    """
    if hints.model in _QUANTITIES and data.startswith(_SENT):
        return decode_sent(data, hints.model).measurements
    return decode_answer(data).measurements


def _answer_size(buffer: bytearray) -> int | None:
    return None if len(buffer) < 3 else _ANSWERS.get(bytes(buffer[:3]), 0)


def _decoded(model: Model, frame: bytes, at: int) -> Decoded:
    quantities = _QUANTITIES[model]
    values = struct.unpack_from(f">{len(quantities)}H", frame, at)
    if list(values) != sorted(values):
        raise BadFrame(f"more fine dust than coarse: {values} is not of an HPMA115{model}")
    return Decoded(tuple(Measurement(q, value) for q, value in zip(quantities, values, strict=True)))
