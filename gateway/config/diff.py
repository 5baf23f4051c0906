"""What changed between two configurations: pure, so that a reload touches only what it must."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.config.schema import Config

HANDLED = frozenset({"buses", "devices", "links"})  # all else needs a restart


@dataclass(frozen=True, slots=True)
class ConfigDiff:
    """Names of buses and devices, and of the other parts of the file that changed.

    A device on a bus that changed, and stays, counts as changed: its bus is opened anew.
    """

    buses_added: tuple[str, ...] = ()
    buses_removed: tuple[str, ...] = ()
    buses_changed: tuple[str, ...] = ()
    devices_added: tuple[str, ...] = ()
    devices_removed: tuple[str, ...] = ()
    devices_changed: tuple[str, ...] = ()
    links_changed: bool = False
    needs_restart: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self != ConfigDiff()


def diff(old: Config, new: Config) -> ConfigDiff:
    """What to do to get from ``old`` to ``new``; all names in order."""
    buses_changed = _changed(old.buses, new.buses)
    moved = {name for name in old.devices.keys() & new.devices.keys() if new.devices[name].bus in buses_changed}
    return ConfigDiff(
        buses_added=_only(new.buses, old.buses),
        buses_removed=_only(old.buses, new.buses),
        buses_changed=buses_changed,
        devices_added=_only(new.devices, old.devices),
        devices_removed=_only(old.devices, new.devices),
        devices_changed=tuple(sorted({*_changed(old.devices, new.devices), *moved})),
        links_changed=old.links != new.links,
        needs_restart=tuple(
            part for part in Config.model_fields if part not in HANDLED and getattr(old, part) != getattr(new, part)
        ),
    )


def _only(these: Mapping[str, object], those: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(sorted(these.keys() - those.keys()))


def _changed(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(sorted(name for name in old.keys() & new.keys() if old[name] != new[name]))
