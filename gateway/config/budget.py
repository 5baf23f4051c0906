"""What polling costs each line: computed from baud rate and register maps, before anything is connected. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from drivers import planner
from drivers import template as templates
from gateway.config.buses import ModbusRtuBus, ModbusTcpBus
from gateway.config.schema import Config, Device

WARN, FULL = 0.7, 1.0  # beyond WARN retries and silent units have no room, beyond FULL polls have none
BAUDS = (9600, 19_200, 38_400, 57_600, 115_200)
PERIOD_S = 10.0  # where neither the device nor its template says


@dataclass(frozen=True, slots=True)
class DeviceCost:
    """``poll_s`` is the wire time of reading everything once, ``share`` that of what is due, of the line's time."""

    device: str
    template: str
    period_s: float
    requests: int
    registers: int
    poll_s: float
    share: float


@dataclass(frozen=True, slots=True)
class LineBudget:
    """``baud`` is that of the line behind a gateway too, where it is stated."""

    bus: str
    baud: int
    devices: tuple[DeviceCost, ...]

    @property
    def share(self) -> float:
        """The share of the line's time that all polls take, 1.0 for all of it."""
        return sum(device.share for device in self.devices)


def budgets(config: Config) -> list[LineBudget]:
    """A budget for each Modbus line whose speed is known."""
    return [budget for name in config.buses if (budget := _budget(config, name)) is not None]


def remedy(config: Config, name: str) -> str:
    """What would make the polls of an overloaded line fit: longer periods, or a faster line."""
    devices = _devices(config, name)
    longer = f"periods {_stretch(devices, _char_s(config, name, None)):g} times as long"
    at = config.buses[name]
    now = at.baud if isinstance(at, ModbusRtuBus | ModbusTcpBus) else None
    for baud in BAUDS:
        faster = _share(devices, _char_s(config, name, baud))
        if now is not None and baud > now and faster <= WARN:
            return f"{longer} would fit, or {baud} baud ({faster:.0%})"
    return f"{longer} would fit, or a second line"


def _budget(config: Config, name: str) -> LineBudget | None:
    bus = config.buses[name]
    if not isinstance(bus, ModbusRtuBus | ModbusTcpBus) or bus.baud is None:
        return None
    char_s = _char_s(config, name, None)
    return LineBudget(name, bus.baud, tuple(_cost(*one, char_s) for one in _devices(config, name).items()))


def _char_s(config: Config, name: str, baud: int | None) -> float:
    """Seconds a character takes: start bit, 8 data bits, parity, stop bits; 8N1 behind a gateway."""
    bus = config.buses[name]
    if isinstance(bus, ModbusRtuBus):
        return (1 + 8 + (bus.parity != "none") + bus.stop_bits) / (baud or bus.baud)
    return 10 / (baud or (bus.baud if isinstance(bus, ModbusTcpBus) and bus.baud else BAUDS[0]))


def _devices(config: Config, name: str) -> dict[str, Device]:
    on = {device: settings for device, settings in config.devices.items() if settings.bus == name}
    return {device: settings for device, settings in on.items() if templates.load(settings.template).points}


def _share(devices: dict[str, Device], char_s: float, stretch: float = 1.0) -> float:
    return sum(_cost(name, device, char_s, stretch).share for name, device in devices.items())


def _stretch(devices: dict[str, Device], char_s: float) -> float:
    """How many times as long all periods must be; what is read each minute anyway does not get cheaper at first."""
    stretch = math.ceil(10 * _share(devices, char_s) / WARN) / 10
    while _share(devices, char_s, stretch) > WARN:
        stretch = math.ceil(11 * stretch) / 10
    return stretch


def _cost(name: str, device: Device, char_s: float, stretch: float = 1.0) -> DeviceCost:
    template = templates.load(device.template)
    period_s = stretch * (device.period or template.period_s or PERIOD_S)
    blocks = planner.plan_for(template, template.points, char_s)
    registers = sum(block.count for block in blocks)
    poll_s = planner.wire_s(blocks, char_s, template.gap_s or 0.0)
    share = planner.device_load(template, period_s, char_s)
    return DeviceCost(name, device.template, period_s, len(blocks), registers, poll_s, share)
