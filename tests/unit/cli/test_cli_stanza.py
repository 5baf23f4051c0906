"""What a scan found, as lines to paste."""

from __future__ import annotations

import yaml

from gateway.cli.stanza import stanza


def test_devices_of_a_bus_as_yaml() -> None:
    found = [
        {"address": "A4:C1:38:00:00:08", "could_be": ("xiaomi-lywsd03mmc",), "encrypted": True},
        {"address": "54:48:E6:8F:80:02", "could_be": ("bthome-thermometer", "bthome-sensor"), "encrypted": False},
        {"address": "00:00:00:00:00:01", "could_be": ()},
    ]
    text = stanza("bluetooth", {"type": "ble", "adapter": "hci0"}, found)
    read = yaml.safe_load(text)
    assert read["buses"] == {"bluetooth": {"type": "ble", "adapter": "hci0"}}
    devices = read["devices"]
    assert devices["xiaomi-lywsd03mmc"]["address"] == "A4:C1:38:00:00:08"
    assert [name for name, device in devices.items() if "key_file" in device] == ["xiaomi-lywsd03mmc"]
    assert devices["device"]["template"] == "TEMPLATE"
    assert "# or: bthome-sensor" in text
