"""The checks of ``lamppost doctor``. Each looks at one thing, and bounds its own waiting."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gateway.cli.control import SOCKET_NAME
from gateway.cli.doctor import Check, Finding, summary_config
from gateway.cli.doctor_buses import checks as bus_checks
from gateway.cli.doctor_buses import daemon_status
from gateway.cli.doctor_links import checks as link_checks
from gateway.cli.doctor_server import server
from gateway.clock import EARLIEST_NS, kernel_synchronised
from gateway.config.load import load
from gateway.config.schema import Config
from gateway.outbox.file import refuses

FREE_MIN_BYTES = 200 * 2**20
PACKAGES = (
    *("pydantic", "PyYAML", "pyserial", "pymodbus", "bleak", "dbus-fast", "paho-mqtt", "h11"),
    *("aiocoap", "cryptography"),
)


def configuration(path: Path | None) -> tuple[Config | None, list[Finding]]:
    """The configuration where it can be used, and what is to be said of it."""
    if path is None:
        fix = "Give --config FILE; to begin, copy one of config/examples/."
        return None, [Finding("configuration", "warn", "no configuration file", fix)]
    loaded = load(path)
    if loaded.config is None:
        errors = sum(problem.severity == "error" for problem in loaded.problems)
        return None, [Finding("configuration", "fail", f"{errors} mistakes in {path}", f"Run `lamppost check {path}`.")]
    detail = f"{path}: {summary_config(loaded.config)}"
    if loaded.problems:
        seen = f"{detail}; {len(loaded.problems)} warnings"
        return loaded.config, [Finding("configuration", "warn", seen, f"Run `lamppost check {path}`.")]
    return loaded.config, [Finding("configuration", "ok", detail)]


def checks(config: Config | None) -> list[tuple[str, Check]]:
    """What to look at on this box, given what is configured."""
    found: list[tuple[str, Check]] = [("python", python), ("systemd", systemd)]
    found.append(("clock", partial(clock, config is not None and config.clock.trusted)))
    if config is None:
        return found
    found += [("disk", partial(disk, config.storage.path)), ("daemon", partial(daemon, config))]
    found += bus_checks(config)
    found += link_checks(config)
    if config.uplink is not None:
        found.append(("server", partial(server, config, config.uplink)))
    if config.disaggregation is not None:
        found.append(("disaggregation", disaggregation))
    return found


def python() -> Sequence[Finding]:
    """Python and the packages that Lamppost stands on."""
    from gateway import __version__

    version = ".".join(str(part) for part in sys.version_info[:3])
    missing, there = [], []
    for package in PACKAGES:
        try:
            there.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    detail = f"lamppost {__version__}, Python {version}, {', '.join(there)}"
    if missing:
        fix = "Install them: `pip install 'lamppost[edge,ble]'`."
        return [Finding("python", "warn", f"{detail}; not installed: {', '.join(missing)}", fix)]
    return [Finding("python", "ok", detail)]


def clock(trusted: bool = False) -> Sequence[Finding]:
    """Whether the system clock can be believed; ``trusted``: the configuration vouches for it."""
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if time.time_ns() < EARLIEST_NS:
        fix = "Connect it to the network, or set the clock; until then readings are kept, not sent."
        return [Finding("clock", "fail", f"it says {now}", fix)]
    if trusted:
        return [Finding("clock", "ok", f"{now}, trusted by the configuration")]
    if not kernel_synchronised():
        fix = "Check `timedatectl`; allow NTP (UDP 123), or set `clock: {trusted: true}` where there is an RTC."
        return [Finding("clock", "warn", f"{now}, not synchronised by NTP", fix)]
    return [Finding("clock", "ok", f"{now}, synchronised")]


def systemd() -> Sequence[Finding]:
    """Whether the service is watched. Seen from outside: the unit file, where systemd runs."""
    if not Path("/run/systemd/system").is_dir():
        return [Finding("systemd", "ok", "systemd does not run here")]
    units = [Path(folder) / "lamppost.service" for folder in ("/etc/systemd/system", "/usr/lib/systemd/system")]
    unit = next((path for path in units if path.exists()), None)
    if unit is None:
        fix = "Install packaging/systemd/lamppost.service, so that it starts with the box."
        return [Finding("systemd", "warn", "there is no unit lamppost.service", fix)]
    if "WatchdogSec=" not in unit.read_text(encoding="utf-8", errors="replace"):
        return [Finding("systemd", "warn", f"{unit} has no watchdog", "Add `WatchdogSec=60` to it.")]
    return [Finding("systemd", "ok", f"{unit}, with a watchdog")]


def disk(path: Path) -> Sequence[Finding]:
    """Whether the outbox has room and may be written."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    detail = f"{free / 2**20:.0f} MiB free for {path}"
    if refuses(there):
        fix = "Look at `mount`, `df -i` and `dmesg`: a card that fails is made read-only. The daemon sends meanwhile."
        return [Finding("disk", "fail", f"{there} takes no file: it is read-only, or has no inode left", fix)]
    if not os.access(there, os.W_OK | os.X_OK):
        fix = f"Run it as the service's user, or `chown` {there} to it."
        return [Finding("disk", "fail", f"{there} may not be written by this user", fix)]
    if free < FREE_MIN_BYTES:
        return [Finding("disk", "warn", detail, "Make room, or lower storage.outbox_max.")]
    return [Finding("disk", "ok", detail)]


def daemon(config: Config) -> Sequence[Finding]:
    """Whether the daemon answers, and what it says."""
    status = daemon_status(config)
    if status is None:
        cause = f"no daemon answers at {config.storage.path / SOCKET_NAME}"
        return [Finding("daemon", "warn", cause, "Start it: `systemctl start lamppost`, or `lamppost run`.")]
    summary = str(status.get("summary", ""))
    return [Finding("daemon", "ok" if status.get("ok") else "warn", summary, "Run `lamppost status`.")]


def disaggregation() -> Sequence[Finding]:
    """Whether what tells appliances apart is installed."""
    missing = [package for package in ("numpy", "numba") if importlib.util.find_spec(package) is None]
    if missing:
        cause = f"configured, but not installed: {', '.join(missing)}"
        return [Finding("disaggregation", "fail", cause, "Install it: `pip install 'lamppost[nilm]'`.")]
    return [Finding("disaggregation", "ok", "numba is installed")]
