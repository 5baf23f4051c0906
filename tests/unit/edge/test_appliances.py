"""What the edge publishes of appliances: whole sets, runs, and one date for what is said twice of an instant."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from drivers.base import Observation, Reading
from gateway.config.schema import Disaggregation
from gateway.edge.appliances import RUNS_MAX, Appliances
from gateway.pipeline.nilm.result import ApplianceResult, Part, RunEvent
from gateway.pipeline.stages import Pipeline

S = 10**9
EPOCH_NS = 1_800_000_000 * S


@dataclass
class Box:
    """A pipeline and a clock that can be set; what was published."""

    offset_ns: int | None = EPOCH_NS
    boot_id: str = "boot"
    source: str = "kernel"
    said: list[Reading] = field(default_factory=list)
    replaces: bool = False

    def __post_init__(self) -> None:
        self.pipeline = Pipeline(self, {})  # type: ignore[arg-type]
        settings = Disaggregation(meter="grid")
        self.appliances = Appliances(settings, lambda *_: None, self.publish, self.utc_ns)

    def mono_ns(self) -> int:
        return 0

    def utc_ns(self, mono_ns: int) -> int | None:
        return None if self.offset_ns is None else mono_ns + self.offset_ns

    def publish(self, device: str, observation: Observation, urgent: bool, replaces: bool) -> None:
        self.replaces = replaces
        self.said += self.pipeline.process(device, observation)

    def runs(self) -> list[tuple[str, object, int]]:
        return [(r.quantity, r.value, r.observed_ns) for r in self.said if r.device == "grid/kettle/run"]


def result(at: int, on: bool, *events: RunEvent, final: bool = True) -> ApplianceResult:
    return ApplianceResult(at, 2100.0, 100.0, (Part("kettle", 2000.0, 0.1, on, 0.9),), events, final)


def test_a_run_is_provisional_then_whole_and_says_one_start() -> None:
    box = Box()
    box.appliances.result(result(100 * S, True, RunEvent("kettle", "start", 100 * S)))
    began = EPOCH_NS + 100 * S
    assert box.runs() == [("provisional", True, began), ("run_started", "2027-01-15T08:01:40.000000Z", began)]
    box.said.clear()
    box.offset_ns = EPOCH_NS + 2_345_678  # the clock was disciplined in between
    box.appliances.result(result(220 * S, False, RunEvent("kettle", "end", 220 * S, 120.0, 0.066, 0.9)))
    said = box.runs()
    assert {at for _, _, at in said} == {EPOCH_NS + 220 * S + 2_000_000}
    assert {name: value for name, value, _ in said} == {
        "provisional": False,
        "run_started": "2027-01-15T08:01:40.000000Z",
        "run_ended": "2027-01-15T08:03:40.000000Z",
        "duration": 120.0,
        "run_energy": 0.066,
        "confidence": 0.9,
    }


def test_before_the_clock_is_trusted_a_run_says_no_dates() -> None:
    box = Box(offset_ns=None)
    box.appliances.result(result(100 * S, True, RunEvent("kettle", "start", 100 * S)))
    assert [name for name, _, _ in box.runs()] == ["provisional"]
    assert {reading.clock is not None for reading in box.said} == {True}
    box.said.clear()
    box.offset_ns = EPOCH_NS
    box.appliances.result(result(220 * S, False, RunEvent("kettle", "end", 220 * S, 120.0, 0.066, 0.9)))
    assert ("run_started", "2027-01-15T08:01:40.000000Z", EPOCH_NS + 220 * S) in box.runs()


def test_an_end_without_a_beginning_is_no_run() -> None:
    box = Box()
    box.appliances.result(result(100 * S, False, RunEvent("kettle", "end", 100 * S)))
    assert box.runs() == []


@pytest.mark.parametrize("step_ns", [0, 700_000])
def test_final_parts_have_the_date_of_the_provisional_ones(step_ns: int) -> None:
    box = Box()
    box.appliances.result(result(100 * S, True, final=False))
    first = [(r.device, r.quantity, r.observed_ns) for r in box.said]
    box.said.clear()
    box.offset_ns = EPOCH_NS + step_ns
    box.appliances.result(result(100 * S, True))
    assert [(r.device, r.quantity, r.observed_ns) for r in box.said] == first
    assert [r.value for r in box.said if r.quantity == "provisional"] == [False]
    assert box.replaces


def test_what_is_remembered_of_runs_is_bounded() -> None:
    box = Box()
    for number in range(2 * RUNS_MAX):
        box.appliances.result(result(number * S, True, RunEvent(f"load{number}", "start", number * S)))
    assert len(box.appliances._began) == RUNS_MAX
