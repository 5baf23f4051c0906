"""All codecs of advertisements: nothing but BadFrame for garbage, known quantities only, keys that do not fit."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.codecs import ad_structures, advertising, airthings, aranet, atc, govee, mibeacon, qingping, ruuvi
from drivers.codecs.broadcast import Advert, Broadcast, Sealed, uuid
from drivers.codecs.framing import NO_HINTS, Hints
from drivers.decoding import decode_as
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES

ADDRESS = "A4:C1:38:56:53:84"
COMPANIES = (ruuvi.COMPANY, aranet.COMPANY, airthings.COMPANY, govee.COMPANY, govee.COMPANY_5179, 0x0001, 0x8803)
SERVICES = (mibeacon.SERVICE, atc.SERVICE, qingping.SERVICE, ruuvi.EDDYSTONE, uuid(0xFCD2))
GOVEE_NAMES = ["", *(f"GVH{model}_1234" for model in ("5112", "5140", "5106", "5178", "5108"))]
CLAIMED = [(), *((uuid(short),) for short in (0x8251, 0x8451, 0x8551, 0x9151, 0x5550))]

# captured: key of XMZNMS08LM and others, as quoted in the tests of bleparser (MIT)
LYWSD02 = bytes.fromhex("5858e4162c84535638c1a42b6ef2e91200006c884d9e")
LYWSD02_KEY = bytes.fromhex("a115210eed7a88e50ad52662e732a9fb")
DIMMER = bytes.fromhex("5830b603d28b98c54124f8c3491476757e00000099")
DIMMER_ADDRESS, DIMMER_KEY = "F8:24:41:C5:98:8B", bytes.fromhex("b853075158487ca39a5b5ea9")
PVVX = bytes.fromhex("11d603fbfa7b6dfb1e26fd")
PVVX_ADDRESS, PVVX_KEY = "A4:C1:38:8D:18:B2", bytes.fromhex("b9ea895fac7eea6d30532432a516f3a3")


def values(broadcast: Broadcast) -> dict[str, object]:
    return {one.quantity: one.value for one in broadcast.measurements}


def starts(service: str) -> st.SearchStrategy[bytes]:
    """Heads that lead deep into a codec."""
    heads = {
        mibeacon.SERVICE: [b"\x40\x50\x5b\x05\x03", b"\x48\x58\xe4\x16\x01", b"\x48\x30\xb6\x03\x01"],
        qingping.SERVICE: [b"\x08\x09\x84\x53\x56\x38\xc1\xa4", b"\x48\x12\x84\x53\x56\x38\xc1\xa4"],
        atc.SERVICE: [b"\x84\x53\x56\x38\xc1\xa4", b"\xa4\xc1\x38\x56\x53\x84"],
        ruuvi.EDDYSTONE: [b"\x10\xee\x03ruu.vi/#"],
    }.get(service, [])
    return st.sampled_from([b"", *heads])


@st.composite
def adverts(draw: st.DrawFn) -> Advert:
    tail = draw(st.binary(max_size=42))
    if draw(st.booleans()):
        head = draw(
            st.sampled_from([b"", b"\x03", b"\x05", b"\x06", b"\xe1", b"\x21", b"\x01\x21", b"\xec\x00\x01\x01"])
        )
        name, claimed = draw(st.sampled_from(GOVEE_NAMES)), draw(st.sampled_from(CLAIMED))
        return Advert({draw(st.sampled_from(COMPANIES)): head + tail}, {}, ADDRESS, name, claimed)
    service = draw(st.sampled_from(SERVICES))
    return Advert({}, {service: draw(starts(service)) + tail}, ADDRESS)


@given(adverts(), st.sampled_from([b"", bytes(12), bytes(16), bytes(5)]))
def test_any_advertisement_gives_known_quantities_or_bad_frame(advert: Advert, key: bytes) -> None:
    recognised = advertising.recognise(advert, key)
    if recognised is None or isinstance(recognised[1], BadFrame):
        return
    for one in recognised[1].measurements:
        assert one.quantity in QUANTITIES
        assert not isinstance(one.value, float) or math.isfinite(one.value)


@given(st.sampled_from(["ble", *advertising.CODECS]), st.binary(max_size=60), st.sampled_from([b"", bytes(16)]))
@example("ble", b"", b"")
@example("ble", b"\x04\x3e", b"")
@example("mibeacon", bytes.fromhex("4050e1048e0700000000"), b"")
def test_any_bytes_give_known_quantities_or_bad_frame(codec: str, data: bytes, key: bytes) -> None:
    try:
        found = decode_as(codec, data, Hints(key, ADDRESS))
    except BadFrame:
        return
    assert {one.quantity for one in found} <= QUANTITIES.keys()


@given(st.binary(min_size=1, max_size=31), st.integers(0, 255), st.booleans())
def test_an_event_holds_what_was_put_into_it(payload: bytes, rssi: int, extended: bool) -> None:
    ad = bytes((len(payload) + 3, 0xFF, 0x99, 0x04)) + payload
    address = bytes.fromhex(ADDRESS.replace(":", ""))[::-1]
    if extended:
        body = (
            struct.pack("<BBHB6sBBBbBHB6sB", 0x0D, 1, 0, 1, address, 1, 0, 255, 127, rssi, 0, 0, bytes(6), len(ad)) + ad
        )
    else:
        body = struct.pack("<BBBB6sB", 2, 1, 0, 1, address, len(ad)) + ad + bytes((rssi,))
    event = bytes((0x04, 0x3E, len(body))) + body
    advert = ad_structures.parse(event)
    assert advert.manufacturer == {ruuvi.COMPANY: payload}
    assert (advert.address, advert.rssi) == (ADDRESS, rssi - 256 if rssi > 127 else rssi)
    with pytest.raises(BadFrame):
        ad_structures.parse(event + b"\0")


@pytest.mark.parametrize("event_type", [0x20, 0x40])
def test_a_part_of_an_extended_advertisement_is_refused(event_type: int) -> None:
    ad = b"\x03\xff\x99\x04"
    head = struct.pack("<BBHB6sBBBbbHB6sB", 0x0D, 1, event_type, 1, bytes(6), 1, 1, 0, 0, -60, 0, 0, bytes(6), len(ad))
    with pytest.raises(BadFrame, match="part"):
        ad_structures.parse(bytes((0x04, 0x3E, len(head + ad))) + head + ad)


@pytest.mark.parametrize("data", ["", "05ff9904", "0201060000ff", "03ff99", "0116", "0416d2fc", "02ff99"])
def test_structures_that_are_not_whole_are_refused(data: str) -> None:
    with pytest.raises(BadFrame):
        advertising.decode_frame(bytes.fromhex(data), NO_HINTS)


def test_structures_of_all_widths() -> None:
    long = "f0cd1400-95da-4f4b-9ac8-aa55d312af0c"
    low_first = bytes.fromhex(long.replace("-", ""))[::-1]
    data = b"\x06\x20\x01\x02\x03\x04\xaa" + b"\x12\x21" + low_first + b"\xbb" + b"\x11\x07" + low_first
    advert = ad_structures.parse(data + b"\x05\x02\x0d\x18\x0f\x18" + b"\x03\x09Hi" + bytes(3))
    assert advert.services == {"04030201-0000-1000-8000-00805f9b34fb": b"\xaa", long: b"\xbb"}
    assert (advert.uuids, advert.name) == ((long, uuid(0x180D), uuid(0x180F)), "Hi")


def mutated(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.integers(0, 8 * len(LYWSD02) - 1))
def test_an_encrypted_mibeacon_with_one_bit_changed_says_nothing(bit: int) -> None:
    assert values(mibeacon.decode(LYWSD02, ADDRESS, LYWSD02_KEY)) == {"relative_humidity": 58}
    try:
        found = mibeacon.decode(mutated(LYWSD02, bit), ADDRESS, LYWSD02_KEY)
    except BadFrame:
        return
    # only bits of the frame control that are not encrypted get so far: an announcement without an object
    assert found.measurements == () or bit < 16


@given(st.integers(0, 8 * len(PVVX) - 1))
def test_an_encrypted_thermometer_with_one_bit_changed_is_refused(bit: int) -> None:
    assert values(atc.decode(PVVX, PVVX_ADDRESS, PVVX_KEY))["temperature"] == 23.45
    with pytest.raises(BadFrame):
        atc.decode(mutated(PVVX, bit), PVVX_ADDRESS, PVVX_KEY)


@pytest.mark.parametrize("key", [b"", bytes(16), bytes(12), b"x"])
def test_the_wrong_key_is_told(key: bytes) -> None:
    for data, address, decode in (
        (LYWSD02, ADDRESS, mibeacon.decode),
        (DIMMER, DIMMER_ADDRESS, mibeacon.decode),
        (PVVX, PVVX_ADDRESS, atc.decode),
    ):
        with pytest.raises(Sealed) as caught:
            decode(data, address, key)
        assert caught.value.keyed is bool(key)


@given(st.binary(min_size=12, max_size=12))
def test_an_old_mibeacon_with_a_wrong_key_says_nothing(key: bytes) -> None:
    with pytest.raises(Sealed):
        mibeacon.decode(DIMMER, DIMMER_ADDRESS, key)


def test_an_old_mibeacon_with_its_key() -> None:
    assert values(mibeacon.decode(DIMMER, DIMMER_ADDRESS, DIMMER_KEY)) == {"button": "press"}


def test_counters_that_a_key_protects_rise() -> None:
    broadcast = mibeacon.decode(LYWSD02, ADDRESS, LYWSD02_KEY)
    assert (broadcast.sequence, broadcast.rising) == (0x12 << 8 | 0x2C, True)


@pytest.mark.parametrize("data", ["30505b0503", "40105b0503", "50505b0503010203", "40505b0503", "40505b05030410"])
def test_a_damaged_mibeacon_is_a_bad_frame_or_says_nothing(data: str) -> None:
    try:
        assert mibeacon.decode(bytes.fromhex(data)).measurements == ()
    except BadFrame:
        return


@pytest.mark.parametrize(
    ("objects", "product", "expected"),
    [
        ("0f0003e80300", 0x0A83, {"motion": True, "illuminance": 1000}),
        ("0f0003640000", 0x07F6, {"motion": True, "light": True}),
        ("071003204e00", 0x0098, {"illuminance": 20000}),
        ("071003640000", 0x098B, {"light": True}),
        ("0d1004ecff6702", 0x01AA, {"temperature": -2.0, "relative_humidity": 61.5}),
        ("01100301000 2", 0x1569, {"button_2": "double_press"}),
        ("01100302000 0", 0x1569, {"button": "press", "button_2": "press"}),
        ("01100300fb04", 0x03B6, {"dimmer": -5}),
        ("0d4a0101", 0x5968, {"button_2": "double_press"}),
        ("0c4e0103", 0x1949, {"button": "press", "button_2": "press"}),
        ("0c560103", 0x3A61, {"button_3": "press"}),
        ("191001 00 031001 00", 0x098B, {"opening": True}),
        ("014c04cdccb841 024c012d", 0x16E4, {"temperature": 23.1, "relative_humidity": 45}),
        ("1010020700 131001 37", 0x02DF, {"formaldehyde": 0.07, "consumable_level": 55}),
        ("3412020102", 0x1234, {}),
    ],
)
def test_mibeacon_objects(objects: str, product: int, expected: dict[str, object]) -> None:
    data = struct.pack("<HHB", 0x5040, product, 7) + bytes.fromhex(objects.replace(" ", ""))
    assert values(mibeacon.decode(data)) == expected
    assert mibeacon.decode(data).sequence == 7


def test_a_thermometer_that_names_another_sender_is_refused() -> None:
    custom = struct.pack("<6shHHBBB", bytes.fromhex("8453563 8c1a4".replace(" ", "")), 2150, 4321, 2950, 77, 9, 0)
    broadcast = atc.decode(custom, ADDRESS)
    expected = {"temperature": 21.5, "relative_humidity": 43.21, "battery_voltage": 2.95, "battery_level": 77}
    assert (values(broadcast), broadcast.sequence) == (expected, 9)
    assert broadcast.rank > atc.decode(bytes.fromhex("a4c13856538400a22f5f0bf819"), ADDRESS).rank
    with pytest.raises(BadFrame, match="another sender"):
        atc.decode(custom, "A4:C1:38:00:00:01")


def test_ruuvi_air_says_the_same_in_two_forms() -> None:
    air = struct.pack(">BhHHHHHHHBB3s3s3sB5s6s", 0xE1, 5000, 20000, 51000, 10, 23, 30, 44, 612, 50, 0,
                      (12345).to_bytes(3, "big"), b"\xff" * 3, (70001).to_bytes(3, "big"), 0xC0, b"\xff" * 5,
                      bytes(6))  # fmt: skip
    broadcast = ruuvi.decode(air)
    assert values(broadcast) == {
        "temperature": 25.0, "relative_humidity": 50.0, "pressure": 1010.0, "pm1": 1.0, "pm25": 2.3, "pm4": 3.0,
        "pm10": 4.4, "co2": 612, "voc_index": 101, "nox_index": 1, "illuminance": 123.45,
    }  # fmt: skip
    assert (broadcast.sequence, broadcast.rank) == (70001, 1)
    nothing = bytes.fromhex("e18000" + "ff" * 18 + "ff" * 7 + "c0" + "ff" * 11)
    assert ruuvi.decode(nothing).measurements == () and ruuvi.decode(nothing).sequence is None
    assert ruuvi.decode(bytes.fromhex("068000" + "ff" * 12 + "07c0ffffff")).measurements == ()


@pytest.mark.parametrize(
    ("data", "expected", "age_s"),
    [
        (
            "0121040c01" + "000000" + "0000" + "9901" + "0000" + "0a02" + "00" + "3b" + "00" + "7800" + "5200" + "64",
            {"temperature": 20.45, "relative_humidity": 52.2, "battery_level": 59},
            82,
        ),
        (
            "0221260401" + "00" + "d0330000" + "6c600600" + "8200" + "00" + "63" + "00" + "2c01" + "5800" + "72",
            {"radiation_dose": 0.013264, "radiation_rate": 0.13, "battery_level": 99},
            88,
        ),
        (
            "0321040601" + "000000" + "0700" + "fd01" + "6f27" + "1d02" + "00" + "64" + "01" + "5802" + "0b00" + "a0",
            {"radon": 7, "temperature": 25.45, "pressure": 1009.5, "relative_humidity": 54.1, "battery_level": 100},
            11,
        ),
        (
            "0321040601" + "000000" + "001f" + "0000" + "ffff" + "0000" + "00" + "ff" + "00" + "5802" + "0b00" + "a0",
            {},
            11,
        ),
    ],
    ids=["aranet2", "radiation", "radon-plus", "radon-nothing-valid"],
)
def test_aranet_layouts(data: str, expected: dict[str, object], age_s: int) -> None:
    broadcast = aranet.decode(bytes.fromhex(data))
    assert values(broadcast) == {key: pytest.approx(value) for key, value in expected.items()}
    assert (broadcast.age_s, broadcast.sequence) == (age_s, int(data[-2:], 16))
    switched_off = data[:2] + "01" + data[4:]
    assert aranet.decode(bytes.fromhex(switched_off)).measurements == ()


@pytest.mark.parametrize("data", ["", "21", "210503010005", "04" + "21" * 23, "ff" * 7, "41" * 22, "2105" + "ff" * 20])
def test_what_is_no_aranet_is_refused(data: str) -> None:
    with pytest.raises(BadFrame):
        aranet.decode(bytes.fromhex(data))


def test_airthings_says_its_serial_number_only() -> None:
    data = (2930012345).to_bytes(4, "little") + b"\x09\x00"
    advert = Advert({airthings.COMPANY: data})
    assert values(airthings.decode_advert(advert, b"") or Broadcast(())) == {"serial_number": "2930012345"}
    for damaged in (b"", data[:5], b"\x01\0\0\0\0\0"):
        with pytest.raises(BadFrame):
            airthings.decode(damaged)


@pytest.mark.parametrize(
    ("company", "data", "name", "expected"),
    [
        (0xEC88, "0003215dff00", "", BadFrame),  # 127 % of battery
        (0xEC88, "0003215de400", "", {"battery_level": 100}),  # the sensor says that its values are not valid
        (0xEC88, "00001122", "", BadFrame),
        (0x0001, "010103215d64", "", {"temperature": 20.5, "relative_humidity": 14.9, "battery_level": 100}),
        (0x0001, "aabb03215d64", "", None),  # Nokia's own
        (0x0001, "010103215d640000", "", None),  # of two models, which only the name tells apart
        (
            0x0001,
            "010003215d025800",
            "GV5140A1B2",
            {"temperature": 20.5, "relative_humidity": 14.9, "co2": 600},
        ),
        (0x0001, "0100018342b5640000", "", {"temperature_2": -21.3, "relative_humidity_2": 68.5}),
        (0x004C, "0003215d6400", "GVH5075_1234", None),
        (0xFFFF, "0000 0cee5f1c", "GVH5106_12", {"temperature": 21.6, "relative_humidity": 94.8, "pm25": 508}),
    ],
)
def test_govee(company: int, data: str, name: str, expected: dict[str, object] | type[BadFrame] | None) -> None:
    advert = Advert({company: bytes.fromhex(data.replace(" ", ""))}, name=name)
    if expected is BadFrame:
        with pytest.raises(BadFrame):
            govee.decode_advert(advert, b"")
        return
    found = govee.decode_advert(advert, b"")
    assert (None if found is None else values(found)) == expected


def test_govee_with_a_beacon_glued_to_its_end() -> None:
    glued = bytes.fromhex("0003215d6400") + b"\x4c\x00\x02\x15INTELLI_ROCKS" + bytes(8)
    found = govee.decode(govee.COMPANY, glued)
    assert found is not None and values(found)["temperature"] == 20.5


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("48124e5e60342d58080401001122", {"motion": True}),
        ("08124e5e60342d58080400340100", {"motion": False, "illuminance": 308}),
        ("08044e5e60342d58040101020164", {"opening": False, "battery_level": 100}),
        ("085d4e5e60342d580104be000d021302ffff1502320018022201", {"temperature": 19.0, "relative_humidity": 52.5,
                                                                  "voc_index": 50}),
    ],
)  # fmt: skip
def test_qingping(data: str, expected: dict[str, object]) -> None:
    assert values(qingping.decode(bytes.fromhex(data))) == expected
    for size in range(9, len(data) // 2):
        try:
            partial = values(qingping.decode(bytes.fromhex(data)[:size]))
        except BadFrame:
            continue
        assert partial.items() <= expected.items()
