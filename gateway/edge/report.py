"""What the box says of itself: the status of the control socket, the metrics, and its own Device entity."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from drivers.base import Measurement, Observation
from gateway.clock import Clock
from gateway.config.schema import Config
from gateway.edge.health import DeviceHealth
from gateway.model import LinkState
from gateway.outbox.store import OutboxStats
from gateway.prometheus import Sample, family
from gateway.uplink.link_pace import INTERVAL_MAX_S
from gateway.uplink.turns import UplinkStats

_START_MONO_NS = time.monotonic_ns()
LATE_AGE_S = 120.0
DOWN_NAMED_MAX = 10


def summary(
    config: Config,
    health: Mapping[str, DeviceHealth],
    outbox: OutboxStats,
    link: LinkState | None,
    clock: Clock,
    *,
    holds: bool = False,
) -> tuple[bool, str]:
    """(all is well, the first line of ``status``): the one thing to do, worst first.

    ``holds``: what waited does not travel over the link in use.
    """
    if not outbox.writer_alive:
        return False, "The outbox cannot be written: run `lamppost doctor` (disk full or read-only?)."
    if outbox.problem:
        return False, f"The outbox has a problem: {outbox.problem}"
    if clock.source == "none":
        return False, "The time is not known yet: readings are kept and sent once NTP, GNSS or the server tells it."
    if link is not None and not link.up:
        return False, f"The server cannot be reached ({link.error or 'no answer'}): readings are kept and sent later."
    down = [name for name, device in health.items() if device.is_down]
    if down:
        error = health[down[0]].error
        fix = f" {error.fix}" if error is not None else ""
        others = f" (and {len(down) - 1} more)" if len(down) > 1 else ""
        return False, f"{down[0]} is {health[down[0]].state}{others}.{fix}"
    interval_s = (config.uplink and config.uplink.interval) or 0.0
    gathers_s = INTERVAL_MAX_S if link is not None and link.link.metered else interval_s
    if link is not None and outbox.oldest_age_s > max(LATE_AGE_S, 3 * gathers_s):
        waits = f"What waited does not go over {link.link.name}: it is kept for another link, or a better month."
        return False, waits if holds else "The backlog is being sent."
    return True, "All is well."


def status(
    config: Config,
    version: str,
    health: Mapping[str, DeviceHealth],
    outbox: OutboxStats,
    link: LinkState | None,
    clock: Clock,
    uplink: UplinkStats | None = None,
) -> dict[str, Any]:
    """The result of the control request ``status``; its keys are documented in docs/reference/status.md."""
    now = time.monotonic_ns()
    holds = uplink is not None and uplink.holds
    ok, first_line = summary(config, health, outbox, link, clock, holds=holds)
    return {
        "version": version,
        "site": config.site.id,
        "summary": first_line,
        "ok": ok,
        "uptime_s": round((now - _START_MONO_NS) / 1e9, 1),
        "clock": {"source": clock.source, "boot_id": clock.boot_id},
        "devices": {name: device.as_json(now, outbox.made.get(name, 0)) for name, device in health.items()},
        "outbox": {
            "stream": outbox.stream,
            "depth": outbox.depth,
            "age_s": round(outbox.oldest_age_s, 1),
            "bytes": outbox.bytes,
            "kept_bytes": outbox.kept_bytes,
            "deferred": outbox.deferred,
            "volatile": outbox.volatile,
            "made": dict(outbox.made),
            "dropped": dict(outbox.dropped),
            "crash_cost": outbox.crash_cost,
            "crashes": outbox.crashes,
            "problem": outbox.problem,
        },
        "link": None if link is None else link_json(link),
        "uplink": None if uplink is None else uplink_json(uplink),
    }


def link_json(link: LinkState) -> dict[str, Any]:
    """A link in ``status``."""
    return {
        "name": link.link.name,
        "up": link.up,
        "rtt_s": None if link.rtt_s is None else round(link.rtt_s, 4),
        "bytes_sent": link.bytes_sent,
        "bytes_received": link.bytes_received,
        "error": link.error,
    }


def uplink_json(uplink: UplinkStats) -> dict[str, Any]:
    """The uplink in ``status``."""
    return {
        "live_age_s": None if uplink.live_age_s is None else round(uplink.live_age_s, 1),
        "backlog": uplink.backlog,
        "drain_per_s": round(uplink.drain_per_s, 1),
        "holds": uplink.holds,
        "thin": uplink.thin,
    }


def observation(health: Mapping[str, DeviceHealth], outbox: OutboxStats, link: LinkState | None) -> Observation:
    """What the gateway publishes of itself as a Device entity."""
    values = {
        "outbox_depth": float(outbox.depth),
        "outbox_age": round(outbox.oldest_age_s, 1),
        "devices_up": sum(device.state == "up" for device in health.values()),
        "devices_configured": len(health),
        "readings_made": sum(outbox.made.values()),
        "readings_dropped": sum(outbox.dropped.values()),
        "crash_cost": outbox.crash_cost,
    }
    down = [name for name, device in health.items() if device.is_down]
    measured = [Measurement("devices_down", ", ".join(down[:DOWN_NAMED_MAX]))]
    measured += [Measurement(quantity, value) for quantity, value in values.items()]
    if link is not None:
        measured += [Measurement("link_name", link.link.name), Measurement("link_up", link.up)]
    return Observation(tuple(measured), time.monotonic_ns())


def metrics(
    health: Mapping[str, DeviceHealth], outbox: OutboxStats, link: LinkState | None, extra: Mapping[str, float]
) -> str:
    """All metrics of the edge role in the Prometheus text format (docs/reference/metrics.md)."""
    rows = [*_device_metrics(health), *_outbox_metrics(outbox), *([] if link is None else _link_metrics(link))]
    rows += [(name, "gauge", "See docs/reference/metrics.md.", [({}, value)]) for name, value in extra.items()]
    return "".join(family(f"lamppost_{name}", kind, text, samples) for name, kind, text, samples in rows)


Row = tuple[str, str, str, list[Sample]]


def _device_metrics(health: Mapping[str, DeviceHealth]) -> list[Row]:
    def each(value: Callable[[DeviceHealth], float]) -> list[Sample]:
        return [({"device": name}, value(device)) for name, device in health.items()]

    quality: list[Sample] = [
        ({"device": name, "quality": flag}, count)
        for name, device in health.items()
        for flag, count in device.readings_by_quality.items()
    ]
    return [
        ("readings_total", "counter", "Readings by device and quality since the start.", quality),
        ("device_up", "gauge", "1 while the device answers.", each(lambda d: d.state == "up")),
        ("device_outages_total", "counter", "Times it went down.", each(lambda d: d.outages)),
        ("device_failures_total", "counter", "Reads that failed.", each(lambda d: d.failed_total)),
        ("polls_total", "counter", "Polls begun.", each(lambda d: d.polls)),
        ("polls_skipped_total", "counter", "Polls that had no room.", each(lambda d: d.skipped)),
        ("poll_lateness_seconds_total", "counter", "Sum of how late polls began.", each(lambda d: d.late_ms_sum / 1e3)),
        ("poll_lateness_seconds_max", "gauge", "Largest lateness of a poll.", each(lambda d: d.late_ms_max / 1e3)),
    ]


def _outbox_metrics(outbox: OutboxStats) -> list[Row]:
    made: list[Sample] = [({"device": name}, count) for name, count in outbox.made.items()]
    dropped: list[Sample] = [({"reason": reason}, count) for reason, count in outbox.dropped.items()]
    return [
        ("readings_made_total", "counter", "Readings put into the outbox, since its stream began.", made),
        ("readings_dropped_total", "counter", "Readings dropped by reason.", dropped),
        ("readings_deferred_total", "counter", "Live readings left for later by a budget.", [({}, outbox.deferred)]),
        ("crash_cost_total", "counter", "Readings that crashes cost at most.", [({}, outbox.crash_cost)]),
        ("outbox_depth", "gauge", "Readings not acknowledged yet.", [({}, outbox.depth)]),
        ("outbox_age_seconds", "gauge", "Age of the oldest of them.", [({}, outbox.oldest_age_s)]),
        ("outbox_bytes", "gauge", "Size of the outbox file.", [({}, outbox.bytes)]),
    ]


def _link_metrics(state: LinkState) -> list[Row]:
    name = {"link": state.link.name}
    return [
        ("link_up", "gauge", "1 while the server answers.", [(name, state.up)]),
        ("link_sent_bytes_total", "counter", "Bytes sent.", [(name, state.bytes_sent)]),
        ("link_received_bytes_total", "counter", "Bytes received.", [(name, state.bytes_received)]),
    ]
