"""Handing failures over: from a thread to who waits for it, from a handler to the answer of a request."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any


class Outcome:
    """Keeps what a piece of work raises instead of letting it pass; cancellation and exit always pass.

    ``translate`` may turn the error into one that its receiver understands. Whoever makes an Outcome must look at
    ``error``: nothing is swallowed.
    """

    def __init__(self, translate: Callable[[Exception], Exception] | None = None) -> None:
        self.value: Any = None
        self.error: Exception | None = None
        self._translate = translate

    def __enter__(self) -> Outcome:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            self.error = self._translate(error) if self._translate else error
            return True
        return False
