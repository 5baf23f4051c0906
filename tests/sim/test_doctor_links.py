"""`lamppost doctor` on links over the simulated NetworkManager and ModemManager."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from firmware_sim.managers.sim_modem import Registration, Sim, SimModem
from gateway.cli import doctor_links
from gateway.cli.doctor import Finding
from gateway.config.schema import LinkConfig, ModemConfig
from tests.sim.managers_site import Site, a_site


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    async with a_site(tmp_path, monkeypatch) as made:
        yield made


async def examined(folder: Path, **modem: object) -> dict[str, Finding]:
    """What is found of one link, in a thread as `lamppost doctor` has it."""
    link = LinkConfig(name="gsm", modem=ModemConfig.model_validate({"apn": "internet", **modem}))
    found = [*await asyncio.to_thread(doctor_links.services, [link])]
    found += await asyncio.to_thread(doctor_links.link_of, link, folder)
    return {finding.name: finding for finding in found}


@pytest.mark.parametrize(
    ("modem", "result", "words"),
    [
        (SimModem(), "ok", "registered at Telekom.de, lte, signal 64 %"),
        (SimModem(quality=9), "warn", "signal 9 %"),
        (SimModem(sim=None), "fail", "no SIM"),
        (SimModem(sim=Sim(pin="1234")), "fail", "asks for its PIN"),
        (SimModem(sim=Sim(pin="1234", tries=0)), "fail", "PUK"),
        (SimModem(network=Registration.DENIED), "fail", "refuses the SIM"),
        (SimModem(network=Registration.ROAMING), "fail", "roaming is not allowed"),
        (SimModem(network=Registration.SEARCHING), "warn", "in no network yet"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_modem_from_the_sim_to_the_signal(
    site: Site, tmp_path: Path, modem: SimModem, result: str, words: str
) -> None:
    site.plug(modem)
    (path,) = site.modems.modems
    if modem.sim is not None and not modem.locked:
        await site.modems.enable(path)
    found = (await examined(tmp_path))["modem gsm"]
    assert (found.result, words in found.detail) == (result, True), found
    assert found.fix


async def test_services_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_site(tmp_path, monkeypatch, modems=False, network=False):
        found = await examined(tmp_path)
    assert found["NetworkManager"].result == found["ModemManager"].result == found["link gsm"].result == "fail"
    assert "apt install" in found["ModemManager"].fix


async def test_what_polkit_refuses_is_explained(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert (await examined(tmp_path))["polkit"].result == "ok"
    site.network.authorised = False
    found = (await examined(tmp_path))["polkit"]
    assert found.result == "fail" and "network-control" in found.detail and "50-lamppost.rules" in found.fix


async def test_no_modem_and_a_pin_that_waits(site: Site, tmp_path: Path) -> None:
    assert (await examined(tmp_path))["modem gsm"].detail == "ModemManager sees no modem"
    (tmp_path / "pin").write_text("1234")
    site.plug(SimModem(sim=Sim(pin="1234")))
    found = (await examined(tmp_path, pin_file=tmp_path / "pin"))["modem gsm"]
    assert (found.result, found.detail) == ("warn", "the SIM asks for its PIN")
    assert site.did("SendPin") == 0  # it only looks
