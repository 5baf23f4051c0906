from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import BootTime, Position, Quality, Reading, Reason
from gateway.outbox.codec import DamagedError, Entry, decode, encode

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
POSITIONS = st.builds(Position, st.floats(-90, 90), st.floats(-180, 180), st.none() | st.floats(-100, 9000))
VALUES = st.floats(allow_nan=False) | st.integers(-(2**63), 2**64 - 1) | st.booleans() | TEXT | POSITIONS
INSTANTS = st.integers(0, 2**62)


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    ns = draw(INSTANTS)
    boot = draw(st.none() | st.sampled_from(["b1", "b2"]))
    return Reading(
        draw(st.sampled_from(["meter", "meter/kettle", "air"]) | TEXT),
        draw(st.sampled_from(["active_power_total", "co2"]) | TEXT),
        draw(VALUES),
        draw(st.sampled_from(["W", "ppm", ""])),
        0 if boot else ns,
        BootTime(boot, ns) if boot else None,
        draw(st.sampled_from(Quality)),
        draw(st.sampled_from(Reason)),
    )


@given(st.lists(st.lists(readings(), min_size=1, max_size=6), min_size=1, max_size=6), st.integers(1, 2**40))
def test_what_goes_in_comes_out(observations: list[list[Reading]], first: int) -> None:
    entries, seq = [], first
    for observation in observations:
        numbered = tuple(replace(reading, seq=seq + i) for i, reading in enumerate(observation))
        entries.append(Entry(seq, numbered))
        seq += len(numbered) + 3  # holes are allowed
    back = decode(encode(entries))
    assert back == entries
    kinds = [type(r.value) for e in back for r in e.readings]
    assert kinds == [type(r.value) for e in entries for r in e.readings]


@given(st.binary(max_size=200))
def test_rubbish_is_damage_and_nothing_else(body: bytes) -> None:
    with contextlib.suppress(DamagedError):
        decode(body)


@given(st.data())
def test_a_flipped_byte_never_crashes(data: st.DataObject) -> None:
    body = bytearray(encode([Entry(1, (Reading("m", "q", 1.5, "W", 10**18), Reading("m", "p", 2, "W", 10**18)))]))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DamagedError):
        decode(bytes(body))


def test_compact() -> None:
    """The wear of a card is counted in these bytes: 40 values of 5 devices, names included."""
    entries = [
        Entry(1 + 8 * d, tuple(Reading(f"meter-{d}", f"active_power_l{q}", 231.7 + q, "W", 10**18) for q in range(8)))
        for d in range(5)
    ]
    assert len(encode(entries)) / 40 < 20


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", object()])
def test_what_no_block_can_hold(value: object) -> None:
    with pytest.raises((OverflowError, UnicodeError, TypeError)):
        encode([Entry(1, (Reading("m", "q", value, "W", 1),))])  # type: ignore[arg-type]
