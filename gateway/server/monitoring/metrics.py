"""Counters of the server."""

from __future__ import annotations

from collections import Counter


class RequestCounter:
    """Requests by method and status, time spent."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds = 0.0
        self.in_flight = 0

    def done(self, method: str, status: int, seconds: float) -> None:
        """One request was answered."""
        known = method if method in ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS") else "other"
        self.requests[known, status] += 1
        self.seconds += seconds
