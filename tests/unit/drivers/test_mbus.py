"""M-Bus frames, records and paths: what the standard says of each, and nothing but BadFrame for the rest."""

from __future__ import annotations

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import registry
from drivers.base import Measurement
from drivers.buses.mbus_device import address_of
from drivers.codecs import mbus, mbus_records
from drivers.codecs import mbus_quantities as quantities
from drivers.codecs.framing import NO_HINTS
from drivers.codecs.mbus_records import Header, Record, Value
from drivers.errors import BadFrame, Misconfigured
from drivers.template import Field, Template
from firmware_sim.devices import mbus as device
from firmware_sim.electricity import Snapshot

WHO = device.Identity("12345678", "KAM", 8, 4)
HEAT = device.heat_records(37_351, 561_080, 34_700, 543, 101.6, 46.1)
TEMPLATE = Template("m", "meter", "Lamppost", "M", "mbus", "Device", "manual")


def answer(records: bytes, who: device.Identity = WHO, ci: int = 0x72, status: int = 0, configured: int = 0) -> bytes:
    head = who.sent() + bytes([9, status, configured & 0xFF, configured >> 8])
    return mbus.long_frame(0x08, 5, ci, (head if ci == 0x72 else b"") + records)


def records(data: bytes) -> tuple[Record, ...]:
    return mbus.decode(answer(data)).records


def value(data: bytes) -> Value:
    (record,) = records(data)
    return record.value


def found(data: bytes, who: device.Identity = WHO, *fields: Field) -> dict[str, object]:
    telegram = mbus.decode(answer(data, who))
    return {m.quantity: m.value for m in quantities.measurements(telegram.header, telegram.records, fields)}


def test_frames_of_the_link_layer() -> None:
    assert mbus.short_frame(0x40, 5) == bytes.fromhex("1040054516")
    assert mbus.long_frame(0x53, 253, 0x52, b"\x01") == bytes.fromhex("6804046853fd5201a316")
    assert mbus.unframed(answer(b"")).address == 5
    assert [mbus.frame_size(answer(b"")[:n]) for n in (0, 1, 3, 4, 9)] == [None, None, None, 21, 21]
    assert [mbus.frame_size(bytes.fromhex(text)) for text in ("e5", "6805", "680506", "68050569", "68020268")] == [
        *(0, None, 0, 0, 0),
    ]


def test_header() -> None:
    header = mbus.decode(answer(b"", status=0x14)).header
    assert header == Header("12345678", "KAM", 8, 4, 9, 0x14)
    assert mbus_records.identity(header) == "123456782d2c0804"
    assert mbus_records.fits(header, "12345678ffffffff")
    assert mbus_records.fits(header, "1fffffff2d2c0804")
    assert not mbus_records.fits(header, "22345678ffffffff")
    assert quantities.measurements(header, ()) == (Measurement("meter_status", "power low, temporary error"),)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x01\x06\x7f", Decimal(127_000)),
        (b"\x01\x06\x80", None),  # the least number is none
        (b"\x02\x06\xff\xff", Decimal(-1000)),
        (b"\x03\x03\x10\x27\x00", Decimal(10_000)),
        (b"\x06\x03\x00\x00\x00\x00\x01\x00", Decimal(2**32)),
        (b"\x07\x03" + (2**40).to_bytes(8, "little"), Decimal(2**40)),
        (b"\x05\x5b\x00\x00\xc8\x41", Decimal(25)),
        (b"\x05\x5b\x00\x00\xc0\x7f", None),  # NaN
        (b"\x0a\x5a\x05\x02", Decimal("20.5")),
        (b"\x0a\x5a\x05\xf2", Decimal("-20.5")),
        (b"\x0a\x5a\x05\xb2", None),  # letters for digits
        (b"\x0c\x13\x01\x00\x00\x00", Decimal("0.001")),
        (b"\x0e\x13\x89\x67\x45\x23\x01\x00", Decimal("123456.789")),
        (b"\x0d\x06\xc2\x34\x12", Decimal(1_234_000)),
        (b"\x0d\x06\xd2\x34\x12", Decimal(-1_234_000)),
        (b"\x0d\x06\xe2\x00\x01", Decimal(256_000)),
        (b"\x0d\xfd\x0b\x03CBA", "ABC"),
        (b"\x0d\xfd\x0b\x02A\x01", None),  # a text with control characters is none
        (b"\x00\x06", None),
        (b"\x02\xfd\x48\x05\x09", Decimal("230.9")),  # 2309 x 0.1 V
        (b"\x04\xfd\x59\x10\x00\x00\x00", Decimal("0.016")),  # 16 mA
        (b"\x04\xfb\x00\x08\x00\x00\x00", Decimal(800_000)),  # 8 x 0.1 MWh
        (b"\x04\xfb\x09\x02\x00\x00\x00", Decimal(2_000_000_000)),  # 2 GJ
        (b"\x02\x40\x01\x00", Decimal("0.000006")),  # 1e-7 m3 a minute, in m3 an hour
        (b"\x02\x48\x01\x00", Decimal("0.0000036")),
        (b"\x02\x86\x72\x05\x00", Decimal("0.5")),  # energy in kWh x 10^-4
        (b"\x02\x86\x7d\x05\x00", Decimal(5_000_000)),
        (b"\x02\x86\x15\x05\x00", None),  # the meter says: no data
        (b"\x02\xfc\x03HR%\x74\xd4\x11", Decimal("45.64")),
        (b"\x42\x6c\xbf\x1c", "2013-12-31"),
        (b"\x02\x6c\x00\x00", None),
        (b"\x04\x6d\x17\x2e\xcc\x13", "2014-03-12T14:23:00"),
        (b"\x04\x6d\x97\x2e\xcc\x13", None),  # marked as not valid
        (b"\x06\x6d\x1e\x17\x2e\xcc\x13\x00", "2014-03-12T14:23:30"),
    ],
)
def test_values(data: bytes, expected: Value) -> None:
    got = value(data)
    assert got == expected
    assert type(got) is type(expected)


def test_storage_tariff_subunit_and_function() -> None:
    (record,) = records(b"\xd4\xf2\x41\x06\x01\x00\x00\x00")
    assert record.function == "max"
    assert record.storage == 1 + (2 << 1) + (1 << 5)
    assert record.tariff == 3
    assert record.subunit == 1 + 2
    assert [r.function for r in records(b"\x01\x06\x01\x11\x06\x01\x21\x06\x01\x31\x06\x01")] == [
        *("now", "max", "min", "error")
    ]


def test_filler_and_data_of_the_maker() -> None:
    telegram = mbus.decode(answer(b"\x2f\x2f\x01\x06\x05\x2f\x0f\x01\x02\xff"))
    assert (len(telegram.records), telegram.more) == (1, False)
    first, second = answer(b"\x01\x06\x05\x1f"), answer(b"\x01\x5b\x15")
    assert mbus.decode(first).more
    both = mbus.decode(first + second)
    assert ([r.meaning.name for r in both.records], both.more) == (["energy", "flow_temperature"], False)


@pytest.mark.parametrize(
    "data",
    [
        b"\x04\x06\x01\x00\x00",  # cut
        b"\x04",
        b"\x84",
        b"\x84" + b"\x80" * 11 + b"\x00\x06\x00\x00\x00\x00",  # more than 10 DIFE
        b"\x04" + b"\x86" + b"\x80" * 11 + b"\x00\x00\x00\x00\x00",
        b"\x04\xfd",
        b"\x02\x7c\xf3HR%\x01\x02",
        b"\x0d\x06\x05\x01",
        b"\x0d\x06\xf5\x01",
        b"\x0d\x06",
        b"\x3f\x06",
        b"\x7f",
    ],
)
def test_records_that_are_not_whole(data: bytes) -> None:
    with pytest.raises(BadFrame):
        records(data)


@pytest.mark.parametrize(
    ("frame", "cause"),
    [
        (mbus.long_frame(0x08, 5, 0x70, b"\x03"), "too many records"),
        (mbus.long_frame(0x08, 5, 0x70, b"\x44"), "error 68"),
        (mbus.long_frame(0x53, 5, 0x72, bytes(12)), "no answer of a meter"),
        (mbus.long_frame(0x08, 5, 0x7B, bytes(12)), "kind that is not known"),
        (mbus.long_frame(0x08, 5, 0x72, bytes(11)), "within its header"),
        (mbus.long_frame(0x08, 5, 0x73, bytes(15)), "16 bytes"),
        (answer(b"\x01\x06\x05", configured=0x0510), "encrypts"),
        (b"\xe5", "not one whole"),
    ],
)
def test_other_frames_are_refused(frame: bytes, cause: str) -> None:
    with pytest.raises(BadFrame, match=cause):
        mbus.decode_frame(frame, NO_HINTS)


def test_fixed_data() -> None:
    data = bytes.fromhex("78563412 0a00 056c 31650000 69000000")
    telegram = mbus.decode(mbus.long_frame(0x08, 5, 0x73, data))
    assert telegram.header == Header("12345678", medium=4, access=10, status=0)
    assert {m.quantity: m.value for m in quantities.measurements(telegram.header, telegram.records)} == {
        "heat_energy_total": 6531.0,
        "volume_total": 69.0,
        "meter_status": "ok",
    }
    binary = data[:5] + b"\x01" + data[6:]
    first = mbus.decode(mbus.long_frame(0x08, 5, 0x73, binary)).records[0]
    assert first.value == 0x6531 * 1000
    stored = data[:5] + b"\x02" + data[6:]
    assert {r.storage for r in mbus.decode(mbus.long_frame(0x08, 5, 0x73, stored)).records} == {1}


def test_records_without_a_header() -> None:
    frame = mbus.long_frame(0x08, 5, 0x78, b"\x0c\x13\x01\x00\x00\x00")
    assert mbus.decode_frame(frame, NO_HINTS) == (Measurement("volume_total", 0.001),)


def test_medium_decides_what_is_meant() -> None:
    data = b"\x0c\x06\x51\x73\x03\x00\x0c\x13\x80\x10\x56\x00\x02\x2d\x05\x00"
    expected: dict[int, set[str]] = {
        0x02: {"energy_import_total", "volume_total", "active_power_total"},
        0x03: {"gas_volume_total"},
        0x04: {"heat_energy_total", "volume_total", "heat_power"},
        0x0A: {"cooling_energy_total", "volume_total", "heat_power"},
        0x07: {"water_volume_total"},
        0x00: {"volume_total"},
    }
    for medium, names in expected.items():
        assert set(found(data, device.Identity("1" * 8, "ABC", 1, medium))) == {*names, "meter_status"}


def test_only_what_is_current_counts() -> None:
    assert found(b"\x42\x5b\x01\x00\x12\x5b\x02\x00\x32\x5b\x03\x00\x82\x10\x5b\x04\x00\x82\x40\x5b\x05\x00") == {
        "meter_status": "ok"
    }
    assert found(b"\x02\x5b\x01\x00\x02\x5b\x02\x00")["flow_temperature"] == 1.0
    assert found(b"\x02\x86\x3b\x01\x00\x02\x86\x3c\x02\x00")["heat_energy_total"] == 1.0
    electricity = device.Identity("1" * 8, "ABC", 1, 2)
    both = found(b"\x02\x86\x3b\x01\x00\x02\x86\x3c\x02\x00\x82\x10\x06\x03\x00", electricity)
    assert {key: both[key] for key in both if key.startswith("energy")} == {
        "energy_import_total": 1.0,
        "energy_export_total": 2.0,
        "energy_import_t1": 3.0,
    }


def test_heat_meter() -> None:
    assert found(HEAT) == {
        "heat_energy_total": 37_351.0,
        "volume_total": 561.08,
        "heat_power": 34_700.0,
        "flow_rate": 0.543,
        "flow_temperature": 101.6,
        "return_temperature": 46.1,
        "temperature_difference": 55.5,
        "meter_status": "ok",
    }


def test_phases_of_makers_that_mark_them() -> None:
    shot = Snapshot(volts=(231.4, 229.9, 230.5), amps=(2.5, 9.7, 0.4), watts=(-512.0, 2211.0, 80.0))
    data = device.electricity_records(shot)
    emu = found(data, device.Identity("1" * 8, "EMU", 16, 2))
    assert [emu[f"voltage_l{n}"] for n in (1, 2, 3)] == [231.4, 229.9, 230.5]
    assert [emu[f"current_l{n}"] for n in (1, 2, 3)] == [2.5, 9.7, 0.4]
    assert [emu[f"active_power_l{n}"] for n in (1, 2, 3)] == [-512.0, 2211.0, 80.0]
    assert emu["active_power_total"] == 1779.0
    assert set(found(data, device.Identity("1" * 8, "XYZ", 16, 2))) == {
        *("energy_import_total", "active_power_total", "meter_status")
    }


def test_fields_select_by_path() -> None:
    data = (
        b"\x02\xfd\x48\xfc\x08\x82\x40\xfd\x48\xfd\x08\x42\x06\x07\x00\x12\x5b\x63\x00\x02\x7f\x09\x00"
        b"\x01\xff\x13\x04\x02\xfd\x17\x05\x00\x0d\xfd\x0e\x03321"
    )
    fields = (
        Field("voltage_l2", "voltage,subunit=1"),
        Field("heat_energy_heating", "energy,storage=1"),
        Field("flow_temperature", "flow_temperature,function=max"),
        Field("count", "vif:7f", scale=2, offset=1),
        Field("alarm_status", "maker,maker=13", map={"4": "open"}),
        Field("serial_number", "header:serial"),
        Field("firmware_version", "firmware_version"),
        Field("hdop", "voltage,nth=2"),
        Field("co2", "voltage,subunit=9"),
    )
    assert found(data, WHO, *fields) == {
        "voltage_l2": 230.1,
        "heat_energy_heating": 7.0,
        "flow_temperature": 99.0,
        "count": 19.0,
        "alarm_status": "open",
        "serial_number": "12345678",
        "firmware_version": "123",
        "error_status": "0x5",
        "meter_status": "ok",
    }


@pytest.mark.parametrize("path", ["", "energy,storage", "energy,colour=1", "energy,storage=x", "energy,function=mean"])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        quantities.Path.parse(path)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        *((0, 0), (250, 250), ("17", 17), ("12345678", "12345678ffffffff")),
        *(("12345678ABCD0F07", "12345678abcd0f07"), ("0500023e", "0500023effffffff")),
    ],
)
def test_addresses(address: int | str, expected: int | str) -> None:
    assert address_of(address) == expected


@pytest.mark.parametrize("address", [None, 251, -1, 12_345_678, "1234567f", "123456789", "x"])
def test_addresses_that_are_none(address: int | str | None) -> None:
    with pytest.raises(ValueError, match="M-Bus address"):
        address_of(address)


@pytest.mark.parametrize(
    ("options", "bus", "cause"),
    [
        ({"medium": "oil"}, "mbus", "option medium"),
        ({"colour": "red"}, "mbus", "unknown option"),
        ({}, "serial", "bus of type mbus"),
    ],
)
def test_options(options: dict[str, str], bus: str, cause: str) -> None:
    made = registry.make_bus("b", {"type": bus, "port": "/dev/none"})
    with pytest.raises(Misconfigured, match=cause):
        registry.make_driver(TEMPLATE, made, 5, None, options)


@given(st.binary(max_size=240))
def test_nothing_but_bad_frame(data: bytes) -> None:
    for frame in (data, answer(data), mbus.long_frame(0x08, 1, 0x73, data), mbus.long_frame(0x08, 1, 0x78, data)):
        with contextlib.suppress(BadFrame):
            mbus.decode_frame(frame, NO_HINTS)


@given(st.integers(0, len(answer(HEAT)) - 1), st.integers(1, 255))
def test_one_changed_byte_is_never_a_value(at: int, change: int) -> None:
    frame = bytearray(answer(HEAT))
    frame[at] ^= change
    with pytest.raises(BadFrame):
        mbus.decode_frame(bytes(frame), NO_HINTS)
    with pytest.raises(BadFrame):
        mbus.decode_frame(bytes(frame[:at]), NO_HINTS)


@given(st.integers(1 - 10**7, 10**8 - 1))
def test_decimals_come_back(number: int) -> None:
    assert value(b"\x0c\x03" + device.bcd(number, 8)) == number
