"""Which answers a unit may owe: no history of time-outs lets an answer in order be taken for another request's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.buses.modbus_owed import OWED_MAX, Owed
from drivers.planner import Block

blocks = st.builds(Block, st.sampled_from([3, 4]), st.integers(0, 3), st.integers(1, 9), st.just(()))


class Device:
    """Answers in order, some of it too late: ``queue`` holds what it has still to answer."""

    def __init__(self) -> None:
        self.queue: list[Block] = []


@given(st.lists(st.tuples(blocks, st.booleans(), st.integers(0, 3)), max_size=60))
def test_an_answer_in_order_is_never_taken_for_another(history: list[tuple[Block, bool, int]]) -> None:
    """Each step: a request; whether the master waits long enough; how many old answers come first meanwhile."""
    owed, device = Owed(), Device()
    for wanted, waits, coming in history:
        block = wanted
        if owed.confusable(wanted):
            fence = owed.fence(wanted)
            if fence is None:
                continue
            block = fence
        again = owed.sent(block)
        device.queue.append(block)
        spoken = device.queue if waits else device.queue[: min(coming, len(device.queue) - 1)]
        for answer in list(spoken):
            device.queue.remove(answer)
            if (answer.function, answer.count) == (block.function, block.count):
                assert answer.address == block.address, "a wrong value"
                owed.answered(block, again)
                break
        assert len(owed) <= OWED_MAX + 1


def test_fence_reads_less_than_the_block_and_has_a_shape_of_its_own() -> None:
    owed = Owed()
    owed.sent(Block(4, 0, 10, ()))
    wanted = Block(4, 20, 10, ())
    assert owed.confusable(wanted)
    first = owed.fence(wanted)
    assert first is not None
    assert (first.address, first.count) == (20, 1)
    owed.sent(first)
    second = owed.fence(wanted)
    assert second is not None
    assert second.count == 2


def test_single_register_is_fenced_by_two() -> None:
    owed = Owed()
    owed.sent(Block(4, 0, 1, ()))
    fence = owed.fence(Block(4, 5, 1, ()))
    assert fence is not None
    assert fence.count == 2
    assert owed.fence(Block(4, 0xFFFF, 1, ())) is None


def test_answer_of_another_shape_settles_everything_before() -> None:
    owed = Owed()
    owed.sent(Block(4, 0, 10, ()))
    probe = Block(4, 0, 1, ())
    again = owed.sent(probe)
    owed.answered(probe, again)
    assert len(owed) == 0


def test_same_request_again_stays_owed_once() -> None:
    owed = Owed()
    block = Block(4, 0, 10, ())
    assert not owed.sent(block)
    assert owed.sent(block)
    owed.answered(block, again=True)
    assert len(owed) == 1
    assert not owed.confusable(block)


def test_refusal_of_an_earlier_request_is_not_this_ones() -> None:
    owed = Owed()
    owed.sent(Block(4, 0, 10, ()))
    block = Block(4, 20, 5, ())
    again = owed.sent(block)
    assert not owed.refused(block, again)
    again = owed.sent(block)
    assert owed.refused(block, again)


def test_what_cannot_be_remembered_is_not_forgotten_but_asked_again() -> None:
    owed = Owed()
    for count in range(1, OWED_MAX + 1):
        owed.sent(Block(4, 0, count, ()))
    wanted = Block(4, 50, 100, ())
    assert owed.confusable(wanted)
    last = Block(4, 0, OWED_MAX, ())
    assert owed.fence(wanted) == last
    assert owed.sent(last)
    assert len(owed) == OWED_MAX
    owed.answered(last, again=True)
    assert not owed.confusable(wanted)
