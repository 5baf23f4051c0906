"""What lies below a link: whether its interface is there and has an address, and what a modem says of the network.

``Links`` asks a source of carriers each second and is woken by ``changed``. There are two sources: by the interface
alone (below, for boxes without NetworkManager), and NetworkManager with ModemManager.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.config.schema import LinkConfig
from gateway.errors import UplinkError
from gateway.uplink.link_addresses import addresses, name_servers

SYS_NET = Path("/sys/class/net")
SYSTEM_BUS = Path("/run/dbus/system_bus_socket")
RESOLV_CONF = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class Carrier:
    """One link as the system below sees it.

    ``interface``: the one to bind sockets to, None for whatever the routing table says. ``signal``: 0..1, None where
    nobody measures it. ``technology``: such as `lte`. ``roaming`` and ``metered``: None where it is not known.
    ``problem``: why it is not up, one sentence for people.
    """

    up: bool
    interface: str | None = None
    signal: float | None = None
    operator: str = ""
    technology: str = ""
    roaming: bool | None = None
    metered: bool | None = None
    addresses: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    problem: str = ""


class Carriers(Protocol):
    """A source of carriers. ``changed`` is set whenever one may have changed; who waits for it clears it.

    None of the calls raises: what goes wrong stands in ``Carrier.problem``. ``bring_up`` and ``bring_down`` return when
    the wish is passed on; what came of it shows in the carrier. They are for links that are brought up on demand, are
    bounded in time by the source, and do nothing where the source cannot do such a thing.
    """

    changed: asyncio.Event

    async def start(self) -> None:
        """Begin to look; the carriers are known afterwards as far as they can be."""

    async def close(self) -> None:
        """Stop looking; safe to call twice, and without start."""

    def carrier(self, link: LinkConfig) -> Carrier:
        """The carrier of a link as it is known now; cheap."""

    def works(self, link: LinkConfig, *, works: bool) -> None:
        """Told after each look at the links: whether what is sent over it is answered. For modems that are stuck."""

    def follow(self, links: Sequence[LinkConfig]) -> None:
        """The configuration has these links from now on; what is done about those that stay goes on."""

    async def bring_up(self, link: LinkConfig) -> None:
        """Ask for the link to be brought up."""

    async def bring_down(self, link: LinkConfig) -> None:
        """Ask for the link to be taken down."""


class InterfaceCarriers:
    """By the interface alone: it is up where the kernel says so and it has an address that leads somewhere.

    The name servers are those of the link's ``dns``, else of resolv.conf(5). A link without interface is always up.
    """

    def __init__(self, resolv_conf: Path = RESOLV_CONF) -> None:
        self.changed = asyncio.Event()
        self._resolv_conf = resolv_conf

    async def start(self) -> None:
        """Nothing to begin: it is looked at when asked."""

    async def close(self) -> None:
        """Nothing to end."""

    def carrier(self, link: LinkConfig) -> Carrier:
        """Read it from the kernel."""
        if link.connection is not None:
            problem = "connections need NetworkManager, and it does not run here"
            return Carrier(False, link.interface, problem=problem)
        if link.interface is None:
            return Carrier(True)
        try:
            state = (SYS_NET / link.interface / "operstate").read_text(encoding="ascii").strip()
        except OSError:
            return Carrier(False, link.interface, problem=f"there is no interface {link.interface}")
        found = addresses(link.interface)
        dns = tuple(link.dns) or name_servers(self._resolv_conf)
        if state not in ("up", "unknown"):  # point-to-point interfaces of modems say `unknown` for ever
            return Carrier(False, link.interface, addresses=found, problem=f"{link.interface} is {state}")
        if not found:
            return Carrier(False, link.interface, problem=f"{link.interface} has no address")
        return Carrier(True, link.interface, addresses=found, dns=dns)

    def works(self, link: LinkConfig, *, works: bool) -> None:
        """Nothing is done about it."""

    def follow(self, links: Sequence[LinkConfig]) -> None:
        """It has no state."""

    async def bring_up(self, link: LinkConfig) -> None:
        """Not possible by the interface alone."""

    async def bring_down(self, link: LinkConfig) -> None:
        """Not possible by the interface alone."""


def same_way(one: LinkConfig, other: LinkConfig) -> bool:
    """Whether two configurations mean the same interface, connection and modem, set up in the same way."""
    keys = ("interface", "connection", "modem", "on_demand", "cost")
    return all(getattr(one, key) == getattr(other, key) for key in keys)


def make_carriers(links: Sequence[LinkConfig], folder: Path) -> Carriers:
    """By NetworkManager and ModemManager where a link names a connection or a modem, or where they may have a say.

    ``folder``: where it is remembered which PINs were refused. Raises UplinkError where dbus-fast is missing and needed
    for more than to know more.
    """
    needed = any(link.connection is not None or link.modem is not None for link in links)
    useful = any(link.interface is not None for link in links) and _has_system_bus()
    if not needed and not useful:
        return InterfaceCarriers()
    try:
        from gateway.uplink.managed_carriers import ManagedCarriers
    except ImportError:
        if not needed:
            return InterfaceCarriers()
        fix = "Install it: `pip install 'lamppost[edge]'`."
        cause = "a link names a connection or a modem, and dbus-fast is not installed"
        raise UplinkError(cause, code="uplink.no-dbus", fix=fix) from None
    return ManagedCarriers(links, folder)


def _has_system_bus() -> bool:
    return "DBUS_SYSTEM_BUS_ADDRESS" in os.environ or SYSTEM_BUS.exists()
