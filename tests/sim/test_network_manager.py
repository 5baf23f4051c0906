"""Carriers against the simulated NetworkManager and ModemManager on a real dbus-daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from firmware_sim.managers import network_manager as nm
from firmware_sim.managers.network_manager import Interface
from gateway.config.schema import LinkConfig
from tests.sim.managers_site import Site, a_site, carriers_of, until

WIFI = LinkConfig(name="wifi", interface="wlan9")
SCHOOL = LinkConfig(name="school", connection="School WiFi", on_demand=True)


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    async with a_site(tmp_path, monkeypatch) as made:
        yield made


def school(site: Site) -> tuple[str, str]:
    """A WiFi interface and its connection."""
    device = site.network.plug(Interface("wlan9", nm.WIFI, "192.168.4.20", ("192.168.4.1",)))
    about = {"id": "School WiFi", "type": "802-11-wireless", "interface-name": "wlan9"}
    return device, site.network.know({"connection": about, "802-11-wireless": {"ssid": ["x"]}})


async def test_a_link_by_interface_is_followed_from_signal_to_signal(site: Site, tmp_path: Path) -> None:
    device, connection = school(site)
    async with carriers_of(tmp_path, WIFI) as carriers:
        assert not carriers.carrier(WIFI).up
        assert carriers.carrier(WIFI).problem == "wlan9 is disconnected"
        site.network.activate(connection, device)
        await until(lambda: carriers.carrier(WIFI).up)
        seen = carriers.carrier(WIFI)
        assert (seen.interface, seen.technology, seen.signal) == ("wlan9", "wifi", 0.72)
        assert (seen.addresses, seen.dns, seen.metered) == (("192.168.4.20",), ("192.168.4.1",), False)
        site.network.strength(device, 31)
        await until(lambda: carriers.carrier(WIFI).signal == 0.31)
        site.network.drop(device)
        await until(lambda: not carriers.carrier(WIFI).up)
        site.network.unplug(device)
        await until(lambda: carriers.carrier(WIFI).problem == "there is no interface wlan9")
    assert site.network.calls == []  # looked at and listened to, never asked


async def test_a_change_is_told(site: Site, tmp_path: Path) -> None:
    device, connection = school(site)
    site.network.activate(connection, device)
    async with carriers_of(tmp_path, WIFI) as carriers:
        await until(lambda: carriers.carrier(WIFI).up)
        carriers.changed.clear()
        site.network.strength(device, 12)
        await until(carriers.changed.is_set)


async def test_a_connection_is_brought_up_and_down_on_demand(site: Site, tmp_path: Path) -> None:
    school(site)
    async with carriers_of(tmp_path, SCHOOL) as carriers:
        assert carriers.carrier(SCHOOL).problem == "the connection School WiFi is not up"
        await carriers.bring_up(SCHOOL)
        await carriers.bring_up(SCHOOL)  # on its way: not asked for twice
        await until(lambda: carriers.carrier(SCHOOL).up)
        assert carriers.carrier(SCHOOL).interface == "wlan9"
        await carriers.bring_down(SCHOOL)
        await until(lambda: not carriers.carrier(SCHOOL).up)
    asked = [member for _, member in site.network.calls]
    assert asked.count("ActivateConnection") == asked.count("DeactivateConnection") == 1


async def test_what_does_not_exist_and_what_is_forbidden_is_said(site: Site, tmp_path: Path) -> None:
    nowhere = LinkConfig(name="nowhere", connection="Library", on_demand=True)
    school(site)
    async with carriers_of(tmp_path, nowhere, SCHOOL) as carriers:
        await carriers.bring_up(nowhere)
        assert "no connection Library" in carriers.carrier(nowhere).problem
        site.network.authorised = False
        await carriers.bring_up(SCHOOL)
        assert "polkit" in carriers.carrier(SCHOOL).problem


async def test_a_portal_is_said_and_not_believed(site: Site, tmp_path: Path) -> None:
    device, connection = school(site)
    site.network.activate(connection, device)
    async with carriers_of(tmp_path, WIFI) as carriers:
        await until(lambda: carriers.carrier(WIFI).up)
        site.network.connectivity(device, nm.PORTAL)
        await until(lambda: "captive portal" in carriers.carrier(WIFI).problem)
        assert carriers.carrier(WIFI).up  # acknowledgements decide


async def test_services_come_go_and_are_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        a_site(tmp_path, monkeypatch, modems=False, network=False) as site,
        carriers_of(tmp_path, SCHOOL) as carriers,
    ):
        assert carriers.carrier(SCHOOL).problem == "NetworkManager does not run"
        for _ in range(3):
            await site.begin()
            device, connection = school(site)
            site.network.activate(connection, device)
            await until(lambda: carriers.carrier(SCHOOL).up)
            site.vanish()
            await until(lambda: carriers.carrier(SCHOOL).problem == "NetworkManager does not run")


async def test_the_bus_is_connected_to_again(site: Site, tmp_path: Path) -> None:
    school(site)
    async with carriers_of(tmp_path, SCHOOL) as carriers:
        await until(lambda: "not up" in carriers.carrier(SCHOOL).problem)
        await site.dbus.stop()
        await until(lambda: carriers.carrier(SCHOOL).problem == "NetworkManager does not run")
        await carriers.bring_up(SCHOOL)
        assert carriers.carrier(SCHOOL).problem == "NetworkManager does not run"
        await site.dbus.start()
        site.vanish()
        await site.begin()
        device, connection = school(site)
        site.network.activate(connection, device)
        await until(lambda: carriers.carrier(SCHOOL).up)
