"""NMEA 0183: sentences of a GNSS receiver to one observation per epoch.

Source: NMEA 0183 v4.11 as receiver manuals restate it (u-blox M10 interface description, chapter "NMEA protocol"):
``$``, talker (2 letters), kind (3 letters), fields, ``*`` and the exclusive or of what stands between, in two hex
digits. Sentences without that sum are refused. Those of one instant carry the same time of day; VTG and GSA carry none
and belong to those around them.

A position is taken where at least one sentence of the epoch says that the fix is valid and none says that it is not.
Dead reckoning, simulation and manual input are not fixes. Altitude is above the ellipsoid: height above mean sea level
plus the separation of the geoid. Time is taken with the date of a valid RMC or of ZDA beside a valid fix, within the
1024 weeks that begin in 2024: a receiver whose week number rolled over is off by just that many.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import xor

from drivers.base import Measurement, Position
from drivers.codecs.framing import Decoded, Hints
from drivers.errors import BadFrame

SENTENCE_BYTES_MAX = 160  # the standard allows 82; receivers with more digits than it foresees exceed that
SENTENCES_MAX = 32
KINDS = ("RMC", "GGA", "GLL", "GNS", "VTG", "ZDA", "GSA", "GST")
GAP_NS = 250_000_000  # a sentence without a time that comes this long after the last one begins a new burst

_FORM = re.compile(rb"\$([A-Z]{2}|P)([A-Z0-9]{3,8})(?:,([^$*!\x00-\x1f\x7f-\xff]*))?\*([0-9A-Fa-f]{2})")
_TIME_FIELD = {"RMC": 0, "GGA": 0, "GNS": 0, "GST": 0, "ZDA": 0, "GLL": 4}
_ANGLE = re.compile(r"(\d{2,3})(\d\d(?:\.\d{1,9})?)")
_TIME = re.compile(r"(\d\d)(\d\d)(\d\d)(?:\.(\d{1,9}))?")
_NUMBER = re.compile(r"-?\d{1,7}(?:\.\d{1,9})?")
_FIX_MODES = frozenset("ADFRP")  # autonomous, differential, RTK float, RTK, precise
_FIX_QUALITIES = frozenset("12345")
_HDOP_NONE = 99.0  # 99.99 and the like: there is none
_KMH_PER_KNOT = 1.852
_PLAUSIBLE_FROM = datetime(2024, 1, 1, tzinfo=UTC)
_PLAUSIBLE_TO = _PLAUSIBLE_FROM + timedelta(weeks=1024)  # the week number of GPS has 10 bits
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence whose sum is right. A field that is not there is empty."""

    talker: str
    kind: str
    fields: tuple[str, ...]

    def __getitem__(self, index: int) -> str:
        return self.fields[index] if index < len(self.fields) else ""

    @property
    def time(self) -> str:
        """The time of day that it states; empty where it states none."""
        index = _TIME_FIELD.get(self.kind)
        return "" if index is None else self[index]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What the receiver said of one instant; ``mono_ns`` is when it began to say so."""

    decoded: Decoded
    mono_ns: int


class Epochs:
    """Gathers sentences into epochs.

    An epoch is given out with the kind of sentence that ended the last two, so that it need not wait for the next one.
    """

    def __init__(self) -> None:
        self._sentences: list[Sentence] = []
        self._begun_ns = 0
        self._heard_ns = 0
        self._given = False
        self._ended_with = ""
        self._ends_with = ""

    def add(self, sentence: Sentence, mono_ns: int) -> list[Epoch]:
        """Take a sentence; the epochs that are complete now. Raises BadFrame where a field is not what it must be."""
        if sentence.kind not in KINDS:
            return []
        whole: list[tuple[list[Sentence], int]] = []
        if self._sentences and self._is_new(sentence, mono_ns):
            whole += self._end()
        if not self._sentences:
            self._begun_ns = mono_ns
        self._sentences.append(sentence)
        self._heard_ns = mono_ns
        if sentence.kind == self._ends_with:
            whole += self._give()
        return [Epoch(merge(sentences), begun_ns) for sentences, begun_ns in whole]

    def _is_new(self, sentence: Sentence, mono_ns: int) -> bool:
        if len(self._sentences) >= SENTENCES_MAX:
            return True
        if not sentence.time and sentence.kind not in _TIME_FIELD:
            return mono_ns - self._heard_ns > GAP_NS
        stated = next((other.time for other in self._sentences if other.time), "")
        if sentence.time and stated:
            return sentence.time != stated
        return any((other.talker, other.kind) == (sentence.talker, sentence.kind) for other in self._sentences)

    def _end(self) -> list[tuple[list[Sentence], int]]:
        last = self._sentences[-1].kind
        if last == self._ended_with:
            self._ends_with = last
        self._ended_with = last
        whole = self._give()
        self._sentences, self._given = [], False
        return whole

    def _give(self) -> list[tuple[list[Sentence], int]]:
        """The sentences so far and when the first of them came, once an epoch."""
        if self._given:
            return []
        self._given = True
        return [(list(self._sentences), self._begun_ns)]


def take(buffer: bytearray) -> Sentence | None:
    """Cut the next sentence out of the buffer, None where more bytes are needed. Raises BadFrame for a damaged one.

    What is none, such as the receiver's binary protocol, is passed over.
    """
    start = buffer.find(b"$")
    del buffer[: start if start >= 0 else len(buffer)]
    end = re.search(rb"[\r\n$]", buffer[1 : SENTENCE_BYTES_MAX + 1])
    if end is not None:
        line = bytes(buffer[: end.start() + 1])
        del buffer[: len(line)]
        return parse(line)
    if len(buffer) > SENTENCE_BYTES_MAX:
        del buffer[:1]
        raise BadFrame(f"no end of a sentence within {SENTENCE_BYTES_MAX} characters")
    return None


def parse(line: bytes) -> Sentence:
    """One sentence without its line end. Raises BadFrame."""
    form = _FORM.fullmatch(line)
    if form is None:
        raise BadFrame("not a sentence of NMEA 0183 with its sum")
    if reduce(xor, line[1:-3]) != int(form[4], 16):
        raise BadFrame("sum of the sentence is wrong")
    fields = tuple((form[3] or b"").decode("ascii").split(","))
    return Sentence(form[1].decode("ascii"), form[2].decode("ascii"), fields)


def merge(sentences: Sequence[Sentence]) -> Decoded:
    """What the sentences of one epoch say together. Raises BadFrame where a field is not what it must be."""
    by_kind = {sentence.kind: sentence for sentence in sentences}
    found: list[Measurement] = []
    full = by_kind.get("GGA") or by_kind.get("GNS")
    fixed = _is_fixed(sentences)
    if fixed:
        position = _position(by_kind)
        if position is not None:
            found.append(Measurement("position", position))
        found += _motion(by_kind)
    if full is not None and full[6]:
        found.append(Measurement("satellites", int(_number(full[6]) or 0)))
    if fixed:
        found += _precision(by_kind, full)
    return Decoded(tuple(found), _utc_ns(by_kind) if fixed else None)


def decode_frame(data: bytes, _hints: Hints) -> tuple[Measurement, ...]:
    """The measurements of one or several sentences of one epoch. Raises BadFrame."""
    lines = [line for line in data.splitlines() if line]
    if not 0 < len(lines) <= SENTENCES_MAX:
        raise BadFrame(f"expected 1 to {SENTENCES_MAX} sentences")
    sentences = [parse(line) for line in lines]
    if len({sentence.time for sentence in sentences if sentence.time}) > 1:
        raise BadFrame("sentences of several epochs")
    return merge(sentences).measurements


def _is_fixed(sentences: Sequence[Sentence]) -> bool:
    words = [word for sentence in sentences if (word := _word_of_fix(sentence)) is not None]
    # a GSA for each system: those that are not used have no fix of their own
    systems = [sentence[1] in ("2", "3") for sentence in sentences if sentence.kind == "GSA"]
    if systems:
        words.append(any(systems))
    return bool(words) and all(words)


def _word_of_fix(sentence: Sentence) -> bool | None:
    """Whether the sentence says that the fix is valid; None where it says nothing about it."""
    if sentence.kind == "RMC":
        return sentence[1] == "A" and _is_mode(sentence[11])
    if sentence.kind == "GLL":
        return sentence[5] == "A" and _is_mode(sentence[6])
    if sentence.kind == "GGA":
        return sentence[5] in _FIX_QUALITIES
    if sentence.kind == "GNS":
        return not _FIX_MODES.isdisjoint(sentence[5]) and set(sentence[5]) <= _FIX_MODES | {"N"}
    if sentence.kind == "VTG" and sentence[8]:
        return _is_mode(sentence[8])
    return None


def _is_mode(letter: str) -> bool:
    """The letter of NMEA 2.3 and later; older receivers send none."""
    return not letter or letter in _FIX_MODES


def _position(by_kind: dict[str, Sentence]) -> Position | None:
    for kind, at in (("GGA", 1), ("GNS", 1), ("RMC", 2), ("GLL", 0)):
        sentence = by_kind.get(kind)
        if sentence is None or not sentence[at] or not sentence[at + 2]:
            continue
        latitude = _angle(sentence[at], sentence[at + 1], "NS", 90)
        longitude = _angle(sentence[at + 2], sentence[at + 3], "EW", 180)
        if latitude == longitude == 0.0:
            return None  # in the Gulf of Guinea: what broken receivers state that have none
        return Position(latitude, longitude, _altitude(sentence))
    return None


def _altitude(sentence: Sentence) -> float | None:
    at = {"GGA": (8, 10), "GNS": (8, 9)}.get(sentence.kind)
    if at is None:
        return None
    above_sea, separation = (_number(sentence[index]) for index in at)
    return None if above_sea is None or separation is None else round(above_sea + separation, 3)


def _motion(by_kind: dict[str, Sentence]) -> list[Measurement]:
    rmc, vtg = by_kind.get("RMC"), by_kind.get("VTG")
    kmh = _number(vtg[6]) if vtg is not None else None
    knots = _number(rmc[6]) if rmc is not None else None
    if kmh is None and knots is not None:
        kmh = round(knots * _KMH_PER_KNOT, 3)
    course = _number(rmc[7]) if rmc is not None else None
    if course is None and vtg is not None:
        course = _number(vtg[0])
    found = (("speed", kmh), ("course", course))
    return [Measurement(quantity, value) for quantity, value in found if value is not None]


def _precision(by_kind: dict[str, Sentence], full: Sentence | None) -> list[Measurement]:
    gsa, gst = by_kind.get("GSA"), by_kind.get("GST")
    hdop = _number(full[7]) if full is not None else None
    if hdop is None and gsa is not None:
        hdop = _number(gsa[15])
    found = [Measurement("hdop", hdop)] if hdop is not None and hdop < _HDOP_NONE else []
    north, east = (_number(gst[5]), _number(gst[6])) if gst is not None else (None, None)
    if north is not None and east is not None:
        found.append(Measurement("position_error", round((north**2 + east**2) ** 0.5, 3)))
    return found


def _utc_ns(by_kind: dict[str, Sentence]) -> int | None:
    rmc, zda = by_kind.get("RMC"), by_kind.get("ZDA")
    if rmc is not None and len(rmc[8]) == 6:
        century = 2000 if rmc[8][4:] < "80" else 1900
        day, month, year = rmc[8][:2], rmc[8][2:4], f"{century // 100}{rmc[8][4:]}"
        time = _TIME.fullmatch(rmc[0])
    elif zda is not None:
        day, month, year = zda[1], zda[2], zda[3]
        time = _TIME.fullmatch(zda[0])
    else:
        return None
    if time is None or not (day + month + year).isdecimal():
        return None
    try:
        whole = datetime(int(year), int(month), int(day), int(time[1]), int(time[2]), int(time[3]), tzinfo=UTC)
    except ValueError:  # also second 60, a leap second: the next one will do
        return None
    if not _PLAUSIBLE_FROM <= whole < _PLAUSIBLE_TO:
        return None
    return round((whole - _UNIX).total_seconds()) * 1_000_000_000 + int((time[4] or "0").ljust(9, "0"))


def _angle(text: str, letter: str, letters: str, degrees_max: int) -> float:
    match = _ANGLE.fullmatch(text)
    if match is None or len(letter) != 1 or letter not in letters:
        raise BadFrame(f"{text!r} {letter!r} is no coordinate")
    degrees = int(match[1]) + float(match[2]) / 60
    if float(match[2]) >= 60 or degrees > degrees_max:
        raise BadFrame(f"{text!r} {letter!r} is no coordinate")
    return round(-degrees if letter in "SW" else degrees, 9)


def _number(text: str) -> float | None:
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise BadFrame(f"{text!r} is no number")
    return float(text)
