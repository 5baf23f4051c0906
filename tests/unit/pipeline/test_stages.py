"""Calibrate, check, derive, date: what the pipeline does to an observation."""

from __future__ import annotations

import math

from drivers.base import Measurement, Observation, Quality, Reason
from gateway.clock import Source
from gateway.pipeline.stages import Correction, Pipeline, derive

SECOND = 1_000_000_000
NOW = 1_793_000_000 * SECOND


class FixedClock:
    """UTC = monotonic + offset, or nothing known."""

    def __init__(self, offset_ns: int | None) -> None:
        self.boot_id = "boot"
        self.source: Source = "none" if offset_ns is None else "configured"
        self.offset_ns = offset_ns

    def mono_ns(self) -> int:
        return 0

    def utc_ns(self, mono_ns: int) -> int | None:
        return None if self.offset_ns is None else mono_ns + self.offset_ns


def observe(*values: tuple[str, float], mono_ns: int = 5 * SECOND, device_ns: int | None = None) -> Observation:
    return Observation(tuple(Measurement(q, v) for q, v in values), mono_ns, device_ns)


def test_untrusted_clock_keeps_boot_time_and_no_date() -> None:
    (reading,) = Pipeline(FixedClock(None), {}).process("meter", observe(("frequency", 50.0)))
    assert reading.observed_ns == 0
    assert reading.clock is not None
    assert (reading.clock.boot_id, reading.clock.mono_ns) == ("boot", 5 * SECOND)


def test_an_untrusted_clock_does_not_take_the_devices_word() -> None:
    (reading,) = Pipeline(FixedClock(None), {}).process("p1", observe(("frequency", 50.0), device_ns=NOW))
    assert reading.observed_ns == 0


def test_device_time_is_used_while_plausible() -> None:
    pipeline = Pipeline(FixedClock(NOW), {})
    (near,) = pipeline.process("p1", observe(("frequency", 50.0), device_ns=NOW + 4 * SECOND))
    (far,) = pipeline.process("p1", observe(("frequency", 50.0), device_ns=NOW - 3600 * SECOND))
    assert near.observed_ns == NOW + 4 * SECOND
    assert near.quality is Quality.GOOD
    assert far.observed_ns == NOW + 5 * SECOND
    assert (far.quality, far.reason) == (Quality.SUSPECT, Reason.CLOCK)


def test_two_observations_never_share_a_millisecond() -> None:
    pipeline = Pipeline(FixedClock(NOW), {})
    said = [observe(("frequency", 50.0), mono_ns=5 * SECOND + k, device_ns=NOW + 4 * SECOND) for k in range(2)]
    first, second = (pipeline.process("p1", observation)[0].observed_ns for observation in said)
    assert second - first == 1_000_000
    (again,) = pipeline.process("p1", said[1])  # of the very same instant: it takes the other's place
    assert again.observed_ns == second - 1_000_000


def test_calibration_comes_before_the_range_check() -> None:
    pipeline = Pipeline(FixedClock(NOW), {"s8": {"co2": Correction(1.0, -200.0)}})
    (reading,) = pipeline.process("s8", observe(("co2", 10_100.0)))
    assert reading.value == 9900.0
    assert reading.quality is Quality.GOOD


def test_out_of_range_is_kept_and_flagged() -> None:
    (reading,) = Pipeline(FixedClock(NOW), {}).process("s8", observe(("co2", 17_410.0)))
    assert (reading.value, reading.quality, reading.reason) == (17_410.0, Quality.BAD, Reason.RANGE)


def test_counter_that_falls_is_suspect_once() -> None:
    pipeline = Pipeline(FixedClock(NOW), {})
    qualities = [pipeline.process("m", observe(("energy_import_total", v)))[0].quality for v in (10.0, 9.0, 9.5)]
    assert qualities == [Quality.GOOD, Quality.SUSPECT, Quality.GOOD]


def test_no_number_is_counted_not_sent() -> None:
    pipeline = Pipeline(FixedClock(NOW), {})
    assert pipeline.process("m", observe(("frequency", math.nan), ("voltage_l1", math.inf))) == []
    assert pipeline.invalid == 2


def test_total_is_derived_from_three_phases_only() -> None:
    phases = tuple(Measurement(f"active_power_l{i}", 100.0 * i) for i in (1, 2, 3))
    assert derive(phases)[-1] == Measurement("active_power_total", 600.0)
    assert derive(phases[:2]) == phases[:2]
    with_total = (*phases, Measurement("active_power_total", 1.0))
    assert derive(with_total) == with_total
