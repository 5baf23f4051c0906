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
from gateway.uplink import link_manager
from gateway.uplink.link_choice import Policy
from gateway.uplink.link_manager import Links, Settings
from tests.sim.managers_site import a_site, carriers_of, until

# both go over loopback, so that sockets can be bound
WIFI = LinkConfig(name="wifi", connection="School WiFi")
GSM = LinkConfig(name="gsm", on_demand=True, cost="metered", modem=ModemConfig(apn="internet"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sockets are bound to interfaces")
async def test_a_modem_is_up_while_the_wifi_is_down_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_manager, "BRING_S", 0.3)
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
