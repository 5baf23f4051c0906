"""The quality scale: each demand counts, and the next grade is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from drivers.template import Example, Line, Point, Template
from drivers.template_quality import Grade, grade, missing

POINT = Point("co2", 3, 4, "u16")
BEST = Template(
    name="t",
    kind="air",
    vendor="V",
    model="M",
    protocol="modbus",
    data_model="AirQualityObserved",
    evidence="captured",
    sources=("a", "b"),
    captured=("frame_1",),
    period_s=10,
    line=Line(stated=True),
    points=(POINT,),
    identify={"co2": (300, 10_000)},
)


def test_the_best_lacks_nothing() -> None:
    assert grade(BEST) is Grade.PLATINUM
    assert missing(BEST) == []
    assert grade(BEST).word == "platinum"


@pytest.mark.parametrize(
    ("changes", "reached", "word"),
    [
        ({"identify": {}}, Grade.NONE, "identify"),
        ({"sources": ()}, Grade.BRONZE, "sources"),
        ({"line": Line()}, Grade.BRONZE, "TCP port"),
        ({"period_s": 0.2}, Grade.BRONZE, "period"),
        ({"period_s": None}, Grade.BRONZE, "period"),
        ({"registers_max": 1, "points": (replace(POINT, type="f32"),)}, Grade.BRONZE, "longest"),
        ({"evidence": "one source"}, Grade.SILVER, "second source"),
        ({"evidence": "manual"}, Grade.SILVER, "second source"),
        ({"disputed": ("co2",)}, Grade.SILVER, "settle"),
        ({"evidence": "agreed"}, Grade.GOLD, "capture"),
        ({"captured": ()}, Grade.GOLD, "capture"),
    ],
)
def test_each_demand_counts(changes: dict[str, Any], reached: Grade, word: str) -> None:
    worse = replace(BEST, **changes)
    assert grade(worse) is reached
    assert len(missing(worse)) == 1
    assert word in missing(worse)[0]


def test_a_tcp_port_does_instead_of_a_line_and_a_frame_in_the_file_instead_of_a_named_one() -> None:
    frame = Example(b"\x01", {"co2": 1})
    assert grade(replace(BEST, line=Line(), tcp_port=502, captured=(), frames=(frame,))) is Grade.PLATINUM


def test_a_device_that_speaks_by_itself_needs_no_line() -> None:
    speaks = replace(
        BEST, protocol="pms", points=(), identify={}, line=Line(), period_s=None, frames=(Example(b"", {}),)
    )
    assert grade(speaks) is Grade.PLATINUM
    assert grade(replace(speaks, silence_s=1e6)) is Grade.BRONZE
    assert grade(replace(speaks, frames=())) is Grade.NONE
