"""Which readings of a meter make a sample of its mains."""

from __future__ import annotations

from drivers.base import Quality, Reading
from gateway.edge.mains import MainsReader, quantities


def reading(quantity: str, value: float, quality: Quality = Quality.GOOD) -> Reading:
    return Reading("grid", quantity, value, "", 1, None, quality)


def test_the_configured_quantity_decides() -> None:
    assert quantities("active_power_total") == {"active_power_total": "total"}
    assert list(quantities("active_power").values()) == ["L1", "L2", "L3"]
    assert list(quantities("apparent_power")) == ["apparent_power_l1", "apparent_power_l2", "apparent_power_l3"]


def test_what_was_said_at_one_instant_is_one_sample() -> None:
    mains = MainsReader("active_power")
    told = [reading("active_power_l1", 100), reading("voltage_l1", 230), reading("active_power_l3", 300)]
    assert mains.read(told) == {"L1": (100.0, 0.0), "L3": (300.0, 0.0)}
    assert mains.read([reading("voltage_l1", 230)]) == {}
    bad = [reading("active_power_l1", 100, Quality.BAD), reading("active_power_l2", 200)]
    assert mains.read(bad) == {"L2": (200.0, 0.0)}, "a gap of one phase"


def test_reactive_power_goes_with_active_power() -> None:
    mains = MainsReader("active_power")
    assert mains.read([reading("active_power_l2", 100), reading("reactive_power_l2", -40)]) == {"L2": (100.0, -40.0)}
    assert mains.read([reading("active_power_l2", 110)]) == {"L2": (110.0, -40.0)}, "unchanged, where it is missing"
    total = [reading("active_power_total", 100), reading("reactive_power_total", 30)]
    assert MainsReader("active_power_total").read(total) == {"total": (100.0, 30.0)}
    apparent = [reading("apparent_power_l1", 100), reading("reactive_power_l1", 30)]
    assert MainsReader("apparent_power").read(apparent) == {"L1": (100.0, 0.0)}
