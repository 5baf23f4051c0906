"""Which answers a unit may still owe: the guard against an answer that comes after its time-out.

RTU numbers nothing, so what tells one answer from another is its shape: function and count. But a unit answers in the
order in which it was asked. Once it has answered a request of another shape, it owes nothing that was asked before.
"""

from __future__ import annotations

from drivers.planner import Block

OWED_MAX = 8  # different requests without an answer: then the last one is repeated until it is answered

Request = tuple[int, int, int]  # function, count, address


class Owed:
    """The requests to one unit that may not have been answered yet, oldest first."""

    def __init__(self) -> None:
        self._requests: list[Request] = []

    def __len__(self) -> int:
        return len(self._requests)

    def confusable(self, block: Block) -> bool:
        """Whether the answer to an earlier request would look like the one to this: other registers, same shape.

        Also where so much is owed that no more can be remembered.
        """
        if len(self._requests) >= OWED_MAX and _request(block) not in self._requests:
            return True
        return any(
            function == block.function and count == block.count and address != block.address
            for function, count, address in self._requests
        )

    def fence(self, block: Block) -> Block | None:
        """A request of a shape of its own: its answer proves that nothing older is owed. None where there is none.

        It reads the first registers of the block; one more than the block has only where there is no other way.
        """
        if len(self._requests) >= OWED_MAX:
            function, count, address = self._requests[-1]
            return Block(function, address, count, ())
        shapes = {(function, count) for function, count, _ in self._requests}
        more = (block.count + 1,) if block.count < 125 and block.address + block.count <= 0xFFFF else ()
        for count in (*range(1, block.count), *more):
            if (block.function, count) not in shapes:
                return Block(block.function, block.address, count, ())
        return None

    def sent(self, block: Block) -> bool:
        """A request is on its way. Returns whether the same one is owed already."""
        request = _request(block)
        if request in self._requests:
            return True
        self._requests.append(request)
        return False

    def answered(self, block: Block, again: bool) -> None:
        """An answer of the request's shape came; ``again`` as :meth:`sent` said: it may be the earlier one's."""
        if again:
            del self._requests[: self._requests.index(_request(block))]
        else:
            self._requests.clear()

    def forget(self) -> None:
        """All that could come has had its time to come."""
        self._requests.clear()

    def refused(self, block: Block, again: bool) -> bool:
        """A refusal of the request's function came. Returns whether it certainly is this request's."""
        first = next(request for request in self._requests if request[0] == block.function)
        if first == _request(block):
            self.answered(block, again)
            return True
        del self._requests[: self._requests.index(first) + 1]
        return False


def _request(block: Block) -> Request:
    return block.function, block.count, block.address
