"""What the box knows of its devices: state, last success, errors, lateness. Shown by status, top and the metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from drivers.errors import DriverError

State = Literal["starting", "up", "down", "silent"]


@dataclass(slots=True)
class DeviceHealth:
    """``late_ms_*`` tell how long after the wanted instant values were taken; ``skipped`` counts polls without room.

    ``error`` of a device that is up is what it does not give; ``lacking_told`` is what was said of that.
    """

    bus: str
    template: str
    place: str
    evidence: str = ""
    state: State = "starting"
    last_mono_ns: int | None = None
    error: DriverError | None = None
    failures: int = 0
    failed_total: int = 0
    outages: int = 0
    skipped: int = 0
    late_ms_max: float = 0.0
    late_ms_sum: float = 0.0
    polls: int = 0
    back_by_mono_ns: int = 0
    lacking_told: str = ""
    readings_by_quality: Counter[str] = field(default_factory=Counter)

    @property
    def is_down(self) -> bool:
        """Whether it was found not to answer; one that is just starting was not."""
        return self.state in ("down", "silent")

    def as_json(self, now_mono_ns: int, made: int) -> dict[str, object]:
        """The form in ``lamppost status --json`` (docs/reference/status.md)."""
        error = self.error
        described = None if error is None else {"code": error.code, "cause": str(error), "fix": error.fix}
        return {
            "state": self.state,
            "bus": self.bus,
            "template": self.template,
            "place": self.place,
            "evidence": self.evidence,
            "last_s": None if self.last_mono_ns is None else round((now_mono_ns - self.last_mono_ns) / 1e9, 3),
            "made": made,
            "error": described,
            "failed": self.failed_total,
            "outages": self.outages,
            "skipped": self.skipped,
            "late_ms_max": round(self.late_ms_max, 1),
        }
