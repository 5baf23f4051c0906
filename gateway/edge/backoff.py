"""When to try again, as a pure function of what failed and how often."""

from __future__ import annotations

from drivers.errors import BadFrame, Disconnected, DriverError, NeedsHuman, NoPort, Timeout

STRIKES = 3  # failures in a row before a device counts as down: one damaged frame is not an outage
_FIRST_S = 1.0
_CAP_MISSING_S = 5.0  # a missing port costs nothing to look at
_CAP_SILENT_S = 60.0  # a silent unit costs its neighbours a timeout each time
_CAP_HUMAN_S = 30.0


def is_down(error: DriverError, failures: int, polled: bool) -> bool:
    """Whether a device counts as down after ``failures`` in a row, the last being ``error``.

    A device that speaks by itself has been given its whole ``silence_s`` already: its first failure counts.
    """
    return not polled or failures >= STRIKES or isinstance(error, NeedsHuman | Disconnected)


def delay_s(error: DriverError, failures: int, polled: bool, jitter: float) -> float:
    """Seconds until the next try; ``jitter`` in 0..1 spreads it over the upper half.

    0 before a device counts as down, and 0 where there is nothing to do but to go on listening.
    """
    if not is_down(error, failures, polled) or (isinstance(error, Timeout | BadFrame) and not polled):
        return 0.0
    if isinstance(error, NoPort | Disconnected):
        cap = _CAP_MISSING_S
    elif isinstance(error, NeedsHuman):
        cap = _CAP_HUMAN_S
    else:
        cap = _CAP_SILENT_S
    doubled: float = min(cap, _FIRST_S * 2 ** min(max(failures - STRIKES, 0), 16))
    return doubled * (0.5 + 0.5 * jitter)
