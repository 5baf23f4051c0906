"""What is said of a link: the keys of ``lamppost link --json`` (gateway/cli/link.py documents them)."""

from __future__ import annotations

from typing import Any

from gateway.model import Priority
from gateway.uplink.link_choice import Reason
from gateway.uplink.link_meter import LinkMeter


def explain(meter: LinkMeter, why: Reason | None, now: float, *, used: bool, asleep: bool) -> dict[str, Any]:
    """A link as measured, and why it is used or not. ``now``: of the meter's clock."""
    carrier, budget, ack_age_s = meter.carrier, meter.budget(), meter.ack_age_s(now)
    return {
        "name": meter.config.name,
        "used": used,
        "state": "asleep" if asleep else why.code if why else "untried",
        "why": why.text if why else "not looked at yet",
        "interface": carrier.interface,
        "connection": meter.config.connection,
        "up": carrier.up,
        "since_s": round(now - meter.since, 1),
        "last_ack_s": None if ack_age_s is None else round(ack_age_s, 1),
        "error": meter.seen.cause,
        "rtt_s": meter.rtt_s,
        "loss": meter.loss,
        "signal": carrier.signal,
        "operator": carrier.operator,
        "technology": carrier.technology,
        "roaming": carrier.roaming,
        "addresses": list(carrier.addresses),
        "dns": list(carrier.dns),
        "cost": "metered" if meter.metered else "free",
        "holds": False,
        "thin": 1,
        "carries": [p.name.lower() for p in Priority if meter.allows(p)],
        "month": meter.usage.month or None,
        "bytes": meter.usage.used,
        "budget": None if budget is None else budget.limit,
    }
