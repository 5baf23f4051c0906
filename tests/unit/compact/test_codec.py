"""What goes in comes out bit for bit, whatever it is; what is no body is a CompactError and nothing else."""

from __future__ import annotations

import contextlib
import random
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.compact.codec import READINGS_MAX, CompactError, Entry, decode, encode
from gateway.model import BootTime, Position, Quality, Reading, Reason, Value

SECOND = 10**9
START = 1_790_000_000 * SECOND
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
FLOATS = st.floats() | st.integers(-(10**9), 10**9).flatmap(
    lambda n: st.integers(0, 14).map(lambda digits: n / 10**digits)
)
SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda number: float(f"{number:.9g}"))
POSITIONS = st.builds(Position, FLOATS, FLOATS, st.none() | FLOATS)
VALUES = FLOATS | SINGLES | st.integers(-(2**63), 2**64 - 1) | st.booleans() | TEXT | POSITIONS
DEVICES = st.sampled_from(["meter", "meter/kettle", "air"]) | TEXT
QUANTITIES = st.sampled_from(
    [("active_power_total", "W"), ("co2", "ppm"), ("co2", "ppb"), ("strange", "")]
) | st.tuples(TEXT, TEXT)
TIMES = st.integers(-(2**63), 2**63 - 1) | st.integers(START // 1000, START // 1000 + 10**7).map(lambda us: 1000 * us)


def numbered(readings: list[Reading], seq: int) -> Entry:
    return Entry(seq, tuple(replace(reading, seq=seq + index) for index, reading in enumerate(readings)))


@st.composite
def any_readings(draw: st.DrawFn) -> Reading:
    quantity, unit = draw(QUANTITIES)
    ns, boot = draw(TIMES), draw(st.none() | st.sampled_from(["", "b1", "b2"]))
    clock = None if boot is None else BootTime(boot, ns)
    quality, reason = draw(st.sampled_from(Quality)), draw(st.sampled_from(Reason))
    return Reading(draw(DEVICES), quantity, draw(VALUES), unit, ns if boot is None else 0, clock, quality, reason)


@st.composite
def any_entries(draw: st.DrawFn) -> list[Entry]:
    observations = draw(st.lists(st.lists(any_readings(), max_size=6), min_size=1, max_size=6))
    return [numbered(readings, draw(st.integers(0, 2**62))) for readings in observations]


@st.composite
def regular_entries(draw: st.DrawFn) -> list[Entry]:
    """Devices that are polled, each with its quantities and one kind of values in each of them."""
    devices = draw(st.lists(DEVICES, min_size=1, max_size=3, unique=True))
    kinds = {
        device: draw(
            st.lists(
                st.tuples(
                    QUANTITIES, st.sampled_from([FLOATS, SINGLES, st.integers(0, 99), st.integers(), TEXT, VALUES])
                ),
                min_size=1,
                max_size=3,
            )
        )
        for device in devices
    }
    entries, seq = [], draw(st.integers(0, 2**40))
    for row in range(draw(st.integers(1, 12))):
        for device in devices:
            ns = START + row * SECOND + draw(st.integers(-3, 3)) * 1_000_000
            readings = []
            for (quantity, unit), values in kinds[device]:
                value = draw(values)
                if isinstance(value, int) and not -(2**63) <= value < 2**64:
                    value = 0
                readings.append(Reading(device, quantity, value, unit, ns))
            entries.append(numbered(readings, seq))
            seq += len(readings) + draw(st.sampled_from([0, 0, 0, 7]))
    return entries


def exactly(value: Value) -> object:
    """A value with its type and, of floats, all bits."""
    if isinstance(value, Position):
        return tuple(
            exactly(part) if part is not None else None for part in (value.latitude, value.longitude, value.altitude)
        )
    return (type(value), struct.pack(">d", value) if isinstance(value, float) else value)


def same(one: list[Entry], other: list[Entry]) -> bool:
    def plain(entries: list[Entry]) -> list[object]:
        return [(e.seq, [(exactly(r.value), replace(r, value=0)) for r in e.readings]) for e in entries]

    return plain(one) == plain(other)


@given(any_entries())
def test_what_goes_in_comes_out(entries: list[Entry]) -> None:
    assert same(decode(encode(entries)), entries)


@given(regular_entries())
@settings(max_examples=60)
def test_what_goes_in_comes_out_of_regular_devices(entries: list[Entry]) -> None:
    assert same(decode(encode(entries)), entries)


def household(minutes: int, devices: int = 1) -> list[Entry]:
    """A meter with noise, steps and a counter, read once a second with an error of milliseconds."""
    chance = random.Random(7)
    entries, seq, counter = [], 1000, [0.0] * devices
    for second in range(60 * minutes):
        for device in range(devices):
            power = round(500 + 2000 * (second // 20 % 2) + chance.gauss(0, 8), 1)
            voltage = round(231 + chance.gauss(0, 0.2), 1)
            counter[device] = round(counter[device] + power / 3.6e6, 4)
            values = (power, round(0.4 * power, 1), voltage, round(power * 1.1 / voltage, 2), counter[device])
            names = ("active_power_total", "reactive_power_total", "voltage_l1", "current_l1", "energy_import_total")
            ns = START + second * SECOND + round(chance.gauss(0, 2)) * 1_000_000
            pairs = zip(names, values, ("W", "var", "V", "A", "kWh"), strict=True)
            entries.append(numbered([Reading(f"meter-{device}", q, v, u, ns) for q, v, u in pairs], seq))
            seq += 5
    return entries


def test_small() -> None:
    """The wear of a card and the bill of a link are counted in these bytes."""
    one = household(1)
    assert len(encode(one)) / 60 < 4.2
    assert same(decode(encode(one)), one)
    many = household(1, 10)
    assert len(encode(many)) / 600 < 3.6
    second = [entry for entry in household(1, 50) if entry.readings[0].observed_ns < START + SECOND // 2]
    assert len(second) == 50
    assert len(encode(second)) / 250 < 4
    assert len(encode(one[:1])) < 75


def test_what_never_changes_costs_nothing() -> None:
    entries = [
        numbered([Reading("air", "temperature", 21.5, "degC", START + row * SECOND)], 1 + row) for row in range(600)
    ]
    assert len(encode(entries)) < 42
    assert len(encode(entries[:6])) < 42


def test_readings_are_numbered_by_their_entry() -> None:
    (entry,) = decode(encode([Entry(7, (Reading("m", "q", 1, "W", START), Reading("m", "p", 2, "W", START)))]))
    assert [reading.seq for reading in entry.readings] == [7, 8]


def test_kinds_of_other_classes_come_out_plain() -> None:
    class Volts(float):
        pass

    ((reading,),) = (entry.readings for entry in decode(encode([Entry(1, (Reading("m", "q", Volts(2.5), "V", 1),))])))
    assert type(reading.value) is float


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", object(), None, Position("x", 1)])  # type: ignore[arg-type]
def test_what_no_body_can_hold(value: object) -> None:
    with pytest.raises((OverflowError, UnicodeError, TypeError)):
        encode([Entry(1, (Reading("m", "q", value, "W", 1),))])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "entry",
    [
        Entry(-1, (Reading("m", "q", 1, "W", 1),)),
        Entry(2**63 - 1, (Reading("m", "q", 1, "W", 1),) * 2),
        Entry(1, (Reading("m", "q", 1, "W", 2**63),)),
        Entry(1, (Reading("m", "q", 1, "W", 0, BootTime("b", 2**63)),)),
        Entry(1, (Reading("m", "q", 1, "W", 1),) * (READINGS_MAX + 1)),
        Entry(1, (Reading("m", "q", "x" * (5 << 20), "W", 1),)),
        Entry(1, (Reading("\ud800", "q", 1, "W", 1),)),
    ],
)
def test_what_is_beyond_the_bounds(entry: Entry) -> None:
    with pytest.raises((OverflowError, UnicodeError)):
        encode([entry])


def test_nothing_is_no_body() -> None:
    with pytest.raises(ValueError, match="entry"):
        encode([])


def test_as_many_as_there_may_be() -> None:
    entries = [Entry(1, tuple(Reading("m", f"q{n % 7}", n, "W", START + n // 7) for n in range(READINGS_MAX)))]
    assert len(decode(encode(entries))[0].readings) == READINGS_MAX


@given(st.binary(max_size=200))
def test_rubbish_is_an_error_and_nothing_else(body: bytes) -> None:
    for start in (b"", b"\x01\x02", b"\x01\x03"):
        with contextlib.suppress(CompactError):
            decode(start + body)


@given(st.data())
@settings(max_examples=300)
def test_damage_is_an_error_and_nothing_else(data: st.DataObject) -> None:
    body = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CompactError):
        decode(bytes(body))


MIXED = [
    numbered(
        [
            Reading(
                "bike",
                "position",
                Position(52.1 + row / 1e5, 13.2, 34.5 if row % 3 else None),
                "",
                START + row * SECOND,
            ),
            Reading(
                "bike", "speed", 17 if row % 4 == 0 else 17.5, "km/h", START + row * SECOND, quality=Quality.SUSPECT
            ),
            Reading("bike", "status", "ok" if row < 6 else "worn", "", 0, BootTime("b", row)),
            Reading("bike", "moving", row % 2 == 0, "", START, None, Quality.BAD, Reason.JUMP),
        ],
        9 + 4 * row,
    )
    for row in range(9)
]
SAMPLES = [encode(household(1)), encode(household(1, 3)), encode(MIXED), encode(MIXED[:1])]
