"""How fast to send over a link: pure functions of its cost, and of its budget against what is left of the month.

On a metered link everything is spaced so that the month's budget lasts the month: larger batches compress better, and
each exchange has its own overhead. Where more was used than the days allow, batches grow further, the backlog takes
less, then waits for another link, and at last live readings are thinned. Where a budget is nearly spent the rest is
kept for alarms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

INTERVAL_METERED_S = 60.0
INTERVAL_MAX_S = 900.0
BATCH_METERED = 10_000
BACKLOG_SHARE = 0.5
BACKLOG_SHARE_METERED = 0.25
PROBE_FREE_S = 60.0
PROBE_METERED_S = (300.0, 3600.0, 21_600.0)  # the least, without a budget, the most
PROBE_BYTES = 6000  # connecting over TCP and TLS, one short question and its answer
PROBE_SHARE = 0.01  # of what is left of a budget
RETRY_S = 5.0  # between probes of a link that is needed, doubling while it fails ...
RETRY_FREE_MAX_S, RETRY_METERED_MAX_S = 15.0, 60.0  # ... up to this: probes that fail cost few bytes
NEEDED_METERED_S = 60.0
HOLD_BELOW = 0.75  # of the pace that would last the month
THIN_BELOW = 0.5
THIN_MAX = 60
ALARMS_SHARE = 0.05  # of a budget is kept for alarms


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes ``used`` of ``limit`` in this month, of which ``left_s`` of ``month_s`` seconds are left.

    Until the time is known ``left_s`` equals ``month_s``.
    """

    limit: int
    used: int
    left_s: float
    month_s: float

    @property
    def left(self) -> int:
        """Bytes left."""
        return max(0, self.limit - self.used)

    @property
    def exhausted(self) -> bool:
        """Whether what is left is for alarms only."""
        return self.left <= ALARMS_SHARE * self.limit

    @property
    def thrift(self) -> float:
        """Share of the budget that is left over that of the month: 1 is on plan, less is too fast."""
        return (self.left / self.limit) / max(self.left_s / self.month_s, 1e-3)


@dataclass(frozen=True, slots=True)
class Pace:
    """What a sender should keep to on a link.

    ``interval_s``: how long live readings are gathered; ``backlog_share``: of the time, for what waited, unless it
    ``holds``: then that waits on; ``thin``: of live readings that are no alarms one in so many is sent, and the rest
    waits with the backlog; ``probe_s``: between probes while the link is not used.
    """

    interval_s: float
    batch_max: int
    backlog_share: float = BACKLOG_SHARE
    holds: bool = False
    thin: int = 1
    probe_s: float = PROBE_FREE_S


def pace(metered: bool, budget: Budget | None, interval_s: float, batch_max: int) -> Pace:
    """The pace of a link; ``interval_s`` and ``batch_max`` as configured for the uplink."""
    if not metered and budget is None:
        return Pace(interval_s, batch_max)
    thrift = 1.0 if budget is None else max(min(budget.thrift, 1.0), 1e-3)
    return Pace(
        interval_s=min(max(interval_s, INTERVAL_METERED_S / thrift), max(interval_s, INTERVAL_MAX_S)),
        batch_max=max(batch_max, BATCH_METERED),
        backlog_share=BACKLOG_SHARE_METERED * thrift,
        holds=thrift < HOLD_BELOW,
        thin=min(math.ceil(THIN_BELOW / thrift), THIN_MAX),
        probe_s=_probe_s(budget),
    )


def probe_spacing_s(pace: Pace, *, metered: bool, needed: bool, failures: int) -> float:
    """Seconds between two probes of a link. ``needed``: it is better than the one in use, or that one is in doubt."""
    if not needed:
        return pace.probe_s
    if failures or not metered:
        return min(RETRY_S * 2.0 ** min(failures, 16), RETRY_METERED_MAX_S if metered else RETRY_FREE_MAX_S)
    return max(NEEDED_METERED_S, pace.probe_s / 10)


def _probe_s(budget: Budget | None) -> float:
    least, usual, most = PROBE_METERED_S
    if budget is None:
        return usual
    affordable = PROBE_SHARE * budget.left / PROBE_BYTES
    return most if affordable <= 0 else min(max(budget.left_s / affordable, least), most)
