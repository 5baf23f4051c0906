"""The links themselves on carriers of NetworkManager and ModemManager: a modem is brought up when it is needed."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC
from pathlib import Path

import pytest

from firmware_sim.managers import network_manager as nm
from firmware_sim.managers.network_manager import Interface
from firmware_sim.managers.sim_modem import SimModem
from gateway.clock import SystemClock
from gateway.config.schema import LinkConfig, ModemConfig
from gateway.errors import UplinkError
from gateway.model import Link
from gateway.uplink import link_demand, link_manager
from gateway.uplink.carrier import InterfaceCarriers
from gateway.uplink.link_choice import Policy
from gateway.uplink.link_manager import Links, Settings
from gateway.uplink.managed_carriers import ManagedCarriers
from gateway.uplink.modem import ModemState
from tests.sim.managers_site import QUICK, a_site, carriers_of, until

# both go over loopback, so that sockets can be bound
WIFI = LinkConfig(name="wifi", connection="School WiFi")
GSM = LinkConfig(name="gsm", on_demand=True, cost="metered", modem=ModemConfig(apn="internet"))


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sockets are bound to interfaces")


@needs_root
async def test_a_modem_is_up_while_the_wifi_is_down_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_demand, "WISH_S", 0.3)
    monkeypatch.setattr(link_manager, "LOOK_S", 0.1)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with a_site(tmp_path, monkeypatch) as site, carriers_of(tmp_path, WIFI, GSM) as carriers:
        device = site.network.plug(Interface("lo", nm.WIFI, "127.0.0.1"))
        wifi = site.network.know({"connection": {"id": "School WiFi", "type": "802-11-wireless"}})
        site.plug(SimModem(interface="lo", address="127.0.0.1"))
        links = Links(
            [WIFI, GSM], Settings(url, None, 10.0, 100), carriers, clock=SystemClock(), zone=UTC, folder=tmp_path,
            policy=Policy(hold_s=0.5),
        )  # fmt: skip

        def used() -> str | None:
            current = links.current()
            return None if current is None else current.name

        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(links.run())
            await until(lambda: used() == "gsm")  # the WiFi is not up: the modem was asked for
            assert carriers.carrier(GSM).up
            site.network.activate(wifi, device)
            await until(lambda: used() == "wifi")
            await until(lambda: not carriers.carrier(GSM).up)
            await until(lambda: [(one["operator"], one["up"]) for one in links.explain()][1] == ("Telekom.de", False))
            site.network.drop(device)
            await until(lambda: used() == "gsm")
            running.cancel()
    server.close()


@needs_root
async def test_another_configuration_is_taken_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A modem is added, kept as it is while only its budget changes, given another access point, and removed."""
    monkeypatch.setattr(link_demand, "WISH_S", 0.3)
    monkeypatch.setattr(link_manager, "LOOK_S", 0.1)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    wifi = LinkConfig(name="wifi", interface="nothere0")
    async with a_site(tmp_path, monkeypatch) as site:
        site.plug(SimModem(interface="lo", address="127.0.0.1"))
        clock = SystemClock(configured=True)
        links = Links(
            [wifi], Settings(url, None, 10.0, 100), InterfaceCarriers(), clock=clock, zone=UTC, folder=tmp_path
        )

        async def take(*configs: LinkConfig) -> None:
            await links.configure(configs, ManagedCarriers(configs, tmp_path, QUICK, tick_s=0.05))

        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(links.run())
            await asyncio.sleep(0.3)
            assert links.current() is None
            await take(wifi, GSM)
            await until(lambda: links.current() == Link("gsm", "lo", metered=True))
            links.worked(Link("gsm", "lo", metered=True), 0.1)
            calls = len(site.modems.calls)
            await take(GSM.model_copy(update={"budget": 10**9, "probe": "http://127.0.0.1:9/"}), wifi)
            assert links.current() == Link("gsm", "lo", metered=True), "nothing is interrupted"
            gsm, gone = links.explain()
            assert (gsm["name"], gsm["used"], gsm["budget"], gone["name"]) == ("gsm", True, 10**9, "wifi")
            assert gsm["last_ack_s"] is not None, "what is known of it stays"
            assert len(site.modems.calls) == calls, "the modem does not notice"
            await take(wifi, GSM.model_copy(update={"modem": ModemConfig(apn="wrong.apn")}))
            await until(lambda: links.current() is None)
            await until(lambda: "MissingOrUnknownApn" in links.explain()[1]["why"])
            await take(wifi, GSM)
            await until(lambda: links.current() == Link("gsm", "lo", metered=True))
            (path,) = site.modems.modems
            assert site.modems.state(path) == ModemState.CONNECTED
            await take(wifi)
            assert links.current() is None
            links.failed(Link("gsm", "lo", metered=True), "the sender is told of the change a moment later")
            await until(lambda: site.modems.state(path) < ModemState.CONNECTED)
            assert [one["name"] for one in links.explain()] == ["wifi"]
            with pytest.raises(UplinkError):
                await take(LinkConfig(name="odd", interface="lo", probe="http://"))
            assert [one["name"] for one in links.explain()] == ["wifi"], "nothing half applied"
            running.cancel()
    server.close()


@needs_root
async def test_an_idle_modem_sleeps_until_something_is_to_be_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_demand, "WISH_S", 0.2)
    monkeypatch.setattr(link_demand, "WAKE_S", 2.0)
    monkeypatch.setattr(link_manager, "LOOK_S", 0.1)
    used = Link("gsm", "lo", metered=True)
    idle = GSM.model_copy(update={"idle": 0.5})
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with a_site(tmp_path, monkeypatch) as site, carriers_of(tmp_path, idle) as carriers:
        site.plug(SimModem(interface="lo", address="127.0.0.1"))
        clock = SystemClock(configured=True)
        links = Links([idle], Settings(url, None, 10.0, 100), carriers, clock=clock, zone=UTC, folder=tmp_path)

        def state() -> str:
            return str(links.explain()[0]["state"])

        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(links.run())
            await until(lambda: links.current() == used)
            for _ in range(2):
                await until(lambda: state() == "asleep" and not carriers.carrier(idle).up)
                await asyncio.sleep(1.0)
                assert links.current() == used, "to the sender it is there all the time"
                assert state() == "asleep"
                assert not carriers.carrier(idle).up
                assert await links.ready(used)
                assert carriers.carrier(idle).up
                links.began(used)
                await asyncio.sleep(1.0)
                assert carriers.carrier(idle).up, "an exchange is under way, however long it takes"
                assert not await links.ready(used)
                links.worked(used, 0.1)
            await until(lambda: state() == "asleep" and not carriers.carrier(idle).up)
            for path in list(site.modems.modems):
                site.modems.unplug(path)
            assert await links.ready(used), "the modem is gone: it is not waited for for ever"
            await until(lambda: links.current() is None)
            running.cancel()
    server.close()
