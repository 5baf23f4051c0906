"""Bytes of a link against its budget: the kernel's counters of the interface, added up over the month.

The counters begin at zero when an interface is made (a modem that was plugged in again) and some wrap at 32 bit. What
passed while the daemon was not running counts too, as long as the box was not restarted: the budget is that of the SIM,
not of the daemon. A month begins at midnight of ``budget_day`` in the time zone of the site, in trusted time only;
what is counted before the time is known belongs to the month that it then turns out to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from gateway.uplink.carrier import SYS_NET

WRAP = 2**32
SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters of an interface at one instant; ``boot`` and ``index`` name the life of the interface."""

    boot: str
    index: int
    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a link has used in the month that began on ``month`` (ISO date; empty: not known yet), and the last sample.

    ``undated``: the part of ``used`` that was counted while the time was not known.
    """

    month: str = ""
    used: int = 0
    undated: int = 0
    last: Sample | None = None

    def count(self, now: Sample) -> Usage:
        """With the bytes since the last sample; the first sample of all only begins the count."""
        if self.last is None:
            return replace(self, last=now)
        if (self.last.boot, self.last.index) == (now.boot, now.index):
            more = _since(self.last.received, now.received) + _since(self.last.sent, now.sent)
        else:
            more = now.received + now.sent
        return replace(self, used=self.used + more, undated=self.undated + more, last=now)

    def date(self, month: str) -> Usage:
        """The time is known, and this is the month: a new one begins with what was not dated yet."""
        used = self.used if self.month in (month, "") else self.undated
        return replace(self, month=month, used=used, undated=0)


def month_of(utc_ns: int, day: int, zone: tzinfo) -> tuple[datetime, datetime]:
    """Begin and end of the month that an instant is in; months begin on ``day`` (1..28) in ``zone``."""
    local = datetime.fromtimestamp(utc_ns / SECOND, UTC).astimezone(zone)
    begin = local.replace(day=day, hour=0, minute=0, second=0, microsecond=0, fold=0)
    if local < begin:
        begin = (begin.replace(day=1) - timedelta(days=1)).replace(day=day)
    return begin, (begin.replace(day=28) + timedelta(days=4)).replace(day=day)


def is_open(hours: list[str], utc_ns: int | None, zone: tzinfo) -> bool:
    """Whether a schedule such as ``22:00-06:00`` allows a link at an instant; always while the time is not known."""
    if not hours or utc_ns is None:
        return True
    clock = f"{datetime.fromtimestamp(utc_ns / SECOND, UTC).astimezone(zone):%H:%M}"
    spans = [span.split("-") for span in hours]
    return any(begin <= clock < end if begin < end else clock >= begin or clock < end for begin, end in spans)


def sample(interface: str, boot: str, folder: Path = SYS_NET) -> Sample | None:
    """Read the counters of an interface, None where it is not there."""
    statistics = folder / interface / "statistics"
    try:
        index = int((folder / interface / "ifindex").read_text(encoding="ascii"))
        received = int((statistics / "rx_bytes").read_text(encoding="ascii"))
        sent = int((statistics / "tx_bytes").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return Sample(boot, index, received, sent)


def save(usages: Mapping[str, Usage]) -> dict[str, Any]:
    """For the file: by link."""
    return {
        name: {
            "month": usage.month,
            "used": usage.used,
            "undated": usage.undated,
            "last": usage.last and [usage.last.boot, usage.last.index, usage.last.received, usage.last.sent],
        }
        for name, usage in usages.items()
    }


def load(saved: object) -> dict[str, Usage]:
    """What :meth:`save` made. Raises ValueError where it is anything else."""
    if not isinstance(saved, dict):
        raise ValueError("not the use of links")
    try:
        return {str(name): _usage(entry) for name, entry in saved.items()}
    except (LookupError, TypeError) as error:
        raise ValueError(f"not the use of links: {error!r}") from error


def _usage(entry: dict[str, Any]) -> Usage:
    last = None if entry["last"] is None else Sample(str(entry["last"][0]), *map(int, entry["last"][1:]))
    return Usage(str(entry["month"]), int(entry["used"]), int(entry["undated"]), last)


def _since(last: int, now: int) -> int:
    if now >= last:
        return now - last
    return now + WRAP - last if WRAP // 2 < last < WRAP and now < WRAP // 2 else now
