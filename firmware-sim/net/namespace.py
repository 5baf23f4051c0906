"""Network namespaces by iproute2, named so that what a dead run left behind is known and removed."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from firmware_sim.process import SimulatorError, find_program

NETNS = Path("/run/netns")
ETC = Path("/etc/netns")  # `ip netns exec` lays NAME/resolv.conf over /etc/resolv.conf
TUN = Path("/dev/net/tun")
CLONE_NEWNET = 0x40000000  # sched.h
NAME = re.compile(r"lamppost-(\d+)-(\d+)-\d+-\w+\Z")


def missing() -> str:
    """What keeps namespaces and links from being made here, as a word for a person; empty where nothing does."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if find_program("ip") is None:
        return "network namespaces need iproute2"
    if not TUN.exists():
        return "emulated links need /dev/net/tun"
    try:
        name = f"lamppost-{_owner()}-0-probe"
        ip(f"netns add {name}")
        ip(f"netns del {name}")
    except SimulatorError as error:
        return f"no network namespaces here: {error}"
    return ""


class Namespace:
    """One network namespace, its loopback up, its router and reverse-path filter set for several ways out."""

    def __init__(self, serial: int, role: str) -> None:
        self.name = f"lamppost-{_owner()}-{serial}-{role}"
        ip(f"netns add {self.name}")
        self.ip("link set lo up")
        quiet = "[ ! -d ipv6 ] || echo 1 >ipv6/conf/default/disable_ipv6"  # what the kernel says by itself would count
        switches = "echo 1 >ipv4/ip_forward; for f in ipv4/conf/*/rp_filter; do echo 0 >$f; done"
        run(self.command("sh", "-c", f"cd /proc/sys/net; {switches}; {quiet}"))

    def ip(self, *orders: str) -> None:
        """Orders of ip(8) inside, in one go. Raises SimulatorError."""
        run(["ip", "-n", self.name, "-batch", "-"], "\n".join(orders))

    def command(self, *command: str) -> list[str]:
        """The command line that runs a command inside; the process keeps its id."""
        return ["ip", "netns", "exec", self.name, *command]

    def resolve_by(self, servers: Sequence[str]) -> None:
        """Name servers of the commands inside, in this order."""
        folder = ETC / self.name
        folder.mkdir(parents=True, exist_ok=True)
        lines = [*(f"nameserver {server}" for server in servers), "options timeout:1 attempts:1"]
        (folder / "resolv.conf").write_text("\n".join(lines) + "\n", encoding="ascii")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread makes within belong to the namespace, and stay there."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(self.name)
            try:
                yield
            finally:
                _setns(own)
        finally:
            os.close(own)

    def remove(self) -> None:
        """Remove it; what still runs inside keeps its sockets and has no way out."""
        _remove(self.name)


def enter(name: str) -> None:
    """Move this thread into a namespace for good. Raises OSError."""
    handle = os.open(NETNS / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(handle)
    finally:
        os.close(handle)


def sweep() -> None:
    """Remove the namespaces of runs whose process is gone, and end what still runs in them."""
    for folder in (NETNS, ETC):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            match = NAME.match(path.name)
            if match is None or _started(int(match[1])) == match[2]:
                continue
            if folder == NETNS:
                for pid in run(["ip", "netns", "pids", path.name], check=False).split():
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
            _remove(path.name)


def ip(order: str) -> None:
    """One order of ip(8). Raises SimulatorError."""
    run(["ip", *order.split()])


def run(command: Sequence[str], text: str = "", check: bool = True) -> str:
    """Run a command that takes a moment. Raises SimulatorError with what it said."""
    program = find_program(command[0]) or command[0]
    try:
        done = subprocess.run([program, *command[1:]], input=text, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SimulatorError(f"{' '.join(command)}: {error}") from error
    if check and done.returncode:
        raise SimulatorError(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


def _remove(name: str) -> None:
    run(["ip", "netns", "del", name], check=False)
    shutil.rmtree(ETC / name, ignore_errors=True)


def _owner() -> str:
    """This process, so that no later one with the same id is taken for it."""
    return f"{os.getpid()}-{_started(os.getpid())}"


def _started(pid: int) -> str:
    """When a process started (proc(5), field 22 of stat); empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _setns(handle: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
