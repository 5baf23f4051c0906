"""Which source of carriers a configuration asks for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.config.schema import LinkConfig, ModemConfig
from gateway.errors import UplinkError
from gateway.uplink import carrier
from gateway.uplink.carrier import InterfaceCarriers, make_carriers
from gateway.uplink.managed_carriers import ManagedCarriers

PLAIN, WIRED = LinkConfig(name="a"), LinkConfig(name="b", interface="eth0")
NAMED, MODEM = LinkConfig(name="c", connection="School"), LinkConfig(name="d", modem=ModemConfig(apn="internet"))


@pytest.mark.parametrize(
    ("links", "bus", "kind"),
    [
        ([], True, InterfaceCarriers),
        ([PLAIN], True, InterfaceCarriers),
        ([WIRED], False, InterfaceCarriers),
        ([WIRED], True, ManagedCarriers),
        ([PLAIN, NAMED], False, ManagedCarriers),
        ([MODEM], False, ManagedCarriers),
    ],
)
def test_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: list[LinkConfig], bus: bool, kind: type
) -> None:
    monkeypatch.delenv("DBUS_SYSTEM_BUS_ADDRESS", raising=False)
    monkeypatch.setattr(carrier, "SYSTEM_BUS", tmp_path if bus else tmp_path / "none")
    assert type(make_carriers(links, tmp_path)) is kind


def test_without_dbus_fast_only_what_needs_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/none")
    monkeypatch.setitem(sys.modules, "gateway.uplink.managed_carriers", None)
    assert isinstance(make_carriers([WIRED], tmp_path), InterfaceCarriers)
    with pytest.raises(UplinkError, match="dbus-fast") as refused:
        make_carriers([WIRED, NAMED], tmp_path)
    assert "pip install" in refused.value.fix
