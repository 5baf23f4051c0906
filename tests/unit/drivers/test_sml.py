"""SML telegrams: damage is refused, signs come from the status word where only it tells them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs import sml
from drivers.codecs.framing import BUFFER_BYTES_MAX, NO_HINTS, Decoded
from drivers.errors import BadFrame
from firmware_sim.devices import sml as device
from firmware_sim.electricity import Snapshot

SHOT = Snapshot(
    volts=(231.4, 229.9, 230.5),
    amps=(2.5, 9.7, 0.4),
    watts=(512.0, 2211.0, 80.0),
    import_kwh=(4000.25, 4100.5, 3999.75),
    export_kwh=(0.0, 1.5, 0.0),
)
TELEGRAM = device.telegram(SHOT, 1000)
NET, AMOUNT, ENERGY = bytes.fromhex("0100100700ff"), bytes.fromhex("01000f0700ff"), bytes.fromhex("0100010800ff")
EXPORT = bytes.fromhex("0100020800ff")


def drain(buffer: bytearray) -> Iterator[Decoded | BadFrame]:
    while True:
        try:
            decoded = sml.take(buffer)
        except BadFrame as error:
            yield error
            continue
        if decoded is None:
            return
        yield decoded


def telegram(*entries: bytes, maker: bytes = b"LMP") -> bytes:
    nothing = device.octets(b"")
    who = device.rows(device.octets(bytes.fromhex("010060320101")), *[nothing] * 4, device.octets(maker), nothing)
    listed = device.rows(
        nothing, device.octets(b"server"), nothing, nothing, device.rows(who, *entries), *[nothing] * 2
    )
    return device.framed(device.message(1, 0x0701, listed))


def values(frame: bytes) -> dict[str, object]:
    return {m.quantity: m.value for m in sml.decode(frame).measurements}


def test_check_value_of_the_checksum() -> None:
    assert sml.crc16(b"123456789") == 0x906E  # the catalogue's check values of CRC-16/X-25 and CRC-16/KERMIT
    assert sml.crc16(b"123456789", 0) == 0x2189


def test_what_a_meter_shows() -> None:
    assert values(TELEGRAM) == {
        "energy_import_total": 12_100.5,
        "energy_export_total": 1.5,
        "active_power_total": 2803.0,
        "frequency": 50.0,
        **{f"voltage_l{n}": volts for n, volts in enumerate((231.4, 229.9, 230.5), 1)},
        **{f"current_l{n}": amps for n, amps in enumerate((2.5, 9.7, 0.4), 1)},
        **{f"active_power_l{n}": watts for n, watts in enumerate((512.0, 2211.0, 80.0), 1)},
    }
    assert sml.decode(TELEGRAM).device_ns is None  # its clock counts from a start that nobody knows


def test_without_its_pin_a_meter_tells_full_kilowatt_hours() -> None:
    assert values(device.telegram(SHOT, 1, detailed=False)) == {
        "energy_import_total": 12_100.0,
        "energy_export_total": 1.0,
    }


@pytest.mark.parametrize(
    ("status", "raw", "watts"),
    [
        (0x1C0104, -25_536, 400.0),  # much is drawn: the number has no room for its sign
        (0x1C0904, -25_536, -255.36),  # much is given
        (0x1C0004, -100, -1.0),  # near to nothing: as it stands
        (0x1C0104, 25_536, 255.36),
    ],
)
def test_dzg_gives_its_power_without_room_for_the_sign(status: int, raw: int, watts: float) -> None:
    entries = (
        device.entry(ENERGY, 30, -1, 1000, status=status),
        device.entry(NET, 27, -2, raw, size=2),
    )
    assert values(telegram(*entries, maker=b"DZG"))["active_power_total"] == watts
    assert values(telegram(*entries))["active_power_total"] == raw / 100  # others mean what they say


@pytest.mark.parametrize(
    ("status", "exports", "watts"),
    [
        (0x0182, True, 137.1),
        (0x01A2, True, -137.1),
        (0x0182, False, 137.1),
        (None, False, 137.1),
        (None, True, None),  # which way it flows is told by nothing
        (0x1C0904, True, -137.1),
    ],
)
def test_direction_of_a_power_that_is_an_amount(status: int | None, exports: bool, watts: float | None) -> None:
    entries = [device.entry(ENERGY, 30, -1, 1000, status=status), device.entry(AMOUNT, 27, -1, 1371)]
    if exports:
        entries.append(device.entry(EXPORT, 30, -1, 77))
    assert values(telegram(*entries)).get("active_power_total") == watts


def test_what_is_no_electricity_is_left_out() -> None:
    other = device.entry(bytes.fromhex("0700030000ff"), 13, 0, 5)  # a gas meter's volume
    historic = device.entry(bytes.fromhex("010001080001"), 30, 0, 5)
    unknown = device.entry(bytes.fromhex("0100100700ff"), 200, 0, 5)
    with pytest.raises(BadFrame, match="without any value"):
        sml.decode(telegram(other, historic, unknown))


def test_escapes_within_the_data() -> None:
    odd = device.entry(ENERGY, 30, 0, 0x1B1B1B1B)
    frame = telegram(odd)
    assert b"\x1b" * 8 in frame
    assert values(frame)["energy_import_total"] == 0x1B1B1B1B / 1000
    assert [type(one) for one in drain(bytearray(frame + TELEGRAM))] == [Decoded, Decoded]


def test_holley_seals_in_another_way() -> None:
    frame = telegram(device.entry(ENERGY, 30, 0, 5000), maker=b"HLY")
    sealed = frame[:-2] + sml.crc16(frame[:-2], 0).to_bytes(2, "little")
    assert values(sealed)["energy_import_total"] == 5.0
    other = telegram(device.entry(ENERGY, 30, 0, 5000))
    with pytest.raises(BadFrame, match="CRC"):
        sml.decode(other[:-2] + sml.crc16(other[:-2], 0).to_bytes(2, "little"))


def test_message_with_a_wrong_checksum_of_its_own() -> None:
    at = TELEGRAM.rindex(b"\x63")
    damaged = TELEGRAM[: at + 1] + bytes([TELEGRAM[at + 1] ^ 1]) + TELEGRAM[at + 2 : -2]
    with pytest.raises(BadFrame, match="CRC of an SML message"):
        sml.decode(damaged + sml.crc16(damaged).to_bytes(2, "little"))


@given(st.integers(0, len(TELEGRAM) - 1), st.integers(0, 7))
def test_one_flipped_bit_is_never_a_value(at: int, bit: int) -> None:
    damaged = bytearray(TELEGRAM)
    damaged[at] ^= 1 << bit
    assert not [one for one in drain(damaged) if isinstance(one, Decoded)]


@given(st.floats(0.01, 0.99), st.lists(st.integers(1, 300), min_size=1, max_size=8))
def test_telegrams_survive_any_cutting(joined_at: float, sizes: list[int]) -> None:
    stream = TELEGRAM[max(1, int(joined_at * len(TELEGRAM))) :] + TELEGRAM * 3
    buffer, good = bytearray(), 0
    for size in cycle(sizes):
        buffer += stream[:size]
        stream = stream[size:]
        good += sum(isinstance(one, Decoded) for one in drain(buffer))
        if not stream:
            break
    assert good == 3


def test_a_cut_telegram_costs_itself_only() -> None:
    for cut in range(1, len(TELEGRAM)):
        found = list(drain(bytearray(TELEGRAM[:cut] + TELEGRAM * 2)))
        assert sum(isinstance(one, Decoded) for one in found) == 2


@given(st.lists(st.binary(max_size=60) | st.sampled_from([sml.START, sml.ESCAPE, b"\x1a\0\0\0", TELEGRAM[8:90]])))
def test_noise_is_bounded_and_harmless(chunks: list[bytes]) -> None:
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        list(drain(buffer))
        assert len(buffer) <= BUFFER_BYTES_MAX + 100


def test_what_never_ends_is_thrown_away() -> None:
    buffer = bytearray(sml.START + bytes(BUFFER_BYTES_MAX + 1))
    assert [type(one) for one in drain(buffer)] == [BadFrame]
    assert len(buffer) < len(sml.START)


@given(st.binary(max_size=120), st.booleans())
def test_nothing_but_bad_frame(data: bytes, whole: bool) -> None:
    for frame in (data, device.framed(device.message(1, 0x0701, data)) if whole else device.framed(data)):
        with contextlib.suppress(BadFrame):
            sml.decode_frame(frame, NO_HINTS)


def test_deep_lists_are_no_trap() -> None:
    for frame in (device.framed(b"\x71" * 10_000), device.framed(b"\xff\xff\x0f" + b"\x01" * 5000)):
        with pytest.raises(BadFrame):
            sml.decode(frame)
