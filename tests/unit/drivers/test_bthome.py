from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.codecs import bthome
from drivers.codecs.broadcast import Broadcast, Sealed
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES

# bthome.io/format: id -> (quantity, bytes, signed, factor)
TABLE = {
    0x01: ("battery_level", 1, False, 1),
    0x02: ("temperature", 2, True, 0.01),
    0x03: ("relative_humidity", 2, False, 0.01),
    0x04: ("pressure", 3, False, 0.01),
    0x05: ("illuminance", 3, False, 0.01),
    0x08: ("dew_point", 2, True, 0.01),
    0x0A: ("energy_import_total", 3, False, 0.001),
    0x0C: ("battery_voltage", 2, False, 0.001),
    0x0D: ("pm25", 2, False, 1),
    0x12: ("co2", 2, False, 1),
    0x44: ("speed", 2, False, 0.036),
    0x4F: ("water_volume_total", 4, False, 1e-6),
    0x58: ("temperature", 1, True, 0.35),
    0x5C: ("active_power_total", 4, True, 0.01),
    0x63: ("acceleration", 4, True, 1e-6),
}
# whole objects that are no measurement
SKIPPED = ["3a00", "3c0003", "3b0002", "3b0102a0", "505d396164", "530548656c6c6f", "54020103", "6501", "f00100"]
KEY, SENDER = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932"), "54:48:E6:8F:80:A5"
SEALED = bytes.fromhex("41a47266c95f730011223378237214")  # bthome.io/encryption: 25.06 degrees, 50.55 %


def values_of(broadcast: Broadcast) -> dict[str, object]:
    return {one.quantity: one.value for one in broadcast.measurements}


def values(data: bytes) -> dict[str, object]:
    return values_of(bthome.decode(data))


@given(st.binary(max_size=60), st.sampled_from([b"", b"\x40", b"\x42", b"\x44"]))
@example(b"", b"")
def test_any_bytes_give_known_quantities_or_bad_frame(tail: bytes, head: bytes) -> None:
    try:
        broadcast = bthome.decode(head + tail)
    except BadFrame:
        return
    assert {one.quantity for one in broadcast.measurements} <= QUANTITIES.keys()


@given(st.data(), st.sampled_from(sorted(TABLE)), st.integers(0, 255), st.lists(st.sampled_from(SKIPPED), max_size=4))
def test_round_trip_behind_objects_that_are_skipped(
    data: st.DataObject, number: int, packet: int, skip: list[str]
) -> None:
    quantity, size, signed, factor = TABLE[number]
    half = 1 << (8 * size - 1)
    raw = data.draw(st.integers(-half, half - 1) if signed else st.integers(0, 2 * half - 1))
    frame = b"\x40\x00" + bytes((packet,)) + b"".join(bytes.fromhex(text) for text in skip)
    frame += bytes((number,)) + raw.to_bytes(size, "little", signed=signed)
    broadcast = bthome.decode(frame)
    assert broadcast.sequence == packet
    assert values(frame) == {quantity: pytest.approx(raw * factor, abs=1e-3)}


def test_the_second_of_two_values_has_a_name_of_its_own() -> None:
    assert values(bytes.fromhex("4002ca0902cf0912e20412e304")) == {
        "temperature": 25.06,
        "temperature_2": 25.11,
        "co2": 1250,  # there is no second one: what has no name is left out
    }


def test_buttons_keep_their_places() -> None:
    assert values(bytes.fromhex("44003a3a003a033afe3a01")) == {"button_2": "triple_press", "button_4": "press"}


def test_states() -> None:
    found = values(bytes.fromhex("400f0110001a011f011f0020012d00"))
    assert found == {"binary_state": True, "power_state": False, "opening": True, "lock": "unlocked", "moisture": True}
    assert values(bytes.fromhex("403c0103")) == {"dimmer": -3}
    assert values(bytes.fromhex("40f100010204")) == {"firmware_version": "4.2.1.0"}


def test_what_follows_an_unknown_object_is_left_out() -> None:
    assert values(bytes.fromhex("40015dfe5d0903b718")) == {"battery_level": 93}


def test_an_address_before_the_objects_is_passed_over() -> None:
    assert values(bytes.fromhex("42b2188d38c1a404138a01")) == {"pressure": 1008.83}


def test_the_encrypted_example_of_the_format() -> None:
    broadcast = bthome.decode(SEALED, SENDER, KEY)
    assert values_of(broadcast) == {"temperature": 25.06, "relative_humidity": 50.55}
    assert (broadcast.sequence, broadcast.rising) == (0x33221100, True)


@given(st.integers(0, 8 * len(SEALED) - 1))
def test_an_encrypted_frame_with_one_bit_changed_is_refused(bit: int) -> None:
    damaged = bytearray(SEALED)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadFrame):
        bthome.decode(bytes(damaged), SENDER, KEY)


@pytest.mark.parametrize(("key", "keyed"), [(b"", False), (bytes(16), True), (KEY[:12], True)])
def test_an_encrypted_frame_without_its_key_says_so(key: bytes, keyed: bool) -> None:
    with pytest.raises(Sealed, match="bind key") as caught:
        bthome.decode(SEALED, SENDER, key)
    assert caught.value.keyed is keyed
    assert not key or key.hex() not in str(caught.value)


def test_an_encrypted_frame_needs_the_address_of_its_sender() -> None:
    with pytest.raises(BadFrame, match="address"):
        bthome.decode(SEALED, "", KEY)


def test_a_plain_frame_of_a_sensor_with_a_key_is_refused() -> None:
    with pytest.raises(BadFrame, match="somebody else"):
        bthome.decode(bytes.fromhex("4002ca09"), SENDER, KEY)


@pytest.mark.parametrize(
    "data", ["", "00", "2002ca09", "4802ca09", "4002ca", "4000", "4053", "40530548", "42010203", "40 04138a", "402d02"]
)
def test_damaged_is_a_bad_frame(data: str) -> None:
    with pytest.raises(BadFrame):
        bthome.decode(bytes.fromhex(data))
