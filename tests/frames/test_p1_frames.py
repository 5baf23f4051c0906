"""Captured P1 telegrams, where the collection is."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drivers.codecs import d0, p1
from drivers.codecs.framing import NO_HINTS
from drivers.errors import BadFrame

FILE = Path(__file__).parents[2] / "../shared/data/frames/dsmr_p1.json"
ITEMS: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else []
pytestmark = pytest.mark.skipif(not ITEMS, reason="the collection of captured frames is not here")

KILO = 1000.0
NAMES: dict[str, tuple[str, float]] = {
    **{
        f"{theirs}_TARIFF_{n}": (f"{ours}_t{n}", 1)
        for theirs, ours in (("ELECTRICITY_USED", "energy_import"), ("ELECTRICITY_DELIVERED", "energy_export"))
        for n in range(1, 5)
    },
    **{
        f"{theirs}_L{n}": (f"{ours}_l{n}", 1)
        for theirs, ours in (
            ("INSTANTANEOUS_VOLTAGE", "voltage"),
            ("INSTANTANEOUS_CURRENT", "current"),
            ("INSTANTANEOUS_POWER_FACTOR", "power_factor"),
        )
        for n in (1, 2, 3)
    },
    **{
        f"VOLTAGE_{what}_L{n}_COUNT": (f"voltage_{what.lower()}s_l{n}", 1)
        for what in ("SAG", "SWELL")
        for n in (1, 2, 3)
    },
    **{f"ELECTRICITY_REACTIVE_TOTAL_Q{n}": (f"reactive_energy_q{n}", 1) for n in range(1, 5)},
    "ELECTRICITY_IMPORTED_TOTAL": ("energy_import_total", 1),
    "ELECTRICITY_EXPORTED_TOTAL": ("energy_export_total", 1),
    "ELECTRICITY_REACTIVE_IMPORTED_TOTAL": ("reactive_energy_import_total", 1),
    "ELECTRICITY_REACTIVE_EXPORTED_TOTAL": ("reactive_energy_export_total", 1),
    "ELECTRICITY_COMBINED": ("energy_sum_total", 1),
    "INSTANTANEOUS_POWER_FACTOR_TOTAL": ("power_factor_total", 1),
    "FREQUENCY": ("frequency", 1),
    "SHORT_POWER_FAILURE_COUNT": ("power_failures", 1),
    "LONG_POWER_FAILURE_COUNT": ("power_failures_long", 1),
    "BELGIUM_CURRENT_AVERAGE_DEMAND": ("active_power_import_avg", KILO),
    "BELGIUM_MAXIMUM_DEMAND_MONTH": ("active_power_import_peak", KILO),
}
# What a telegram says that is no quantity of ours: identifiers, texts, logs and settings.
LEFT_OUT = ("IDENTIFIER", "SERIAL", "LOG", "TEXT_MESSAGE", "NAME", "THRESHOLD", "TRESHOLD", "HEADER", "MBUS_DEVICES")
# Our reading of it is another one, with the reason; checked in a test of its own below.
OTHERWISE = ("POWER_L", "CURRENT_ELECTRICITY", "REACTIVE_POWER_Q", "TARIFF", "TIMESTAMP", "SWITCH")


def values(item: dict[str, Any]) -> dict[str, Any]:
    return {m.quantity: m.value for m in p1.decode_frame(item["text"].encode(), NO_HINTS)}


def plain(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in items if "esy5q3d" not in item["id"]]  # those are telegrams of German D0 meters


@pytest.mark.parametrize("item", plain(ITEMS), ids=lambda item: item["id"])
def test_every_number_of_the_telegram(item: dict[str, Any]) -> None:
    found = values(item)
    for theirs, stated in (item.get("expected") or {}).items():
        if theirs in NAMES:
            ours, factor = NAMES[theirs]
            assert found[ours] == pytest.approx(float(stated[0]) * factor), theirs
        else:
            assert any(word in theirs for word in (*LEFT_OUT, *OTHERWISE)), theirs


@pytest.mark.parametrize("item", plain(ITEMS), ids=lambda item: item["id"])
def test_power_is_what_is_drawn_less_what_is_given(item: dict[str, Any]) -> None:
    expected = {key: stated[0] for key, stated in (item.get("expected") or {}).items()}
    found = values(item)
    if "CURRENT_ELECTRICITY_USAGE" in expected:
        net = float(expected["CURRENT_ELECTRICITY_USAGE"]) - float(expected["CURRENT_ELECTRICITY_DELIVERY"])
        assert found["active_power_total"] == pytest.approx(KILO * net)
    for n in (1, 2, 3):
        stem = f"INSTANTANEOUS_ACTIVE_POWER_L{n}"
        if f"{stem}_POSITIVE" in expected:
            net = float(expected[f"{stem}_POSITIVE"]) - float(expected.get(f"{stem}_NEGATIVE", 0))
            assert found[f"active_power_l{n}"] == pytest.approx(KILO * net)
    if "INSTANTANEOUS_REACTIVE_POWER_Q1" in expected:
        q1, q2, q3, q4 = (float(expected[f"INSTANTANEOUS_REACTIVE_POWER_Q{n}"]) for n in range(1, 5))
        assert found["reactive_power_total"] == pytest.approx(KILO * (q1 + q2 - q3 - q4))
    if "ELECTRICITY_ACTIVE_TARIFF" in expected:
        assert found["tariff"] == str(int(expected["ELECTRICITY_ACTIVE_TARIFF"]))


@pytest.mark.parametrize("item", plain(ITEMS), ids=lambda item: item["id"])
def test_time_of_the_telegram(item: dict[str, Any]) -> None:
    expected = (item.get("expected") or {}).get("P1_MESSAGE_TIMESTAMP")
    told = p1.decode(item["text"].encode(), zone=ZoneInfo("Europe/Amsterdam")).device_ns
    if "iskra_ie" in item["id"]:
        assert told is None  # it says summer time in February: no clock to be believed
    elif expected:
        assert told == int(datetime.fromisoformat(expected[0]).timestamp()) * 10**9


@pytest.mark.parametrize("item", plain(ITEMS), ids=lambda item: item["id"])
def test_meters_behind_the_meter(item: dict[str, Any]) -> None:
    text = item["text"]
    found = values(item)
    if ("24.2." in text and "*m3)" in text) or "(m3)" in text:
        assert {"gas_volume_total", "water_volume_total"} & set(found)
    if item["id"] == "dsmr_v5_two_mbus":
        assert found["gas_volume_total"] == 246.138  # channel 1 never had a value: 1970, no unit
    if item["id"] == "dsmr_v2_2":
        assert found["gas_volume_total"] == 1.001


def test_austrian_telegram_in_watt_hours() -> None:
    """No expectation comes with it: the numbers as they stand in the text."""
    found = [values(item) for item in ITEMS if "sagemcom_t210" in item["id"]]
    for one in found:
        assert one["energy_import_total"] == 6545.766
        assert one["energy_import_t1"] == 5017.12
        assert one["energy_export_total"] == 0.058
        assert one["reactive_energy_export_total"] == 3897.726
        assert one["active_power_total"] == 286.0
        assert one["reactive_power_total"] == -166.0


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item["id"])
def test_no_telegram_passes_for_one_of_the_other_kind(item: dict[str, Any]) -> None:
    other = p1 if item not in plain(ITEMS) else d0
    if "v2" in item["id"] or ("v3" in item["id"] and other is d0):
        return  # without a CRC the two differ in nothing: P1 finds more in it, and is taken
    with pytest.raises(BadFrame):
        other.decode_frame(item["text"].encode(), NO_HINTS)


@pytest.mark.parametrize("item", plain(ITEMS), ids=lambda item: item["id"])
def test_any_changed_digit_is_refused(item: dict[str, Any]) -> None:
    text = item["text"].encode()
    if not text.rsplit(b"!", 1)[1].strip():
        pytest.skip("versions 2 and 3 have no checksum")
    for at in range(0, text.rindex(b"!"), 7):
        damaged = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        with pytest.raises(BadFrame):
            p1.decode(damaged)
