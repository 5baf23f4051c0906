"""The checks of ``lamppost doctor`` of links over NetworkManager and modems. They look, and change nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.doctor import Check, Finding
from gateway.config.schema import Config, LinkConfig, ModemConfig

if TYPE_CHECKING:
    from gateway.uplink.modem import Modem
    from gateway.uplink.system_bus import Mirror

LOOK_S = 4.0
WEAK_PERCENT = 20
RULES = "50-lamppost.rules"
RULE_FOLDERS = ("/etc/polkit-1/rules.d", "/usr/share/polkit-1/rules.d", "/run/polkit-1/rules.d")
RULES_FIX = f"Install packaging/polkit/{RULES} in {RULE_FOLDERS[0]}; it is in force at once."


def checks(config: Config) -> Iterator[tuple[str, Check]]:
    """What to look at: the services where a link needs them, and each such link."""
    managed = [link for link in config.links if link.connection is not None or link.modem is not None]
    if managed:
        yield "network manager", partial(services, managed)
    for link in managed:
        yield f"link {link.name}", partial(link_of, link, config.storage.path)


def services(links: Sequence[LinkConfig]) -> Sequence[Finding]:
    """Whether NetworkManager and, for modems, ModemManager can be reached, and what polkit lets this user do."""
    return asyncio.run(_services(any(link.modem is not None for link in links)))


async def _services(modems: bool) -> Sequence[Finding]:
    from gateway.uplink.modem import MM
    from gateway.uplink.network_manager import NM

    found: list[Finding] = []
    async with _mirror() as mirror:
        for name, service, needed in (("NetworkManager", NM, True), ("ModemManager", MM, modems)):
            if not needed:
                continue
            if mirror.owner(service):
                found.append(Finding(name, "ok", "it runs"))
            else:
                fix = f"`sudo apt install {name.lower() if name[0] == 'M' else 'network-manager'}`; "
                fix += f"`systemctl enable --now {name}`."
                found.append(Finding(name, "fail", "it does not run, or the system D-Bus cannot be reached", fix))
        if mirror.owner(NM):
            found += await _polkit(mirror)
    return found


async def _polkit(mirror: Mirror) -> list[Finding]:
    """What this user may ask of NetworkManager; root may ask all, so for root it is looked for the rule."""
    from gateway.uplink.network_manager import NM, ROOT
    from gateway.uplink.system_bus import BusError

    if os.geteuid() == 0:
        there = any((Path(folder) / RULES).exists() for folder in RULE_FOLDERS)
        seen = f"{RULES} is {'installed' if there else 'not installed'}: the service's user needs it"
        return [Finding("polkit", "ok" if there else "warn", seen, RULES_FIX)]
    try:
        (allowed,) = await mirror.call(NM, ROOT, NM, "GetPermissions", timeout_s=LOOK_S)
    except BusError as error:
        return [Finding("polkit", "warn", f"NetworkManager does not say what is allowed: {error.text}", RULES_FIX)]
    wanted = (f"{NM}.network-control", f"{NM}.settings.modify.system")
    missing = [name.rsplit("NetworkManager.", 1)[1] for name in wanted if allowed.get(name) != "yes"]
    if missing:
        return [Finding("polkit", "fail", f"this user may not: {', '.join(missing)}", RULES_FIX)]
    return [Finding("polkit", "ok", "this user may bring connections up and down")]


def link_of(link: LinkConfig, folder: Path) -> Sequence[Finding]:
    """How a link stands, and its modem from the SIM to the signal."""
    return asyncio.run(_link(link, folder))


async def _link(link: LinkConfig, folder: Path) -> Sequence[Finding]:
    from gateway.uplink.modem import MM, modem_of
    from gateway.uplink.network_manager import NM, carrier_of

    async with _mirror() as mirror:
        if not mirror.owner(NM):
            fix = "Start it: `systemctl enable --now NetworkManager`."
            return [Finding(f"link {link.name}", "fail", "NetworkManager does not run", fix)]
        carrier = carrier_of(mirror.objects[NM], link)
        modem = modem_of(mirror.objects[MM], link.interface) if link.modem is not None else None
        found = list(_modem(link, link.modem, modem, folder)) if link.modem is not None else []
    if carrier is None:
        seen = f"NetworkManager does not manage {link.interface}: it is judged by the interface alone"
        return [*found, Finding(f"link {link.name}", "ok", seen)]
    if carrier.up and not carrier.problem:
        return [
            *found,
            Finding(f"link {link.name}", "ok", f"up on {carrier.interface}: {', '.join(carrier.addresses)}"),
        ]
    if carrier.up:
        return [
            *found,
            Finding(f"link {link.name}", "warn", carrier.problem, "Sign in there once, from another device."),
        ]
    if link.on_demand:
        return [*found, Finding(f"link {link.name}", "ok", f"down, and brought up on demand ({carrier.problem})")]
    fix = "`nmcli device`, `nmcli connection`, `journalctl -u NetworkManager` say more."
    return [*found, Finding(f"link {link.name}", "warn", carrier.problem, fix)]


def _modem(link: LinkConfig, settings: ModemConfig, modem: Modem | None, folder: Path) -> Iterator[Finding]:
    from gateway.errors import LamppostError
    from gateway.uplink.modem import SIM_PIN, ModemState, needs_human
    from gateway.uplink.modem_pin import PinMemory, read_pin

    title = f"modem {link.name}"
    if modem is None:
        fix = "Plug it in, and look at `mmcli -L` and `journalctl -u ModemManager`; some take a minute to appear."
        yield Finding(title, "fail", "ModemManager sees no modem", fix)
        return
    try:
        if modem.lock == SIM_PIN and settings.pin_file is not None:
            pin = read_pin(settings.pin_file)
            PinMemory(folder).check(modem.sim_identifier or "unknown", pin, modem.retries)
            yield Finding(title, "warn", "the SIM asks for its PIN", "The daemon sends it; is it running?")
            return
        if (trouble := needs_human(modem, settings)) is not None:
            raise trouble
    except LamppostError as error:
        yield Finding(title, "fail", error.cause, error.fix)
        return
    if modem.state < ModemState.REGISTERED:
        seen = f"it is {modem.state.name.lower()}, in no network yet"
        yield Finding(title, "warn", seen, "Wait three minutes; then look at the antenna, and move it.")
        return
    where = f"{modem.operator or 'a network'}{' (roaming)' if modem.roaming else ''}, {modem.technology}"
    seen = f"{modem.state.name.lower()} at {where}, signal {modem.quality or 0} %"
    weak = (modem.quality or 0) < WEAK_PERCENT
    yield Finding(title, "warn" if weak else "ok", seen, "The signal is weak: move the antenna up or out.")


@asynccontextmanager
async def _mirror() -> AsyncIterator[Mirror]:
    """What NetworkManager and ModemManager show, as far as they are there."""
    from gateway.uplink import modem, network_manager
    from gateway.uplink.system_bus import Mirror

    services = {network_manager.NM: network_manager.MANAGER, modem.MM: modem.ROOT}
    mirror = Mirror(services, network_manager.KEEP | modem.KEEP, lambda: None)
    task = asyncio.create_task(mirror.run())
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await mirror.looked.wait()
        yield mirror
    finally:
        task.cancel()
        await asyncio.wait([task])
