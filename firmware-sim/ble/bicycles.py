"""Bicycle sensors in the air, written from their documents and not from the gateway's codecs, to prove those wrong.

- a power meter: Cycling Power Measurement (GATT Specification Supplement);
- a sensor of the open format of docs/reference/bicycle-format.md, advertised and notified;
- an OpenBikeSensor.
"""

from __future__ import annotations

import struct

from firmware_sim import rider
from firmware_sim.ble import advert
from firmware_sim.ble.peripherals import Characteristic, Peripheral

POWER_SERVICE, POWER_MEASUREMENT, POWER_FEATURE = 0x1818, 0x2A63, 0x2A65
BIKE_SERVICE = "24f10001-934a-4abe-bb1b-f393dc42c0a5"
BIKE_MEASUREMENT = "24f10002-934a-4abe-bb1b-f393dc42c0a5"
OBS = "1fe7faf9-ce63-4236-0004-{:012x}"
OBS_DISTANCE, OBS_CLOSE_PASS, OBS_OFFSET = OBS.format(2), OBS.format(3), OBS.format(4)
HANDLEBAR_CM = 30
TURN_SENDS = 3  # how often a payload is advertised before the next one


class PowerMeter(Peripheral):
    """A power meter in the rear hub (service 0x1818) with wheel and crank data."""

    service = POWER_SERVICE
    characteristics = (
        Characteristic(POWER_MEASUREMENT, ("notify",)),
        Characteristic(POWER_FEATURE, ("read",), b"\x0c\x00\x00\x00"),  # wheel and crank data supported
    )

    def advertisement(self, t: float, number: int) -> bytes:
        """Its service and its name."""
        del t, number
        return advert.flags() + advert.services(POWER_SERVICE) + advert.name("POWER 1187")

    def notification(self, t: float) -> tuple[str | int, bytes]:
        """Flags 0x0030: power, wheel u32 and time in 1/2048 s, crank u16 and time in 1/1024 s."""
        state = self.world.bicycle(t)
        wheel = struct.pack("<IH", state.wheel_revs, state.wheel_event_1024 * 2 % 2**16)
        crank = struct.pack("<HH", state.crank_revs, state.crank_event_1024)
        return POWER_MEASUREMENT, struct.pack("<Hh", 0x0030, rider.power(self.world, t)) + wheel + crank


class BikeSensor(Peripheral):
    """A sensor of the open format: its objects in turns, or all of them over a connection."""

    usual_period_s = 0.5
    service = BIKE_SERVICE
    characteristics = (Characteristic(BIKE_MEASUREMENT, ("notify",)),)

    def advertisement(self, t: float, number: int) -> bytes:
        """One payload for TURN_SENDS advertisements; what has just happened goes before all others."""
        del number
        turn_s = TURN_SENDS * self.period_s
        turn = int(t // turn_s)
        happened = rider.last(self.world, turn * turn_s)
        if happened is not None and happened.at_s > (turn - 1) * turn_s:
            payload = _event(happened, turn * turn_s)[:8]
            payload = payload[:1] + b"\x06" + payload[2:]
        else:
            payload = self._page(turn % 4, turn * turn_s)
        return advert.flags() + advert.service_data(BIKE_SERVICE, bytes((0x20, turn % 256)) + payload)

    def _page(self, number: int, t: float) -> bytes:
        counts = rider.counts(self.world, t)
        pairs = [bytes((0x83 + index,)) + count.to_bytes(3, "little") for index, count in enumerate(counts)]
        return (pairs[0] + pairs[1], pairs[2] + pairs[3], self._surface(t), self._light(t))[number]

    def _surface(self, t: float) -> bytes:
        low, high = rider.band(self.world, t)
        speed = round(self.world.bicycle(t).speed_kmh * 2)
        rms = round(rider.vibration(self.world, t) * 100)
        return struct.pack("<BHBBBBB", 0x87, rms, low // 5 << 4 | high // 5, 0x02, speed, 0x01, 84)

    def _light(self, t: float) -> bytes:
        left = round(1000 * rider.clearance(self.world, t, "left"))
        hundredths = 100 * (9000 + 40 * rider.band(self.world, t)[0])
        return b"\x88" + hundredths.to_bytes(3, "little") + struct.pack("<BH", 0x49, left)

    def notification(self, t: float) -> tuple[str | int, bytes]:
        """What has happened since the last one, or counts and measurements by turns."""
        turn = int(t // self.period_s)
        happened = rider.last(self.world, t)
        if happened is not None and happened.at_s > t - self.period_s:
            payload = _event(happened, t)
        elif turn % 2:
            payload = self._page(0, t) + self._page(1, t)
        else:
            payload = self._surface(t) + self._light(t)
        return BIKE_MEASUREMENT, bytes((0x20, turn % 256)) + payload


def _event(happened: rider.Happening, t: float) -> bytes:
    """An event record in its long form, with tag and length."""
    passed = happened.kind == rider.OVERTAKE
    peak = 1 << 14 | round(1000 * happened.peak) if passed else round(100 * happened.peak)
    record = struct.pack("<BBHH", happened.kind, happened.count % 256, round(10 * (t - happened.at_s)), peak)
    record += struct.pack("<HB", round(1000 * happened.duration_s), round(2 * happened.speed_kmh))
    record += happened.count.to_bytes(3, "little")
    return bytes((0x3F, len(record))) + record


class OpenBikeSensor(Peripheral):
    """An OpenBikeSensor: distances many times a second, and a close pass for each overtake."""

    usual_period_s = 0.2
    service = OBS.format(0)
    characteristics = (
        Characteristic(OBS_DISTANCE, ("notify",)),
        Characteristic(OBS_CLOSE_PASS, ("notify",)),
        Characteristic(OBS_OFFSET, ("read",), struct.pack("<HH", HANDLEBAR_CM, HANDLEBAR_CM)),
    )

    def advertisement(self, t: float, number: int) -> bytes:
        """Its service alone: 128 bits leave no room for a name."""
        del t, number
        return advert.flags() + advert.services_128(OBS.format(0))

    def notification(self, t: float) -> tuple[str | int, bytes]:
        """u32 milliseconds, u16 left and right in centimetres from the sensors."""
        happened = rider.last(self.world, t)
        passed = happened is not None and happened.kind == rider.OVERTAKE and happened.at_s > t - self.period_s
        sides = (HANDLEBAR_CM + round(100 * rider.clearance(self.world, t, side)) for side in ("left", "right"))
        return OBS_CLOSE_PASS if passed else OBS_DISTANCE, struct.pack("<IHH", int(1000 * t) % 2**32, *sides)
