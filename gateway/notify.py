"""Talk to systemd: readiness, status, watchdog (sd_notify(3)); log to the journal with structured fields.

The notification protocol is one datagram to ``$NOTIFY_SOCKET``; it is sent here directly, so that the service
behaves the same on a box without Debian's python3-systemd, which only the structured journal fields need.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
import sys
import time

JOURNAL_FIELDS = ("device", "code", "fix", "link")  # of `extra` in our log calls; LAMPPOST_DEVICE ... in the journal


def notify(*lines: str) -> bool:
    """Send ``KEY=value`` lines to systemd. Returns False where nobody listens (not started by systemd)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(1.0)
        try:
            sender.sendto("\n".join(lines).encode(), address)
        except OSError:
            return False
    return True


def reloading() -> None:
    """RELOADING=1 with the time that Type=notify-reload wants (sd_notify(3))."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval_s() -> float | None:
    """Half of the time after which systemd takes the service for dead, None where there is no watchdog for us."""
    micros, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not micros.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(micros) / 2e6


def configure_logging(level: int = logging.INFO) -> None:
    """Log to the journal where systemd reads our stderr and its Python module is there, else as lines to stderr."""
    root = logging.getLogger()
    root.handlers[:] = [_journal_handler() or _line_handler()]
    root.setLevel(level)
    for chatty in ("bleak", "dbus_fast"):  # what goes wrong there is told once by the supervisor
        logging.getLogger(chatty).setLevel(logging.ERROR)


class _JournalFilter(logging.Filter):
    """Journal field names are upper case (systemd.journal-fields(7))."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name in JOURNAL_FIELDS:
            if name in record.__dict__:
                setattr(record, f"LAMPPOST_{name.upper()}", getattr(record, name))
        return True


def _journal_handler() -> logging.Handler | None:
    if "JOURNAL_STREAM" not in os.environ:
        return None
    try:
        journal = importlib.import_module("systemd.journal")
    except ImportError:
        return None
    handler: logging.Handler = journal.JournalHandler(SYSLOG_IDENTIFIER="lamppost")
    handler.addFilter(_JournalFilter())
    return handler


def _line_handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    return handler
