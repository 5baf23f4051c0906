"""The same on the real NetworkManager and the real ModemManager, where they are installed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from firmware_sim.managers.at_modem import DENIED, ROAMING, AtModem
from firmware_sim.managers.sim_modem import Sim
from gateway.config.schema import LinkConfig, ModemConfig
from gateway.uplink.managed_carriers import ManagedCarriers
from gateway.uplink.modem import ModemState
from gateway.uplink.modem_ladder import Rung, Symptom, Timing
from tests.sim.managers_site import carriers_of, until
from tests.sim.real_managers import a_bus, a_modem_manager, a_network_manager, in_namespace, need

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LAN = LinkConfig(name="lan", connection="lan", on_demand=True)
BY_INTERFACE = LinkConfig(name="wired", interface="lan0")
# nobody connects these modems: only that they are enabled is the ladder's work
ALONE = Timing(patience_s=dict.fromkeys(Symptom, 1e6) | {Symptom.DISABLED: 0.2})
GSM = LinkConfig(name="gsm", modem=ModemConfig(apn="internet"))


async def test_a_connection_of_network_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("NetworkManager")
    async with a_bus(tmp_path, monkeypatch), carriers_of(tmp_path, LAN) as carriers:
        assert carriers.carrier(LAN).problem == "NetworkManager does not run"
        for _ in range(2):  # NetworkManager is started anew
            async with a_network_manager(tmp_path) as process:
                await until(lambda: carriers.carrier(BY_INTERFACE).problem == "lan0 is disconnected")
                assert carriers.carrier(LAN).problem == "the connection lan is not up"
                await carriers.bring_up(LAN)
                await until(lambda: carriers.carrier(LAN).up)
                seen = carriers.carrier(LAN)
                assert (seen.interface, seen.addresses, seen.dns) == ("lan0", ("10.9.0.2",), ("10.9.0.1",))
                assert (seen.metered, seen.problem, seen.signal) == (False, "", None)
                assert carriers.carrier(BY_INTERFACE) == seen
                await carriers.bring_down(LAN)
                await until(lambda: not carriers.carrier(LAN).up)
                await carriers.bring_up(LAN)
                await until(lambda: carriers.carrier(LAN).up)
                await in_namespace(process, "ip", "link", "del", "lan1")  # the interface is gone
                await until(lambda: not carriers.carrier(LAN).up)
            await until(lambda: carriers.carrier(LAN).problem == "NetworkManager does not run")


async def test_network_manager_takes_our_profile_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("NetworkManager")
    (tmp_path / "password").write_text("opensesame")
    link = LinkConfig(name="gsm", modem=ModemConfig(apn="internet", user="me", password_file=tmp_path / "password"))
    async with a_bus(tmp_path, monkeypatch), carriers_of(tmp_path, link) as carriers, a_network_manager(tmp_path):
        await until(lambda: carriers.carrier(link).problem == "the connection lamppost-gsm is not up")
        network = carriers.keepers["gsm"]._network
        for _ in range(2):  # added, then made to be the same
            await network.keep_profile(link)
        saved = [path.name for path in (tmp_path / "connections").iterdir()]
        assert saved == ["lan.nmconnection"]  # in memory only
        with pytest.raises(Exception, match="No suitable device"):
            await network.activate(link)


def modem_of(carriers: ManagedCarriers, state: ModemState) -> bool:
    found = carriers.keepers["gsm"].modem()
    return found is not None and found.state is state


async def test_a_modem_of_modem_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("ModemManager")
    modem = AtModem()
    async with (
        a_bus(tmp_path, monkeypatch) as address,
        a_modem_manager(tmp_path, address, modem, "generic"),
        carriers_of(tmp_path, GSM, timing=ALONE) as carriers,
    ):
        await until(lambda: modem_of(carriers, ModemState.REGISTERED))  # it was disabled: the ladder's work
        await until(
            lambda: all(
                (carriers.carrier(GSM).operator, carriers.carrier(GSM).technology, carriers.carrier(GSM).signal)
            )
        )
        seen = carriers.carrier(GSM)
        assert (seen.operator, seen.technology, seen.roaming) == ("26201", "lte", False)
        assert seen.signal == pytest.approx(0.64, abs=0.02)


@pytest.mark.parametrize(
    ("modem", "code"),
    [
        (AtModem(sim=None), "modem.sim-missing"),
        (AtModem(sim=Sim(pin="1234"), locked=True), "modem.pin-needed"),
        (AtModem(sim=Sim(pin="1234", tries=0), locked=True), "modem.puk-needed"),
        (AtModem(registration=DENIED), "modem.denied"),
        (AtModem(registration=ROAMING), "modem.roaming"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_only_people_can_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modem: AtModem, code: str
) -> None:
    need("ModemManager")
    async with (
        a_bus(tmp_path, monkeypatch) as address,
        a_modem_manager(tmp_path, address, modem),
        carriers_of(tmp_path, GSM, timing=ALONE) as carriers,
    ):
        await until(lambda: getattr(carriers.keepers["gsm"].problem, "code", "") == code)
    assert not [command for command in modem.asked if command.startswith(("AT+CPIN=", "AT#REBOOT", "AT+CFUN=4"))]


async def test_the_pin_is_sent_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("ModemManager")
    pin = tmp_path / "pin"
    pin.write_text("1111")
    modem = AtModem(sim=Sim(pin="1234"), locked=True)
    link = LinkConfig(name="gsm", modem=ModemConfig(apn="internet", pin_file=pin))
    async with a_bus(tmp_path, monkeypatch) as address, a_modem_manager(tmp_path, address, modem):
        for _ in range(2):
            async with carriers_of(tmp_path, link) as carriers:
                await until(lambda: getattr(carriers.keepers["gsm"].problem, "code", "") == "modem.pin-wrong")
        assert [command for command in modem.asked if command.startswith("AT+CPIN=")] == ['AT+CPIN="1111"']
        pin.write_text("1234")
        async with carriers_of(tmp_path, link, timing=ALONE) as carriers:
            await until(lambda: modem_of(carriers, ModemState.REGISTERED))
    assert sum(command.startswith("AT+CPIN=") for command in modem.asked) == 2


async def test_every_rung_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("ModemManager")
    modem = AtModem()
    never = Timing(patience_s=dict.fromkeys(Symptom, 1e6))
    async with a_bus(tmp_path, monkeypatch) as address, a_modem_manager(tmp_path, address, modem):
        carriers = ManagedCarriers([GSM], tmp_path, never, tick_s=0.1)
        await carriers.start()
        keeper = carriers.keepers["gsm"]
        await until(lambda: modem_of(carriers, ModemState.DISABLED))
        for rung in (Rung.ENABLE, Rung.RECONNECT, Rung.REGISTER, Rung.POWER, Rung.RESET):
            found = keeper.modem()
            assert found is not None
            del modem.asked[:]
            async with asyncio.timeout(60):
                await keeper._take(rung, found)
            said = {Rung.POWER: "AT+CFUN=4", Rung.RESET: "AT#REBOOT"}.get(rung)
            assert said is None or said in modem.asked
            if rung is not Rung.RESET:  # a virtual modem does not go and come
                await until(lambda: modem_of(carriers, ModemState.REGISTERED))
        await carriers.close()


async def test_network_manager_dials_with_our_access_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both at once, up to the point where a modem would speak PPP: this one has nobody behind it."""
    need("NetworkManager", "ModemManager")
    modem = AtModem()
    async with (
        a_bus(tmp_path, monkeypatch) as address,
        a_modem_manager(tmp_path, address, modem, "generic"),
        carriers_of(tmp_path, GSM, timing=Timing()) as carriers,
        a_network_manager(tmp_path),
    ):
        await until(lambda: modem.dialled == "internet")
        await until(lambda: carriers.carrier(GSM).operator == "26201")
        assert not carriers.carrier(GSM).up
