"""Captured M-Bus answers, where the collection is: every record against libmbus's reading of it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from drivers.codecs import mbus
from drivers.codecs.framing import NO_HINTS
from drivers.codecs.mbus_records import Record
from drivers.errors import BadFrame

FILE = Path(__file__).parents[2] / "../shared/data/frames/mbus_frames.json"
ITEMS: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else []
GOOD = [item for item in ITEMS if not item["error_frame"]]
BROKEN = [item for item in ITEMS if item["error_frame"]]
pytestmark = pytest.mark.skipif(not ITEMS, reason="the collection of captured frames is not here")

# libmbus's words for our names
NAMES = {
    "energy": "Energy",
    "volume": "Volume",
    "power": "Power",
    "flow": "Volume flow",
    "flow_temperature": "Flow temperature",
    "return_temperature": "Return temperature",
    "temperature_difference": "Temperature difference",
    "external_temperature": "External temperature",
    "on_time": "On time",
    "operating_time": "Operating time",
    "averaging_duration": "Averaging Duration",
    "date": "Time point (date)",
    "time": "Time point (date & time)",
    "heat_cost": "H.C.A.",
    "fabrication_number": "Fabrication No",
    "voltage": "Voltage",
    "current": "Current",
    "error_flags": "Error flags",
    "firmware_version": "Firmware version",
    "software_version": "Software version",
    "digital_input": "Digital Input",
    "reset_counter": "Reset counter",
    "model": "Model / Version",
    "parameter_set": "Parameter set identification",
    "text:%RH": "%RH",
    "text:bat. time": "bat. time",
    "text:cust. ID": "cust. ID",
    "text:PW": "PW",
    "maker": "Manufacturer specific",
    "other": "Reserved",
}
NO_DATE = "day and month are 0: no date; libmbus prints it all the same"
NO_CLOCK = "the meter marks its clock as not valid, or its month is 0; libmbus prints 1900"
NO_DIGITS = "the digits are letters, in an error state (EN 13757-3, annex A, type A); libmbus reads a number into them"
EXCEPTIONS: dict[tuple[str, int], str] = {
    ("mbus_ACW_Itron-BM-plus-m", 2): NO_DATE,
    ("mbus_siemens_water", 3): NO_DATE,
    ("mbus_REL-Relay-Padpuls2", 1): NO_CLOCK,
    ("mbus_ELS_Elster-F96-Plus", 4): NO_DIGITS,
    ("mbus_ELS_Elster-F96-Plus", 5): NO_DIGITS,
    ("mbus_abb_f95", 2): NO_DIGITS,
    ("mbus_abb_f95", 3): NO_DIGITS,
}


def same(record: Record, stated: str) -> bool:
    value = record.value
    if isinstance(value, Decimal):
        return float(value) == pytest.approx(float(stated), rel=1e-6, abs=1e-6)
    if isinstance(value, bytes):
        return value.hex(" ").upper() == stated
    return value is not None and value == stated.removesuffix("Z")


@pytest.mark.parametrize("item", GOOD, ids=lambda item: item["id"])
def test_every_record(item: dict[str, Any]) -> None:
    telegram = mbus.decode(bytes.fromhex(item["hex"]))
    stated = item["records"]
    if telegram.header.version is None:  # fixed data: the list has other columns
        assert [int(r.value * 1000) for r in telegram.records if isinstance(r.value, Decimal)] == [6_531_000_000, 69]
        return
    assert len(stated) - len(telegram.records) in (0, 1)  # data of the maker behind the records are one to libmbus
    for place, (record, (_, name, text)) in enumerate(zip(telegram.records, stated, strict=False)):
        assert NAMES[record.meaning.name] == name or record.meaning.name == "other"
        assert same(record, text) != ((item["id"], place) in EXCEPTIONS)


@pytest.mark.parametrize("item", GOOD, ids=lambda item: item["id"])
def test_header(item: dict[str, Any]) -> None:
    header, stated = mbus.decode(bytes.fromhex(item["hex"])).header, item["slave"]
    assert header.serial.lstrip("0").upper() == stated["Id"].lstrip("0")
    assert header.access == int(stated["AccessNumber"])
    assert header.maker == stated.get("Manufacturer", "")
    assert f"{header.status:02X}" == stated["Status"]


def test_quantities_of_meters_of_each_kind() -> None:
    found = {
        item["id"]: {m.quantity: m.value for m in mbus.decode_frame(bytes.fromhex(item["hex"]), NO_HINTS)}
        for item in GOOD
    }
    expected: dict[str, dict[str, object]] = {
        "mbus_kamstrup_multical_601": {
            "heat_energy_total": 37_351.0,
            "volume_total": 561.08,
            "on_time": 985.0,
            "flow_temperature": 101.69,
            "return_temperature": 46.16,
            "temperature_difference": 55.53,
            "heat_power": 34_700.0,
            "flow_rate": 0.543,
            "meter_status": "ok",
        },
        "mbus_GWF-MTKcoder": {"water_volume_total": 269.0, "meter_status": "ok"},
        "mbus_sen_pollusonic_2": {"heat_energy_total": 6531.0, "volume_total": 0.069, "meter_status": "ok"},
        "mbus_FIN-Finder-7E.23.8.230.0020": {
            "energy_import_t1": 1728.68,
            "voltage_l1": 230.0,
            "current_l1": 0.6,
            "active_power_l1": 90.0,
            "reactive_power_l1": -30.0,
            "meter_status": "ok",
        },
        "mbus_oms_frame1": {"gas_volume_total": 28_504.27, "error_status": "ok", "meter_status": "ok"},
        "mbus_elv_temp_humid": {"relative_humidity": 45.64, "temperature": 22.56, "meter_status": "ok"},
        "mbus_rel_padpuls3": {"heat_cost_units": 1987.0, "meter_status": "ok"},
    }
    for name, values in expected.items():
        if name in found:
            assert found[name] == values
    # what is stored, least or greatest, or of an error state is never taken for what is now
    assert "heat_power" not in found.get("mbus_ELS_Elster-F96-Plus", {})
    assert found.get("mbus_itron_cf_55", {}).get("flow_temperature") is None


@pytest.mark.parametrize("item", GOOD, ids=lambda item: item["id"])
def test_any_one_changed_byte_is_refused(item: dict[str, Any]) -> None:
    frame = bytes.fromhex(item["hex"])
    for at in range(len(frame)):
        with pytest.raises(BadFrame):
            mbus.decode(frame[:at] + bytes([frame[at] ^ 0x24]) + frame[at + 1 :])
        with pytest.raises(BadFrame):
            mbus.decode(frame[:at])


@pytest.mark.parametrize("item", BROKEN, ids=lambda item: item["id"])
def test_error_frames_are_refused(item: dict[str, Any]) -> None:
    with pytest.raises(BadFrame):
        mbus.decode_frame(bytes.fromhex(item["hex"]), NO_HINTS)
