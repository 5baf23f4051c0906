"""The real NetworkManager and ModemManager on a private bus: the one in a network namespace, the other with AT modems.

NetworkManager leaves devices alone that udev has not seen, but where /sys is read-only (a container): so it is here.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus

from firmware_sim.ble.dbus import DbusDaemon
from firmware_sim.managers.at_modem import AtModem
from gateway.uplink import system_bus

START_S, STOP_S = 60.0, 20.0
MM_PATH = "/org/freedesktop/ModemManager1"
_CONFIG = """[main]
plugins=keyfile
auth-polkit=false
dns=none
rc-manager=unmanaged
no-auto-default=*
dhcp=internal
[keyfile]
path={folder}/connections
"""
_LAN = """[connection]
id=lan
uuid=4be6a45c-8f6d-444c-9715-9eff2d065455
type=ethernet
interface-name=lan0
autoconnect=false
[ipv4]
method=manual
address1=10.9.0.2/24,10.9.0.1
dns=10.9.0.1;
[ipv6]
method=disabled
"""
_SCRIPT = """set -e
mount -t tmpfs none /run
mkdir -p /run/NetworkManager
mount -t tmpfs none /var/lib/NetworkManager
mount -t sysfs -o ro none /sys
ip link set lo up
ip link add lan0 type veth peer name lan1
ip link set lan1 up
exec NetworkManager --no-daemon --config={folder}/nm.conf --config-dir={folder}/none \\
  --system-config-dir={folder}/none --intern-config={folder}/intern.conf --state-file={folder}/state \\
  --pid-file={folder}/pid
"""


def need(*programs: str) -> None:
    """Skip where one of these is not installed, or this is not root."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [program for program in programs if shutil.which(program, path=path) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@asynccontextmanager
async def a_bus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A dbus-daemon that is the system bus of this test. Gives its address."""
    dbus = DbusDaemon(folder)
    await dbus.start()
    for name in ("DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.setenv(name, dbus.address)
    monkeypatch.setattr(system_bus, "FIRST_S", 0.1)
    try:
        yield dbus.address
    finally:
        await dbus.stop()


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def a_network_manager(folder: Path) -> AsyncIterator[Process]:
    """NetworkManager with the interface lan0, whose cable ends in lan1, and the connection ``lan``."""
    need("NetworkManager", "unshare", "ip", "nsenter")
    connections = folder / "connections"
    connections.mkdir(exist_ok=True)
    (connections / "lan.nmconnection").write_text(_LAN)
    (connections / "lan.nmconnection").chmod(0o600)
    (folder / "nm.conf").write_text(_CONFIG.format(folder=folder))
    with (folder / "nm.log").open("ab") as log:
        command = ("unshare", "--net", "--mount", "sh", "-c", _SCRIPT.format(folder=folder))
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        await _end(process)


async def in_namespace(process: Process, *command: str) -> None:
    """Run something where NetworkManager lives."""
    arguments = ("nsenter", "--target", str(process.pid), "--net", *command)
    assert await (await asyncio.create_subprocess_exec(*arguments)).wait() == 0


@asynccontextmanager
async def a_modem_manager(folder: Path, address: str, modem: AtModem, plugin: str = "telit") -> AsyncIterator[None]:
    """ModemManager with one modem."""
    need("ModemManager")
    name = f"abstract:lamppost-{os.getpid()}"
    serving = asyncio.create_task(modem.serve(name))
    options = ("--test-session", "--test-enable", "--test-no-udev", "--test-no-suspend-resume", "--no-auto-scan")
    with (folder / "mm.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec("ModemManager", *options, "--debug", stdout=log, stderr=log)
    bus = await MessageBus(bus_address=address).connect()
    try:
        profile = Message(
            "org.freedesktop.ModemManager1", MM_PATH, "org.freedesktop.ModemManager1.Test", "SetProfile",
            signature="ssas", body=["lamppost", plugin, [name]],
        )  # fmt: skip
        async with asyncio.timeout(START_S):
            while True:
                reply = await bus.call(profile)
                if reply is not None and reply.message_type is not MessageType.ERROR:
                    break
                await asyncio.sleep(0.1)
        yield
    finally:
        bus.disconnect()
        await _end(process)
        serving.cancel()
        await asyncio.wait([serving])
