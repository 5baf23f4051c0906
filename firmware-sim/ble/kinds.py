"""The kinds of peripherals by name, and the devices of a scenario made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from firmware_sim.ble.airthings import WavePlus
from firmware_sim.ble.bicycles import BikeSensor, OpenBikeSensor, PowerMeter
from firmware_sim.ble.peripherals import CyclingSensor, Peripheral, RuuviTag, Thermometer
from firmware_sim.ble.sensors import (
    Aranet2,
    Aranet4,
    AranetRadiation,
    AranetRadon,
    Atc,
    Govee,
    MiBeacon,
    Qingping,
    RuuviAir,
    SealedAtc,
    SealedBthome,
    SealedMiBeacon,
)
from firmware_sim.world import Place, World

PERIOD_S_MIN = 0.02  # the shortest advertising interval of the Core specification
KINDS: Mapping[str, type[Peripheral]] = {
    "ruuvi": RuuviTag,
    "bthome": Thermometer,
    "csc": CyclingSensor,
    "power": PowerMeter,
    "bike": BikeSensor,
    "openbikesensor": OpenBikeSensor,
    "airthings": WavePlus,
    "ruuvi-air": RuuviAir,
    "bthome-sealed": SealedBthome,
    "aranet4": Aranet4,
    "aranet2": Aranet2,
    "aranet-radiation": AranetRadiation,
    "aranet-radon": AranetRadon,
    "mibeacon": MiBeacon,
    "mibeacon-sealed": SealedMiBeacon,
    "atc": Atc,
    "atc-sealed": SealedAtc,
    "qingping": Qingping,
    "govee": Govee,
}


def build(rows: list[dict[str, Any]], world: World) -> list[Peripheral]:
    """Make the devices of a scenario: rows of name, kind, address, perhaps place and period_s. Raises ValueError."""
    made: list[Peripheral] = []
    for row in rows:
        kind = KINDS.get(row.get("kind", ""))
        if kind is None or "name" not in row or "address" not in row:
            raise ValueError(f"a Bluetooth device needs name, address and kind ({', '.join(KINDS)}): {json.dumps(row)}")
        place: Place = "corridor" if row.get("place") == "corridor" else "classroom"
        period_s = float(row.get("period_s", kind.usual_period_s))
        made.append(kind(row["name"], row["address"].upper(), world, place, max(PERIOD_S_MIN, period_s)))
    if len({device.address for device in made}) < len(made) or len({device.name for device in made}) < len(made):
        raise ValueError("two Bluetooth devices have one name or one address")
    return made
