"""The queue of one direction of an emulated link, in its own time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.net.way import Impairments, Way

PACKETS = 10_000


def _arrivals(
    impairments: Impairments, gap_s: float = 0.001, size: int = 1000, packets: int = PACKETS
) -> list[float | None]:
    way = Way(seed=1)
    way.change(impairments)
    return [way.admit(number * gap_s, size) for number in range(packets)]


def test_a_good_link_delivers_at_once() -> None:
    assert _arrivals(Impairments(), packets=3) == [0.0, 0.001, 0.002]


def test_delay_and_jitter_keep_the_order() -> None:
    arrivals = _arrivals(Impairments(delay_s=0.1, jitter_s=0.05))
    late = [due - number * 0.001 for number, due in enumerate(arrivals) if due is not None]
    assert arrivals == sorted(arrivals, key=lambda due: due or 0.0)
    assert min(late) >= 0.05
    assert max(late) <= 0.15
    assert len(set(late)) > PACKETS / 100


@given(st.floats(0, 1))
def test_loss_is_within_its_statistics(loss: float) -> None:
    lost = _arrivals(Impairments(loss=loss), packets=2000).count(None)
    assert abs(lost - 2000 * loss) <= 6 * (2000 * loss * (1 - loss)) ** 0.5 + 1e-9


def test_rate_spaces_packets_and_the_queue_is_bounded() -> None:
    way = Way(seed=1)
    way.change(Impairments(rate=80_000, queue_bytes=10_000))  # 10,000 bytes a second
    arrivals = [way.admit(0.0, 1000) for _ in range(20)]
    assert arrivals[:10] == pytest.approx([0.1 * (number + 1) for number in range(10)])
    assert arrivals[10:] == [None] * 10
    assert way.counts.overflowed == 10
    assert way.admit(1.0, 1000) == pytest.approx(1.1)


def test_a_packet_that_is_bigger_than_the_queue_still_passes_an_idle_link() -> None:
    assert _arrivals(Impairments(rate=8000, queue_bytes=0), packets=1) == [1.0]


def test_reordered_packets_overtake() -> None:
    arrivals = _arrivals(Impairments(delay_s=0.1, reorder=0.05))
    overtaking = sum(due == number * 0.001 for number, due in enumerate(arrivals))
    assert 0.03 * PACKETS < overtaking < 0.07 * PACKETS


def test_a_stall_swallows_everything() -> None:
    assert set(_arrivals(Impairments(stalled=True))) == {None}


@pytest.mark.parametrize("wrong", [{"delay_s": -1}, {"loss": 1.1}, {"reorder": -0.1}, {"rate": -1}])
def test_figures_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"negative|shares"):
        Impairments(**wrong)
