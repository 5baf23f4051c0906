"""When to try again, and how long a server may tell us to wait. Pure functions; seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_S = 0.25
CAP_S = 1.5  # unmetered: with the attempt itself the first new value arrives within 2 s of the server's return
CAP_METERED_S = 60.0
CAP_HUMAN_S = 60.0  # somebody has to do something first: a wrong token, a wrong address
FIRST_HUMAN_S = 2.0
PAUSE_MIN_S = 0.1
RETRY_AFTER_MAX_S = 300.0


def delay_s(failures: int, *, metered: bool, human: bool, jitter: float) -> float:
    """Seconds between the starts of two attempts after ``failures`` in a row (1 or more); ``jitter`` in 0..1.

    Doubles up to the cap and is spread over the upper half, so that many boxes do not come back in step.
    """
    first, cap = (FIRST_HUMAN_S, CAP_HUMAN_S) if human else (FIRST_S, CAP_METERED_S if metered else CAP_S)
    doubled: float = min(cap, first * 2 ** min(failures - 1, 16))
    return doubled * (0.5 + 0.5 * jitter)


def pause_s(delay: float, spent: float, retry_after: float | None) -> float:
    """What is left to wait after an attempt that took ``spent``; never less than the server asked for."""
    return max(PAUSE_MIN_S, delay - spent, retry_after or 0.0)


def retry_after_s(value: str | None, date: str | None, now: datetime | None = None) -> float | None:
    """The Retry-After header (RFC 9110, 10.2.3) in seconds, bounded; None where there is none that can be read.

    A date is compared with the server's own Date header where there is one: the box's clock may be wrong.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), RETRY_AFTER_MAX_S)
    until, since = _date(value), _date(date) or now or datetime.now(UTC)
    if until is None:
        return None
    return min(max((until - since).total_seconds(), 0.0), RETRY_AFTER_MAX_S)


def _date(text: str | None) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text) if text else None
    except (ValueError, OverflowError):
        return None
    if parsed is not None and parsed.tzinfo is None:
        return parsed.replace(tzinfo=UTC)
    return parsed
