"""IEC 62056-21 telegrams: pushed ones must be whole to the last bracket, asked ones fit their block check."""

from __future__ import annotations

import contextlib
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import registry
from drivers.codecs import d0, p1
from drivers.codecs.framing import BUFFER_BYTES_MAX, NO_HINTS, Decoded
from drivers.errors import BadFrame, Misconfigured
from drivers.template import Template
from firmware_sim.devices import d0 as device
from firmware_sim.electricity import Snapshot

SHOT = Snapshot(
    volts=(231.4, 229.9, 230.5),
    amps=(2.5, 9.7, 0.4),
    watts=(-1512.3, 210.9, 80.1),
    import_kwh=(4000.25, 4100.5, 3999.75),
    export_kwh=(0.0, 1.5, 0.0),
)
PUSHED = device.pushed(SHOT)
BLOCK = device.block(SHOT)
ASKED = b"/LMP5SIM-D0\r\n" + BLOCK
METER = Template("d0", "meter", "Lamppost", "D0", "d0", "Device", "manual")


def values(decoded: Decoded) -> dict[str, object]:
    return {m.quantity: m.value for m in decoded.measurements}


def drain(buffer: bytearray) -> list[Decoded | BadFrame]:
    found: list[Decoded | BadFrame] = []
    while True:
        try:
            decoded = d0.take(buffer)
        except BadFrame as error:
            found.append(error)
            continue
        if decoded is None:
            return found
        found.append(decoded)


def good(buffer: bytearray) -> list[Decoded]:
    return [one for one in drain(buffer) if isinstance(one, Decoded)]


def test_pushed_telegram() -> None:
    assert values(d0.decode(PUSHED)) == {
        "energy_import_total": 12_100.5,
        "energy_export_total": 1.5,
        "active_power_total": -1221.3,
        **{f"voltage_l{n}": volts for n, volts in enumerate((231.4, 229.9, 230.5), 1)},
        **{f"active_power_l{n}": watts for n, watts in enumerate((-1512.3, 210.9, 80.1), 1)},
    }


def test_asked_telegram_leaves_last_month_out() -> None:
    assert values(d0.decode_block(BLOCK)) == {
        "energy_import_total": 12_100.5,
        "energy_export_total": 1.5,
        **{f"voltage_l{n}": volts for n, volts in enumerate((231.4, 229.9, 230.5), 1)},
        **{f"current_l{n}": amps for n, amps in enumerate((2.5, 9.7, 0.4), 1)},
    }
    assert d0.decode(ASKED) == d0.decode_block(BLOCK)


def test_identification() -> None:
    landis = d0.identification(b"/LGZ5\\2ZMD3104407.B32\r\n")
    assert (landis.maker, landis.baud, landis.reaction_s) == ("LGZ", 9600, 0.2)
    assert d0.identification(b"/LGz0quick\r\n").reaction_s == 0.02
    assert d0.identification(b"/ABB@mode A\r\n").baud is None
    assert d0.acknowledgement("5") == b"\x06050\r\n"
    assert d0.sign_on() == b"/?!\r\n"
    assert d0.sign_on("0815") == b"/?0815!\r\n"
    for damaged in (b"/?!\r\n", b"/L\x00Z5x\r\n", b"LGZ5x\r\n", b"/LGZ5x"):
        with pytest.raises(BadFrame):
            d0.identification(damaged)


@pytest.mark.parametrize(
    "new",
    [
        b"1-0:1.8.0*255(0000\x0012100.50*kWh)",  # what a parity error is read as
        b"1-0:1.8.0*255(0000\xb212100.50*kWh)",
        b"1-0:1.8.0*255(000012100.50*kW",
        b"1-0:1.8.0*255(000012100.50*kWh)1-0",
        b"1-0:1.8.0*255000012100.50*kWh)",
    ],
)
def test_pushed_line_that_is_not_whole(new: bytes) -> None:
    old = next(line for line in PUSHED.split(b"\r\n") if b"1.8.0" in line)
    with pytest.raises(BadFrame, match="damaged"):
        d0.decode(PUSHED.replace(old, new))


def test_codes_in_all_their_forms() -> None:
    def told(*lines: str) -> dict[str, object]:
        return values(d0.decode("\r\n".join(("/ABC5X", "", *lines, "!", "")).encode()))

    assert told("1.8.0(12.5*kWh)") == {"energy_import_total": 12.5}
    assert told("1-1:1.8.0(12.5*MWh)") == {"energy_import_total": 12_500.0}
    assert told("1.8.1(1*kWh)1.8.2(2*kWh)") == {
        "energy_import_t1": 1.0,
        "energy_import_t2": 2.0,
        "energy_import_total": 3.0,
    }
    assert told("1.6.0(0.250*kW)(2611221730)", "1.8.0(7*kWh)")["active_power_import_peak"] == 250.0
    assert told("16.7.0(-1.5*kW)") == {"active_power_total": -1500.0}
    assert told("13.7.0(0.98)") == {"power_factor_total": 0.98}
    for nothing in ("1.8.0(12.5)", "1.8.0*01(12.5*kWh)", "7-0:1.8.0(12.5*kWh)", "1.8.0(12,5*kWh)", "1.8.0(12.5*m3)"):
        with pytest.raises(BadFrame, match="without any value"):
            told(nothing)


@given(st.integers(0, len(BLOCK) - 1), st.integers(0, 6))
def test_one_flipped_bit_of_a_block_is_never_a_value(at: int, bit: int) -> None:
    damaged = BLOCK[:at] + bytes([BLOCK[at] ^ 1 << bit]) + BLOCK[at + 1 :]
    with pytest.raises(BadFrame):
        d0.decode_block(damaged)


@pytest.mark.parametrize("telegram", [PUSHED, ASKED], ids=["pushed", "asked"])
@given(joined_at=st.floats(0.01, 0.99), sizes=st.lists(st.integers(1, 300), min_size=1, max_size=8))
def test_telegrams_survive_any_cutting(telegram: bytes, joined_at: float, sizes: list[int]) -> None:
    stream = telegram[max(1, int(joined_at * len(telegram))) :] + telegram * 3
    buffer, found = bytearray(), 0
    for size in cycle(sizes):
        buffer += stream[:size]
        stream = stream[size:]
        found += len(good(buffer))
        if not stream:
            break
    assert found == 3


def test_a_cut_telegram_never_gives_a_value_that_is_not_there() -> None:
    known = d0.decode(PUSHED)
    for cut in range(len(PUSHED)):
        assert all(one == known for one in good(bytearray(PUSHED[:cut] + PUSHED * 2)))
        assert good(bytearray(PUSHED[:cut] + PUSHED * 2))


def test_lines_lost_in_the_middle_leave_what_is_whole() -> None:
    """Without a checksum that cannot be told from a meter that says less; no value is wrong."""
    lines = PUSHED.split(b"\r\n")
    known = values(d0.decode(PUSHED))
    for lost in range(2, len(lines) - 2):
        found = values(d0.decode(b"\r\n".join(lines[:lost] + lines[lost + 1 :])))
        assert {key: known[key] for key in found} == found


@given(st.lists(st.binary(max_size=80) | st.sampled_from([b"/", b"!\r\n", b"/LMP5\r\n", b"\x02", b"\x03a", b"(1)"])))
def test_noise_is_bounded_and_harmless(chunks: list[bytes]) -> None:
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        drain(buffer)
        assert len(buffer) <= BUFFER_BYTES_MAX + 80


def test_what_never_ends_is_thrown_away() -> None:
    buffer = bytearray(b"/LMP5x\r\n" + b"1.8.0(1*kWh)\r\n" * 1400)
    assert [type(one) for one in drain(buffer)] == [BadFrame]
    assert not buffer


def test_captured_text_may_have_lost_its_line_ends_or_have_a_tail() -> None:
    known = d0.decode(PUSHED).measurements
    assert d0.decode_frame(PUSHED.replace(b"\r\n", b"\n").rstrip(), NO_HINTS) == known
    assert d0.decode_frame(PUSHED + b"  25818685\r\nDE0000000000000000000000000000003\r\n", NO_HINTS) == known
    assert d0.decode_frame(ASKED, NO_HINTS) == d0.decode_block(BLOCK).measurements
    for other in (PUSHED + PUSHED, PUSHED + b"x" * 200, b"x" + PUSHED, PUSHED[:-4], b"", ASKED + PUSHED):
        with pytest.raises(BadFrame):
            d0.decode_frame(other, NO_HINTS)


def test_p1_and_d0_are_told_apart() -> None:
    with pytest.raises(BadFrame):
        p1.decode_frame(PUSHED, NO_HINTS)
    body = PUSHED[: PUSHED.rindex(b"!") + 1]
    with pytest.raises(BadFrame):
        d0.decode_frame(body + f"{p1.crc16(body):04X}\r\n".encode(), NO_HINTS)


@given(st.binary(max_size=200))
def test_nothing_but_bad_frame(data: bytes) -> None:
    for frame in (data, b"/LMP5x\r\n" + data + b"!\r\n", b"/LMP5x\r\n\x02" + data + b"!\r\n\x03\x00"):
        with contextlib.suppress(BadFrame):
            d0.decode_frame(frame, NO_HINTS)


@pytest.mark.parametrize(
    ("address", "options", "cause"),
    [
        (None, {"mode": "b"}, "expected one of push, a, c"),
        (None, {"speed": 5}, "unknown option"),
        ("12", {}, "takes no address"),
        ("1/2", {"mode": "c"}, "is no address"),
    ],
)
def test_options(address: Any, options: dict[str, Any], cause: str) -> None:
    bus = registry.make_bus("b", {"type": "serial", "port": "/dev/none"})
    with pytest.raises(Misconfigured, match=cause):
        registry.make_driver(METER, bus, address, None, options)
