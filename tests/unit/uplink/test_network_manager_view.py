"""What is read out of NetworkManager's objects, as the real one shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config.schema import LinkConfig, ModemConfig
from gateway.uplink.carrier import Carrier
from gateway.uplink.network_manager import carrier_of, gsm_settings, profile_name
from gateway.uplink.system_bus import Objects, plain

NM = "org.freedesktop.NetworkManager"
ETH = LinkConfig(name="eth", interface="eth0")


def objects(**device: Any) -> Objects:
    shown = {"Interface": "eth0", "IpInterface": "eth0", "State": 100, "DeviceType": 1, "Metered": 4,
             "Ip4Config": "/4", "Ip6Config": "/6", "Ip4Connectivity": 4, "Ip6Connectivity": 1}  # fmt: skip
    ip4 = {"AddressData": [{"address": "10.9.0.2", "prefix": 24}, {"address": "169.254.1.1", "prefix": 16}],
           "NameserverData": [{"address": "10.9.0.1"}]}  # fmt: skip
    six = bytes.fromhex("20010db8000000000000000000000053")
    ip6 = {"AddressData": [{"address": "fe80::1"}, {"address": "2001:db8::2"}], "Nameservers": [six]}
    return {"/d": {f"{NM}.Device": shown | device}, "/4": {f"{NM}.IP4Config": ip4}, "/6": {f"{NM}.IP6Config": ip6}}


def test_addresses_and_name_servers_that_lead_somewhere() -> None:
    seen = carrier_of(objects(), ETH)
    assert seen == Carrier(
        True,
        "eth0",
        metered=False,
        addresses=("10.9.0.2", "2001:db8::2"),
        dns=("10.9.0.1", "2001:db8::53"),
    )
    own = LinkConfig(name="eth", interface="eth0", dns=["192.0.2.53"])
    assert getattr(carrier_of(objects(), own), "dns", None) == ("192.0.2.53",)


@pytest.mark.parametrize(
    ("device", "up", "problem"),
    [
        ({"State": 30}, False, "eth0 is disconnected"),
        ({"State": 70}, False, "eth0 is waiting for an address"),
        ({"State": 77}, False, "eth0 is in state 77"),
        ({"Ip4Connectivity": 2}, True, "there is a captive portal, says NetworkManager"),
        ({"Ip6Connectivity": 2}, True, "there is a captive portal, says NetworkManager"),
        ({"Ip4Connectivity": 3}, True, ""),  # limited: its own server may be what cannot be reached
    ],
)
def test_states(device: dict[str, Any], up: bool, problem: str) -> None:
    seen = carrier_of(objects(**device), ETH)
    assert seen is not None and (seen.up, seen.problem) == (up, problem)


@pytest.mark.parametrize(("number", "metered"), [(0, None), (1, True), (2, False), (3, True), (4, False), (9, None)])
def test_metered(number: int, metered: bool | None) -> None:
    seen = carrier_of(objects(Metered=number), ETH)
    assert seen is not None and seen.metered is metered


def test_where_it_has_no_say() -> None:
    assert carrier_of(objects(State=10), ETH) is None  # not managed
    assert carrier_of({}, ETH) is None
    named = carrier_of({}, LinkConfig(name="a", connection="School"))
    assert named is not None and named.problem == "the connection School is not up"


def test_objects_that_lack_what_they_should_have() -> None:
    seen = carrier_of({"/d": {f"{NM}.Device": {"Interface": "eth0"}}}, ETH)
    assert seen is not None and not seen.up
    broken = objects()
    broken["/4"][f"{NM}.IP4Config"] = {"AddressData": [{"address": "nonsense"}, {}], "NameserverData": [{}]}
    seen = carrier_of(broken, ETH)
    assert seen is not None and seen.addresses == ("2001:db8::2",)


def test_our_profile_follows_from_the_link_and_bears_no_pin(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "pin").write_text("1234\n")
    modem = ModemConfig(apn="internet", password_file=tmp_path / "password", pin_file=tmp_path / "pin")
    link = LinkConfig(name="gsm", modem=modem, on_demand=True, cost="metered")
    first, second = plain(gsm_settings(link)), plain(gsm_settings(link))
    assert first == second  # the UUID too: it is found again after a crash
    assert first["gsm"] == {"apn": "internet", "home-only": True, "password": "secret"}
    assert (first["connection"]["autoconnect"], first["connection"]["metered"]) == (False, 1)
    assert "1234" not in str(first)
    assert profile_name(link) == "lamppost-gsm"
    assert profile_name(LinkConfig(name="gsm", modem=ModemConfig())) is None
