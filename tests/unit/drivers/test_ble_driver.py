"""What counts as one measurement of a broadcasting sensor; keys, replays, floods; what the bus hands on."""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from drivers import template
from drivers.base import Observation, passed_over
from drivers.buses import ble, ble_adapter, ble_inbox
from drivers.buses.ble import BadKey, BleAdvertisementDriver, BleBus
from drivers.buses.ble_adapter import advertisement_frame
from drivers.buses.ble_inbox import Advertisement, Budget
from drivers.codecs import advertising, bthome, mibeacon, ruuvi
from drivers.codecs.ad_structures import parse
from drivers.codecs.broadcast import Advert
from drivers.errors import BadFrame, Timeout
from firmware_sim.ble.sensors import KEY, RuuviAir, SealedBthome
from firmware_sim.world import World

ADDRESS = "AA:BB:CC:DD:EE:FF"
WORLD = World(seed=3, origin_s=0)


def advertisement(advert: Advert, at_s: float) -> Advertisement:
    return Advertisement(advert, int(at_s * 1e9))


def heard(data: str, at_s: float, codec: str = "ruuvi") -> Advertisement:
    value = bytes.fromhex(data)
    makers = {ruuvi.COMPANY: value} if codec == "ruuvi" else {}
    services = {"bthome": {bthome.SERVICE: value}, "mibeacon": {mibeacon.SERVICE: value}}.get(codec, {})
    return advertisement(Advert(makers, services, ADDRESS), at_s)


def tag(sequence: int) -> str:
    return f"0512fc5394c37c0004fffc040cac3642{sequence:04x}cbb8334c884f"


def taken(driver: BleAdvertisementDriver, *advertisements: Advertisement) -> list[Observation]:
    return [one for one in map(driver._observe, advertisements) if one is not None]


def observed(codec: str, spacing_s: float | None, *advertisements: Advertisement) -> list[float]:
    driver = BleAdvertisementDriver(BleBus("radio"), ADDRESS, codec, 30.0, spacing_s)
    return [one.mono_ns / 1e9 for one in taken(driver, *advertisements)]


def test_one_measurement_sent_several_times_counts_once() -> None:
    assert observed("ruuvi", None, heard(tag(7), 0), heard(tag(7), 0.1), heard(tag(8), 1), heard(tag(8), 1.1)) == [0, 1]
    frames = [heard(f"4000{number:02x}02ca09", at, "bthome") for number, at in ((255, 0), (255, 1), (0, 2))]
    assert observed("bthome", None, *frames) == [0, 2]


def test_the_same_count_after_a_long_silence_is_a_new_measurement() -> None:
    assert observed("ruuvi", None, heard(tag(7), 1), heard(tag(7), 20), heard(tag(7), 45), heard(tag(7), 80)) == [1, 80]


def test_without_a_sequence_number_everything_counts() -> None:
    assert observed("bthome", None, *[heard("4002ca09", at, "bthome") for at in (0, 1, 2)]) == [0, 1, 2]


def test_spacing_counts_from_the_last_observation() -> None:
    assert observed("ruuvi", 2.5, *[heard(tag(number), number) for number in range(7)]) == [0, 3, 6]


def test_spacing_counts_for_each_kind_of_frame() -> None:
    temperature, battery = "4030aa01{:02x}0410 02ec00", "4030aa01{:02x}0a10 0157"
    frames = [heard((battery if number % 2 else temperature).format(number), number, "mibeacon") for number in range(9)]
    assert observed("mibeacon", 3.5, *frames) == [0, 1, 4, 5, 8]


def test_what_says_nothing_is_no_observation() -> None:
    assert observed("bthome", None, heard("40000f", 0, "bthome"), heard("403a00", 1, "bthome")) == []
    assert observed("ruuvi", None, heard("4002ca09", 0, "bthome")) == []


def test_the_better_of_two_forms_counts() -> None:
    air = RuuviAir("air", ADDRESS, WORLD, "classroom", 1.0)
    frames = [advertisement(parse(air.advertisement(100.0, number), ADDRESS), number) for number in range(1, 8)]
    driver = BleAdvertisementDriver(BleBus("radio"), ADDRESS, "ruuvi", 5.0)
    found = taken(driver, *frames)
    assert [one.mono_ns // 10**9 for one in found] == [1, 2, 4, 6]  # the first is of the poorer form
    assert {"pm1", "pm10"} <= {measured.quantity for measured in found[1].measurements}
    assert driver.passed["poorer"] == 3
    alone = [advertisement(frames[0].advert, 20.0)]  # the receiver does not hear the better one any longer
    assert len(taken(driver, *alone)) == 1


def test_a_measurement_is_dated_by_the_age_that_the_sensor_states() -> None:
    data = bytes.fromhex("210503010005000143049f018b27350c023c00100055")
    driver = BleAdvertisementDriver(BleBus("radio"), ADDRESS, "aranet", 300.0)
    (found,) = taken(driver, advertisement(Advert({0x0702: data}), 1000.0))
    assert found.mono_ns == 984 * 10**9


def sealed(counter: int, at_s: float) -> Advertisement:
    sensor = SealedBthome("co2", ADDRESS, WORLD, "classroom", 1.0)
    return advertisement(parse(sensor.advertisement(100.0, counter), ADDRESS), at_s)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEY.hex() + "\n")
    return path


def keyed(key: bytes, silence_s: float = 30.0) -> BleAdvertisementDriver:
    driver = BleAdvertisementDriver(BleBus("radio"), ADDRESS, "bthome", silence_s)
    driver._key = key
    return driver


def test_a_count_that_does_not_rise_is_a_replay() -> None:
    driver = keyed(KEY)
    frames = [sealed(10, 1), sealed(11, 2), sealed(10, 3), sealed(11, 4), sealed(12, 5), sealed(5, 6)]
    assert [one.mono_ns // 10**9 for one in taken(driver, *frames)] == [1, 2, 5]
    assert driver.passed == {"repeated": 1, "early": 0, "poorer": 0, "replayed": 2, "damaged": 0}


def test_a_sensor_with_a_new_battery_counts_from_the_start() -> None:
    driver = keyed(KEY)
    assert len(taken(driver, sealed(500, 1), sealed(1, 20))) == 1
    assert len(taken(driver, sealed(2, 40), sealed(3, 41))) == 2
    assert taken(driver, sealed(3, 100)) == []  # but the very last frame, repeated later, stays what it is


@pytest.mark.parametrize(("key", "says"), [(b"", "key_file"), (bytes(16), "not the one")])
def test_encrypted_without_the_right_key_is_for_a_human(key: bytes, says: str) -> None:
    with pytest.raises(BadKey, match=says) as caught:
        taken(keyed(key), sealed(1, 1))
    assert "key_file" in caught.value.fix and ADDRESS in str(caught.value)


def test_a_damaged_frame_of_a_sensor_whose_key_fits_is_passed_over() -> None:
    driver = keyed(KEY)
    broken = heard("41" + "00" * 14, 2, "bthome")
    assert len(taken(driver, sealed(1, 1), broken, sealed(2, 3))) == 2
    assert driver.passed["damaged"] == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "No such file"), ("", "hexadecimal"), ("xyz", "hexadecimal"), ("00" * 15, "32"), ("0x" + "0" * 30, "32")],
)
async def test_a_key_file_that_holds_no_key(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "secret"
    if text is not None:
        path.write_text(text)
    made = ble.make_advertisement_driver(
        template.load("bthome-thermometer"), BleBus("radio"), ADDRESS, None, {"key_file": str(path)}
    )
    with pytest.raises(BadKey, match=says) as caught:
        await made.read()
    assert not text or text not in str(caught.value)


def test_a_key_file_is_read_with_its_line_end(key_file: Path) -> None:
    assert ble.read_key(key_file) == KEY


async def test_nothing_but_damaged_frames_is_a_bad_frame_and_nothing_at_all_a_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def opened(self: BleBus) -> None:
        """There is no adapter here."""

    monkeypatch.setattr(BleBus, "open", opened)
    bus = BleBus("radio")
    driver = BleAdvertisementDriver(bus, ADDRESS, "ruuvi", 0.05)
    with pytest.raises(Timeout):
        await driver.read()
    hear(bus, ADDRESS, {ruuvi.COMPANY: b"\x05damaged"})
    with pytest.raises(BadFrame, match="format 0x5"):
        await driver.read()
    hear(bus, ADDRESS, {ruuvi.COMPANY: bytes.fromhex(tag(1))})
    hear(bus, ADDRESS, {ruuvi.COMPANY: bytes.fromhex(tag(2))})
    assert len(await driver.read()) == 2
    await driver.close()


def hear(bus: BleBus, address: str, makers: dict[int, bytes], name: str = "") -> None:
    path = f"/org/bluez/hci0/dev_{address.replace(':', '_')}"
    bus._hear(path, {"Address": address, "Name": name, "RSSI": -60, "ManufacturerData": makers})


def test_only_those_listened_to_are_handed_on_and_a_flood_of_one_is_bounded() -> None:
    bus = BleBus("radio")
    inbox = bus.listen(ADDRESS)
    began = time.monotonic()
    for number in range(3000):
        hear(bus, ADDRESS, {ruuvi.COMPANY: bytes.fromhex(tag(number))})
        hear(bus, "AA:BB:CC:00:00:01", {76: b"x"})
    room = ble_inbox.SENDER_PER_S_MAX * (2 + time.monotonic() - began)
    assert bus.heard == 6000
    assert 3000 - room <= bus.flooded < 3000
    assert inbox.dropped == 3000 - bus.flooded - ble_inbox.INBOX_MAX
    assert passed_over(bus) == {"flooded": bus.flooded}
    before = bus.flooded
    bus.unlisten(ADDRESS, inbox)
    bus.unlisten(ADDRESS, inbox)
    assert bus.flooded == before


def test_a_budget_fills_up_again() -> None:
    budget, now_ns = Budget(10), time.monotonic_ns()
    assert sum(budget.take(now_ns) for _ in range(25)) == 10
    assert sum(budget.take(now_ns + 500_000_000) for _ in range(25)) == 5
    assert budget.refused == 35


async def test_a_scan_lists_a_bounded_number_of_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    async def opened(self: BleBus) -> None:
        for number in range(3 * ble_adapter.SENDERS_MAX):
            hear(self, f"C0:00:00:00:{number >> 8:02X}:{number & 255:02X}", {76: b"x"})
        hear(self, "C0:00:00:00:00:00", {ruuvi.COMPANY: bytes.fromhex(tag(1))})

    monkeypatch.setattr(BleBus, "open", opened)
    found = await BleBus("radio").scan(0)
    assert len(found) == ble_adapter.SENDERS_MAX
    assert [one.address for one in found if one.could_be == ("ruuvi-ruuvitag",)] == ["C0:00:00:00:00:00"]


def test_a_full_inbox_drops_the_oldest_and_counts() -> None:
    inbox = BleBus("radio").listen(ADDRESS)
    for number in range(ble_inbox.INBOX_MAX + 8):
        inbox.put(heard(tag(number), number))
    first = inbox.next()
    assert inbox.dropped == 8
    assert first is not None and first.mono_ns == 8 * 10**9


def test_a_captured_advertisement_is_made_of_ad_structures() -> None:
    long_uuid = "1fe7faf9-ce63-4236-0004-000000000001"
    frame = advertisement_frame(
        Advert({0x0499: b"\x05\x06"}, {bthome.SERVICE: b"\x40", long_uuid: b"\x09"}, ADDRESS, "tag", rssi=-70)
    )
    assert frame[:8] == b"\x01\xaa\xbb\xcc\xdd\xee\xff\xba"
    advert = parse(frame[8:])
    assert advert.manufacturer == {0x0499: b"\x05\x06"}
    assert advert.services == {bthome.SERVICE: b"\x40", long_uuid: b"\x09"}
    assert advert.name == "tag"


def test_passive_scanning_lets_every_codec_through() -> None:
    """At most 16 patterns, and one matches each template's frames that need no active scanning."""
    assert len(advertising.PATTERNS) <= 16
    for name in template.names():
        known = template.load(name)
        if known.protocol != "ble-adv" or known.codec in advertising.ACTIVE or known.codec == "bike":
            continue
        for example in known.frames:
            assert any(struct.pack("B", kind) + start in example.answer for kind, start in advertising.PATTERNS), name


@pytest.mark.parametrize(
    ("advert", "expected"),
    [
        (Advert({ruuvi.COMPANY: b"\x06"}), ("ruuvi-air",)),
        (Advert({ruuvi.COMPANY: b"\x05"}), ("ruuvi-ruuvitag",)),
        (Advert({ruuvi.COMPANY: b""}), ("ruuvi-ruuvitag",)),
        (Advert({0x0702: bytes.fromhex("210a0400000000")}), ("aranet-aranet4",)),
        (Advert({0x0702: bytes.fromhex("03210a040000000000")}), ("aranet-radon-plus",)),
        (Advert({0x0702: b""}), ()),
        (Advert({0x0334: struct.pack("<IH", 2950012345, 1)}), ("airthings-wave-2",)),
        (Advert({0x0334: b""}), ()),
        (Advert({}, {mibeacon.SERVICE: bytes.fromhex("5858e4162c84535638c1a4")}), ("xiaomi-lywsd03mmc",)),
        (Advert({}, {mibeacon.SERVICE: b""}), ("xiaomi-mibeacon",)),
        (Advert({76: b"1"}), ()),
    ],
)
def test_templates_that_an_advertisement_may_fit(advert: Advert, expected: tuple[str, ...]) -> None:
    assert advertising.could_be(advert) == expected


def test_templates_that_a_scan_may_name_are_there() -> None:
    named = {name for names in advertising._OF_CODEC.values() for name in names}
    named |= {name for names in (advertising._ARANETS | advertising._AIRTHINGS).values() for name in names}
    named |= {*advertising._XIAOMIS.values(), *advertising._QINGPINGS.values(), *advertising._CONNECTED.values()}
    assert {*named, "ruuvi-air", "aranet-aranet4", "xiaomi-mibeacon", "qingping-thermometer"} <= set(template.names())


def test_options(tmp_path: Path) -> None:
    def make(**options: Any) -> object:
        return ble.make_advertisement_driver(template.load("atc-thermometer"), BleBus("r"), ADDRESS, None, options)

    assert make(key_file=tmp_path / "k")
    with pytest.raises(ValueError, match="key_file"):
        make(key="00" * 16)


async def test_a_bus_that_hears_again_says_so(caplog: pytest.LogCaptureFixture) -> None:
    bus = BleBus("radio")
    bus._ladder.next(0.0, deaf=True, linked=False)
    with caplog.at_level(logging.WARNING):
        hear(bus, ADDRESS, {})
        hear(bus, ADDRESS, {})
    assert [record.getMessage() for record in caplog.records] == ["Bluetooth hci0: hears again"]
    await asyncio.sleep(0)
