"""Captured advertisements against our codecs: those in the templates always, the large collection where it is.

Of the collection's expectations those count that are measurements: not what upstream computes from them (a battery's
level from its voltage, and the reverse), nor alarm limits, names, addresses and numbers of packets.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from drivers import template
from drivers.base import Measurement
from drivers.codecs import advertising, aranet, bthome, ruuvi
from drivers.codecs.ad_structures import parse
from drivers.codecs.framing import NO_HINTS, Hints
from drivers.decoding import decode_as, decode_with
from drivers.errors import BadFrame

COLLECTION = Path(__file__).parents[2] / "../shared/data/frames"
SENDER = "54:48:E6:8F:80:A5"  # of all frames of ble_bthome_v2.json
BIND_KEY = "231d39c1d7cc1ab1aee224cd096db932"

SUPPORTED = ("bthome_v2", "ruuvitag", "atc", "xiaomi", "linptech", "MJZNZ018H", "qingping", "govee")
UNSUPPORTED = {
    "sensirion": "not among the families asked for",
    "thermopro": "no identifier of its own: the company number is a part of the temperature",
    "sensorpush": "not among the families asked for",
    "teltonika": "not among the families asked for",
    "inkbird": "no identifier of its own: the company number is the temperature",
    "mikrotik": "not among the families asked for",
    "bparasite": "its own format under the UUID of environmental sensing; its BTHome format is read",
    "airmentor": "not among the families asked for",
    "ibeacon": "carries no measurement; upstream reads one of another vendor into the two identifiers",
}

NAMES = {
    "humidity": "relative_humidity",
    "battery": "battery_level",
    "pm2.5": "pm25",
    "dewpoint": "dew_point",
    "energy": "energy_import_total",
    "power": "active_power_total",
    "voltage": "battery_voltage",
    "tvoc": "voc_mass",
    "moisture": "soil_moisture",
    "door": "opening",
    "temperature probe 1": "probe_temperature_1",
    "temperature probe 2": "probe_temperature_2",
}
SAME = ("temperature", "pressure", "pm10", "co2", "count", "opening", "motion", "illuminance")
NAMES |= {name: name for name in SAME}
COMPUTED = {
    "adv_ruuvitag_ruuvitag_v5": {"battery", "motion", "motion timer", "acceleration"},
    "adv_atc_atc_custom_encrypted": {"voltage"},
}
NO_VALUES = {"firmware", "type", "mac", "packet", "rssi", "tx power", "no motion time", "door action", "key id"}
NO_VALUES |= {"action", "method", "error", "locktype", "remote", "remote single press"}
NO_VALUES |= {f"temperature alarm probe {number}" for number in (1, 2)}
WORDS: dict[str, dict[str, object]] = {
    "adv_bthome_v2_bthome_v2_quadruple_button": {"button_2": "triple_press", "button_3": "press"},
    "adv_xiaomi_Xiaomi_XMMF01JQD": {"button": "rotate_left"},
    "adv_xiaomi_Xiaomi_JTYJGD03MI_press": {"button": "press"},
    "adv_xiaomi_Xiaomi_YLYK01YL": {"button": "press"},
    "adv_xiaomi_Xiaomi_YLKG07YL_press": {"button": "press"},
    "adv_xiaomi_Xiaomi_XMZNMS08LM_lock": {"lock": "unlocked"},
    "adv_xiaomi_MJZNZ018H_double_click": {"button": "double_press"},
}

BTHOME = {
    "TEMPERATURE": "temperature",
    "HUMIDITY": "relative_humidity",
    "PRESSURE": "pressure",
    "ILLUMINANCE": "illuminance",
    "MASS": "mass",
    "BATTERY": "battery_level",
    "PM25": "pm25",
    "PM10": "pm10",
    "CO2": "co2",
    "VOC": "voc_mass",
    "MOISTURE": "soil_moisture",
    "ROTATION": "rotation",
    "DURATION": "duration",
    "CURRENT": "current_l1",
    "UV_INDEX": "uv_index",
    "VOLUME_FLOW_RATE": "flow_rate",
    "GAS": "gas_volume_total",
    "ACCELERATION": "acceleration",
    "CONDUCTIVITY": "soil_conductivity",
    "COUNT": "count",
    "POWER": "active_power_total",
    "LIGHT_LEVEL": "light_level",
    "direction": "wind_direction",
    "precipitation": "precipitation",
    "rotational_speed": "rotational_speed",
    **{f"temperature_{number}": f"temperature_{number}" for number in (2, 3)},
    "temperature_1": "temperature",
    "humidity_1": "relative_humidity",
    "humidity_2": "relative_humidity_2",
}
SCALED = {"SPEED": ("speed", 3.6), "VOLUME": ("volume_total", 0.001)}  # km/h of m/s, m3 of l
BTHOME_NO_VALUES = {"SIGNAL_STRENGTH", "PACKET_ID", "TIMESTAMP", "TEXT"}
BTHOME_REFUSED = {
    "bthome_bindkey_wrong": "bind key",
    "bthome_incorrect_bindkey_length": "24 bytes",
    "bthome_too_short_encryption_advertisement": "damaged",
    "bthome_has_incorrect_version": "version",
    "bthome_incorrect_bthome_version": "version",
}


def frames(name: str) -> list[Any]:
    path = COLLECTION / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def values(measurements: tuple[Measurement, ...]) -> dict[str, object]:
    return {one.quantity: one.value for one in measurements}


def family(item: dict[str, Any]) -> str:
    named = item["id"].removeprefix("adv_")
    return next(name for name in (*SUPPORTED, *UNSUPPORTED) if named.startswith(name))


def hints(item: dict[str, Any]) -> Hints:
    return Hints(key=bytes.fromhex(item.get("bindkey", "")))


needs = pytest.mark.skipif(not COLLECTION.exists(), reason="the collection of captured frames is not here")
ADVERTISEMENTS = frames("ble_adv_hci.json")
BROADCASTING = [one for one in template.names() if template.load(one).protocol == "ble-adv"]


@pytest.mark.parametrize("name", BROADCASTING)
def test_the_frames_of_a_template_decode_to_what_it_expects(name: str) -> None:
    known = template.load(name)
    assert known.frames
    for example in known.frames:
        found = values(decode_with(known, example.answer, NO_HINTS))
        assert found == {key: pytest.approx(value) for key, value in example.expect.items()}


def collected() -> dict[str, tuple[bytes, Hints]]:
    """Frames that templates may claim, by their ids."""
    found = {item["id"]: (bytes.fromhex(item["hci"]), hints(item)) for item in ADVERTISEMENTS}
    for item in (*frames("ble_ruuvi.json"), *frames("ble_aranet.json")):
        found[item["id"]] = bytes.fromhex(item["manufacturer_data"]), NO_HINTS
    return found


@needs
@pytest.mark.parametrize("name", [one for one in BROADCASTING if template.load(one).captured])
def test_the_captured_frames_that_a_template_claims_are_read_by_it(name: str) -> None:
    known, there = template.load(name), collected()
    for claimed in known.captured:
        data, with_key = there[claimed]
        assert decode_with(known, data, with_key), claimed


@needs
@pytest.mark.parametrize("item", [i for i in ADVERTISEMENTS if family(i) in SUPPORTED], ids=lambda item: item["id"])
def test_advertisements_of_supported_families(item: dict[str, Any]) -> None:
    found = values(advertising.decode_frame(bytes.fromhex(item["hci"]), hints(item)))
    expected: dict[str, object] = dict(WORDS.get(item["id"], {}))
    for key, value in item["expected"].items():
        if key in COMPUTED.get(item["id"], ()) or key in NO_VALUES:
            continue
        if key.startswith("acceleration "):
            expected[key.replace(" ", "_")] = pytest.approx(value * 9.80665e-3, abs=1e-3)
        elif key in NAMES:
            expected[NAMES[key]] = pytest.approx(value, abs=0.005)
        else:
            assert item["id"] in WORDS, f"{key} is not looked at"
    if item["id"] == "adv_ruuvitag_ruuvitag_v5":
        expected["movement_count"] = 236  # upstream turns it into "motion"
    assert found == expected


@needs
@pytest.mark.parametrize("item", [i for i in ADVERTISEMENTS if family(i) in UNSUPPORTED], ids=lambda item: item["id"])
def test_families_that_are_not_supported_say_nothing(item: dict[str, Any]) -> None:
    with pytest.raises(BadFrame):
        advertising.decode_frame(bytes.fromhex(item["hci"]), NO_HINTS)


@needs
@pytest.mark.parametrize("item", ADVERTISEMENTS, ids=lambda item: item["id"])
def test_the_event_is_taken_apart_as_upstream_does(item: dict[str, Any]) -> None:
    advert = parse(bytes.fromhex(item["hci"]))
    assert (advert.address, advert.rssi) == (item["address"], item["rssi"])
    bare = parse(bytes.fromhex(item["ad"]), item["address"])
    assert (bare.manufacturer, bare.services, bare.name) == (advert.manufacturer, advert.services, advert.name)


@needs
@pytest.mark.parametrize("item", ADVERTISEMENTS, ids=lambda item: item["id"])
def test_a_part_of_an_event_is_refused(item: dict[str, Any]) -> None:
    whole = bytes.fromhex(item["hci"])
    for size in range(len(whole)):
        with pytest.raises(BadFrame):
            advertising.decode_frame(whole[:size], hints(item))


@needs
@pytest.mark.parametrize("item", frames("ble_ruuvi.json"), ids=lambda item: item["id"])
def test_ruuvi(item: dict[str, Any]) -> None:
    found = values(ruuvi.decode_frame(bytes.fromhex(item["manufacturer_data"]), NO_HINTS))
    expected = item["expected"] | {"battery_voltage": item["expected"].get("voltage", 0) / 1000}
    names = {"relative_humidity": "humidity", "co2": "carbon_dioxide", "movement_count": "movement_counter"}
    for quantity, value in found.items():
        assert value == pytest.approx(expected[names.get(quantity, quantity)], abs=0.006), quantity
    assert len(found) == len(item["expected"].keys() - {"iaqs", "acceleration_total"})


@needs
@pytest.mark.parametrize("item", frames("ble_bthome_v2.json"), ids=lambda item: item["id"])
def test_bthome(item: dict[str, Any]) -> None:
    data, key = bytes.fromhex(item["service_data_fcd2"]), bytes.fromhex(item.get("bindkey", ""))
    if item["id"] == "bthome_bindkey_set_late":
        key = bytes.fromhex(BIND_KEY)
    if item["id"] == "bthome_encrypted_shelly_blu_button_event":
        pytest.skip("neither its sender's address nor what it says is in the collection")
    if item["id"] in BTHOME_REFUSED:
        with pytest.raises(BadFrame, match=BTHOME_REFUSED[item["id"]]):
            bthome.decode_frame(data, Hints(key, SENDER))
        return
    found = values(bthome.decode_frame(data, Hints(key, SENDER)))
    for label, text in item["expected"]:
        name = re.sub(r"^KEY_|DeviceKey\(key='(\w+)'.*", r"\1", label or "BATTERY")  # upstream has one without a name
        if name in BTHOME_NO_VALUES or (name == "VOLTAGE" and found.keys() & {"battery_voltage", "voltage_l1"}):
            continue
        quantity, factor = SCALED.get(name) or (BTHOME[name], 1.0)
        factor = bthome.POUND if item["id"] == "bthome_bthome_mass_pounds" else factor
        assert found[quantity] == pytest.approx(float(text) * factor, abs=1e-4), label


@needs
@pytest.mark.parametrize("item", frames("ble_aranet.json"), ids=lambda item: item["id"])
def test_aranet(item: dict[str, Any]) -> None:
    found = values(aranet.decode_frame(bytes.fromhex(item["manufacturer_data"]), NO_HINTS))
    names = {"humidity": "relative_humidity", "battery": "battery_level"}
    expected = {names.get(key, key): value for key, value in item["expected"].items() if key not in ("interval", "ago")}
    assert found == {key: pytest.approx(value, abs=0.051) for key, value in expected.items()}  # upstream rounds to 0.1


def events() -> list[bytes]:
    """The HCI events of a recording of a real street: a line that begins with > is a new one."""
    path = COLLECTION / "hcidump_ruuvi_mixed.txt"
    text = path.read_text(encoding="ascii") if path.exists() else ""
    return [bytes.fromhex(part) for part in text.split(">")[1:]]


@needs
def test_a_recording_of_a_real_street() -> None:
    ours: dict[str, int] = {}
    for data in events():
        advert = parse(data)
        recognised = advertising.recognise(advert)
        if recognised is None:
            continue
        codec, broadcast = recognised
        assert not isinstance(broadcast, BadFrame), f"{codec}: {broadcast}"
        ours[codec] = ours.get(codec, 0) + 1
        if codec == "ruuvi":
            found = values(broadcast.measurements)
            assert 0 < float(str(found["temperature"])) < 35
            assert 950 < float(str(found["pressure"])) < 1060
    assert set(ours) == {"ruuvi"}


@needs
def test_every_supported_frame_is_found_without_being_named() -> None:
    for item in ADVERTISEMENTS:
        if family(item) in SUPPORTED:
            data = bytes.fromhex(item["hci"])
            assert decode_as("ble", data, hints(item)) == advertising.decode_frame(data, hints(item))
