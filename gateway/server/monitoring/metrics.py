"""Counters of the server and their Prometheus text (exposition format 0.0.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

TEXT = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[Mapping[str, str], float]


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


def family(name: str, kind: str, text: str, samples: Iterable[Sample] | float) -> str:
    """The lines of one metric; ``samples`` may be a single number without labels."""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    pairs: Iterable[Sample] = [({}, samples)] if isinstance(samples, int | float) else samples
    for labels, value in pairs:
        inner = ",".join(f'{key}="{_escape(part)}"' for key, part in labels.items())
        lines.append(f"{name}{{{inner}}} {value:.15g}" if inner else f"{name} {value:.15g}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
