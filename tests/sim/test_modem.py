"""A link's modem on the simulated ModemManager and NetworkManager: PIN, access point, roaming, and the ladder."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from firmware_sim.managers.sim_modem import Fault, Registration, Sim, SimModem
from gateway.config.schema import LinkConfig, ModemConfig
from gateway.uplink import modem_keeper
from gateway.uplink.managed_carriers import ManagedCarriers
from gateway.uplink.modem_ladder import Rung
from tests.sim.managers_site import Site, a_site, carriers_of, until


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    async with a_site(tmp_path, monkeypatch) as made:
        yield made


def gsm(on_demand: bool = False, **modem: object) -> LinkConfig:
    return LinkConfig(
        name="gsm", on_demand=on_demand, cost="metered", modem=ModemConfig.model_validate({"apn": "internet", **modem})
    )


def rungs(caplog: pytest.LogCaptureFixture, link: str = "gsm") -> list[str]:
    """The rungs that the journal names of a link, in order."""
    said = [record.getMessage() for record in caplog.records]
    lines = [line for line in said if line.startswith(f"link {link}: ") and "attempt" in line]
    return [line.rsplit(": ", 1)[1] for line in lines]


def problem(carriers: ManagedCarriers) -> str:
    found = carriers.keepers["gsm"].problem
    return "" if found is None else found.code


async def test_a_modem_comes_up_with_the_access_point_of_the_configuration(site: Site, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("opensesame\n")
    site.plug(SimModem())
    link = gsm(user="me", password_file=tmp_path / "password")
    async with carriers_of(tmp_path, link) as carriers:
        await until(lambda: carriers.carrier(link).up)
        seen = carriers.carrier(link)
    assert (seen.interface, seen.addresses, seen.dns) == ("wwan0", ("10.140.7.2",), ("10.74.210.210",))
    assert (seen.operator, seen.technology, seen.signal) == ("Telekom.de", "lte", 0.64)
    assert (seen.roaming, seen.metered, seen.problem) == (False, True, "")
    ((profile, flags),) = [
        (held, site.network.tree.get(path, "org.freedesktop.NetworkManager.Settings.Connection", "Unsaved"))
        for path, held in site.network.settings.items()
    ]
    assert flags  # in memory only: the password is on no card
    assert profile["gsm"] == {"apn": "internet", "home-only": True, "username": "me", "password": "opensesame"}
    assert (profile["connection"]["id"], profile["connection"]["metered"]) == ("lamppost-gsm", 1)


async def test_on_demand_it_is_up_only_while_it_is_wanted(site: Site, tmp_path: Path) -> None:
    site.plug(SimModem())
    link = gsm(on_demand=True)
    async with carriers_of(tmp_path, link) as carriers:
        await until(lambda: bool(site.network.settings))
        assert not carriers.carrier(link).up
        await carriers.bring_up(link)
        await until(lambda: carriers.carrier(link).up)
        await carriers.bring_down(link)
        await until(lambda: not carriers.carrier(link).up)
        assert site.did("Reset") == 0
    assert [member for _, member in site.network.calls].count("ActivateConnection") == 1


async def test_the_profile_is_made_again_for_another_life_of_network_manager_and_never_twice(
    site: Site, tmp_path: Path
) -> None:
    site.plug(SimModem())
    for _ in range(2):  # as after a crash of the daemon
        async with carriers_of(tmp_path, gsm()) as carriers:
            await until(lambda: carriers.carrier(gsm()).up)
    assert len(site.network.settings) == 1
    async with carriers_of(tmp_path, gsm()) as carriers:
        site.vanish()
        await until(lambda: not carriers.carrier(gsm()).up)
        await site.begin()
        site.plug(SimModem())
        await until(lambda: carriers.carrier(gsm()).up)


async def test_stuck_modems_are_brought_back_by_the_rung_that_each_needs(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = {
        "bearer": (SimModem(fault=Fault.BEARER), Rung.RECONNECT),
        "network": (SimModem(fault=Fault.NETWORK), Rung.REGISTER),
        "driver": (SimModem(fault=Fault.DRIVER), Rung.ENABLE),
        "firmware": (SimModem(fault=Fault.FIRMWARE), Rung.RESET),
        "radio": (SimModem(fault=Fault.RADIO), Rung.POWER),
        "no-reset": (SimModem(fault=Fault.RADIO, can_reset=False), Rung.POWER),  # what it cannot do is passed over
    }
    links = []
    for number, (name, (modem, _)) in enumerate(stuck.items()):
        modem.interface, modem.address = f"wwan{number}", f"10.140.{number}.2"
        site.plug(modem)
        links.append(LinkConfig(name=name, interface=modem.interface, modem=ModemConfig(apn="internet")))
    async with carriers_of(tmp_path, *links) as carriers:
        await until(lambda: "the modem is stuck: attempt 1" in carriers.carrier(links[1]).problem)
        await until(lambda: all(carriers.carrier(link).up for link in links))
        await until(lambda: not any(keeper.ladder.attempts for keeper in carriers.keepers.values()))  # all forgotten
        assert [carriers.carrier(link).addresses[0] for link in links] == [f"10.140.{n}.2" for n in range(6)]
    for name, (_, rung) in stuck.items():
        taken = rungs(caplog, name)
        assert taken[-1] == rung.words, name
        assert not [harder for harder in Rung if harder > rung and harder.words in taken], name
    assert site.did("Reset") >= 3  # of the firmware, of the radio (again, where NetworkManager was quicker), and one
    # that is not understood


async def test_a_modem_that_is_up_and_moves_nothing_is_connected_anew(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counter = tmp_path / "wwan0" / "statistics" / "rx_bytes"
    counter.parent.mkdir(parents=True)
    counter.write_text("1000\n")
    monkeypatch.setattr(modem_keeper, "SYS_NET", tmp_path)
    site.plug(SimModem())
    async with carriers_of(tmp_path, gsm()) as carriers:
        await until(lambda: carriers.carrier(gsm()).up)
        carriers.works(gsm(), works=False)
        for number in range(40):  # the server is away, but name servers answer: the modem is not at fault
            counter.write_text(f"{2000 + number}\n")
            await asyncio.sleep(0.02)
        assert rungs(caplog) == []
        await until(lambda: len(rungs(caplog)) == 1)
        await until(lambda: carriers.carrier(gsm()).up)
        carriers.works(gsm(), works=True)
    assert rungs(caplog)[0] == Rung.RECONNECT.words


@pytest.mark.parametrize(
    ("modem", "code"),
    [
        (SimModem(sim=None), "modem.sim-missing"),
        (SimModem(sim=Sim(pin="1234")), "modem.pin-needed"),
        (SimModem(sim=Sim(pin="1234", tries=0)), "modem.puk-needed"),
        (SimModem(network=Registration.DENIED), "modem.denied"),
        (SimModem(network=Registration.ROAMING), "modem.roaming"),
        (SimModem(apn="other"), "modem.apn"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_only_people_can_mend_is_said_and_not_hammered(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture, modem: SimModem, code: str
) -> None:
    site.plug(modem)
    async with carriers_of(tmp_path, gsm()) as carriers:
        await until(lambda: problem(carriers) == code)
        steps = carriers.keepers["gsm"]
        began = len(caplog.records)
        for now in range(0, 7200, 5):  # two hours of steps
            await steps.step(1e6 + now)
        carrier = carriers.carrier(gsm())
    assert not carrier.up and carrier.problem.endswith(steps.problem.fix if steps.problem else "")
    assert site.did("Reset") == site.did("SetPowerState") == site.did("SendPuk") == site.did("SendPin") == 0
    assert rungs(caplog) == []
    assert len(caplog.records) - began <= 2  # said once


async def test_roaming_where_it_is_allowed(site: Site, tmp_path: Path) -> None:
    site.plug(SimModem(network=Registration.ROAMING))
    link = gsm(allow_roaming=True)
    async with carriers_of(tmp_path, link) as carriers:
        await until(lambda: carriers.carrier(link).up)
        assert carriers.carrier(link).roaming


async def test_the_pin_is_sent_after_each_restart_of_the_modem(site: Site, tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("1234\n")
    modem = SimModem(sim=Sim(pin="1234"), fault=Fault.FIRMWARE)
    site.plug(modem)
    link = gsm(pin_file=tmp_path / "pin")
    async with carriers_of(tmp_path, link) as carriers:
        await until(lambda: carriers.carrier(link).up)
    assert site.did("Reset") == 1
    assert site.did("SendPin") == 2
    assert json.loads((tmp_path / "modem-pins.json").read_text()) == []  # what was right is not kept


async def test_a_wrong_pin_is_sent_once_whatever_is_started_anew(site: Site, tmp_path: Path) -> None:
    pin = tmp_path / "pin"
    pin.write_text("1111")
    sim = Sim(pin="1234")
    site.plug(SimModem(sim=sim))
    link = gsm(pin_file=pin)
    for _ in range(3):
        async with carriers_of(tmp_path, link) as carriers:
            await until(lambda: problem(carriers) == "modem.pin-wrong")
            for now in range(0, 7200, 5):
                await carriers.keepers["gsm"].step(1e6 + now)
    assert (site.did("SendPin"), sim.tries) == (1, 2)
    assert "1111" not in (tmp_path / "modem-pins.json").read_text()
    pin.write_text("2222")  # somebody errs again: the last try is left to people
    async with carriers_of(tmp_path, link) as carriers:
        await until(lambda: sim.tries == 1)
        pin.write_text("3333")
        await until(lambda: problem(carriers) == "modem.pin-wrong")
        for now in range(0, 7200, 5):
            await carriers.keepers["gsm"].step(1e6 + now)
    assert (site.did("SendPin"), sim.tries) == (2, 1)


async def test_a_corrected_pin_is_taken_without_a_restart(site: Site, tmp_path: Path) -> None:
    pin = tmp_path / "pin"
    pin.write_text("1111")
    site.plug(SimModem(sim=Sim(pin="1234")))
    link = gsm(pin_file=pin)
    async with carriers_of(tmp_path, link) as carriers:
        await until(lambda: problem(carriers) == "modem.pin-wrong")
        pin.write_text("1234")
        await carriers.keepers["gsm"].step(1e6)
        await until(lambda: carriers.carrier(link).up)
    assert site.did("SendPin") == 2


async def test_a_refusal_by_polkit_is_explained(site: Site, tmp_path: Path) -> None:
    site.network.authorised = site.modems.authorised = False
    (tmp_path / "pin").write_text("1234")
    site.plug(SimModem(sim=Sim(pin="1234")))
    named = LinkConfig(name="gsm", connection="o2", modem=ModemConfig(pin_file=tmp_path / "pin"))
    for link in (gsm(), named):
        async with carriers_of(tmp_path, link) as carriers:
            await until(lambda: problem(carriers) == "modem.forbidden")
            assert "polkit" in carriers.carrier(link).problem
    assert json.loads((tmp_path / "modem-pins.json").read_text()) == []  # a PIN that never came to the SIM


async def test_secrets_are_in_no_log(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "pin").write_text("4711")
    (tmp_path / "password").write_text("opensesame")
    site.plug(SimModem(sim=Sim(pin="1234")))
    link = gsm(pin_file=tmp_path / "pin", password_file=tmp_path / "password")
    async with carriers_of(tmp_path, link) as carriers:
        await until(lambda: problem(carriers) == "modem.pin-wrong")
    assert "4711" not in caplog.text and "opensesame" not in caplog.text


async def test_a_modem_by_interface_is_read_without_network_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = LinkConfig(name="gsm", interface="wwan0")
    async with a_site(tmp_path, monkeypatch, network=False) as site, carriers_of(tmp_path, link) as carriers:
        path = site.modems.plug(SimModem())
        await site.modems.connect(path, {"apn": "internet"})
        await until(lambda: carriers.carrier(link).operator == "Telekom.de")
        assert carriers.carrier(link).signal == 0.64
        assert carriers.carrier(link).problem == "there is no interface wwan0"  # of the kernel, here
