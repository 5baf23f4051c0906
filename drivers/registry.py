"""Where buses and drivers come from: the entry-point groups ``lamppost.buses`` and ``lamppost.drivers``.

Built-in ones use the same door as those of other packages (setup.cfg). A bus is named by the ``type`` of its part of
the configuration, a driver by the ``protocol`` of the template. Nothing is opened here: making a bus and a driver is
also how a configuration is checked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from drivers.base import Bus, Driver
from drivers.errors import Misconfigured
from drivers.plugins import offered
from drivers.template import Template

BUSES = "lamppost.buses"  # type -> make_bus(name, settings) -> Bus
DRIVERS = "lamppost.drivers"  # protocol -> make_driver(template, bus, address, period_s, options) -> Driver


def make_bus(name: str, settings: Mapping[str, Any]) -> Bus:
    """The bus of a part of the configuration, not yet open. Raises Misconfigured."""
    make = _factory(BUSES, str(settings.get("type", "")), f"bus {name}")
    try:
        return cast("Bus", make(name, settings))
    except ValueError as error:
        raise Misconfigured(f"bus {name}: {error}") from None


def make_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """The driver of a device. Raises Misconfigured where bus, address, period or options do not fit the template.

    ``options`` of the device go before those of the template.
    """
    make = _factory(DRIVERS, template.protocol, f"template {template.name}")
    try:
        return cast("Driver", make(template, bus, address, period_s, {**template.options, **options}))
    except ValueError as error:
        raise Misconfigured(str(error)) from None


def found_json(found: Any) -> dict[str, Any]:
    """What a bus's ``scan`` found, as JSON values."""
    return dataclasses.asdict(found)


@lru_cache(maxsize=64)
def _factory(group: str, name: str, whose: str) -> Any:
    points = offered(group)
    if name not in points:
        raise Misconfigured(f"{whose}: nothing installed handles {name!r}; known: {', '.join(sorted(points))}")
    try:
        return points[name].load()
    except ImportError as error:
        raise Misconfigured(f"{whose}: {name} needs a package that is not installed: {error}") from None
    except AttributeError as error:
        raise Misconfigured(f"{whose}: the distribution that brings {name} is broken: {error}") from None
