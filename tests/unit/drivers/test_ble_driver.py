from __future__ import annotations

from drivers.buses.ble import Advertisement, BleAdvertisementDriver, BleBus
from drivers.buses.ble_adapter import advertisement_frame
from drivers.codecs import bthome, ruuvi

ADDRESS = "AA:BB:CC:DD:EE:FF"


def heard(data: str, at_s: float, codec: str = "ruuvi") -> Advertisement:
    value = bytes.fromhex(data)
    makers = {ruuvi.COMPANY: value} if codec == "ruuvi" else {}
    services = {bthome.SERVICE: value} if codec == "bthome" else {}
    return Advertisement(ADDRESS, -60, makers, services, int(at_s * 1e9), None)  # type: ignore[arg-type]


def tag(sequence: int) -> str:
    return f"0512fc5394c37c0004fffc040cac3642{sequence:04x}cbb8334c884f"


def observed(codec: str, spacing_s: float | None, *advertisements: Advertisement) -> list[float]:
    driver = BleAdvertisementDriver(BleBus("radio"), ADDRESS, codec, 30.0, spacing_s)
    found = [driver._observe(one) for one in advertisements]
    return [one.mono_ns / 1e9 for one in found if one is not None]


def test_one_measurement_sent_several_times_counts_once() -> None:
    assert observed("ruuvi", None, heard(tag(7), 0), heard(tag(7), 0.1), heard(tag(8), 1), heard(tag(8), 1.1)) == [0, 1]
    frames = [heard(f"4000{number:02x}02ca09", at, "bthome") for number, at in ((255, 0), (255, 1), (0, 2))]
    assert observed("bthome", None, *frames) == [0, 2]


def test_without_a_sequence_number_everything_counts() -> None:
    assert observed("bthome", None, *[heard("4002ca09", at, "bthome") for at in (0, 1, 2)]) == [0, 1, 2]


def test_spacing_counts_from_the_last_observation() -> None:
    assert observed("ruuvi", 2.5, *[heard(tag(number), number) for number in range(7)]) == [0, 3, 6]


def test_what_says_nothing_is_no_observation() -> None:
    assert observed("bthome", None, heard("40000f", 0, "bthome"), heard("403a01", 1, "bthome")) == []
    assert observed("ruuvi", None, heard("4002ca09", 0, "bthome")) == []


def test_a_captured_advertisement_is_made_of_ad_structures() -> None:
    long_uuid = "1fe7faf9-ce63-4236-0004-000000000001"
    frame = advertisement_frame(ADDRESS, -70, {0x0499: b"\x05\x06"}, {bthome.SERVICE: b"\x40", long_uuid: b"\x09"})
    assert frame[:8] == b"\x01\xaa\xbb\xcc\xdd\xee\xff\xba"
    assert frame[8:14] == b"\x05\xff\x99\x04\x05\x06"
    assert frame[14:19] == b"\x04\x16\xd2\xfc\x40"
    assert (
        frame[19:21] == b"\x12\x21" and frame[21:37][::-1].hex() == long_uuid.replace("-", "") and frame[37:] == b"\x09"
    )
