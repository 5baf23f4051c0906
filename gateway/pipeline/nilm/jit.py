"""The one place that touches numba: kernels are compiled where it is there and plain Python where it is not.

A kernel is written in the subset that both understand: scalars, NamedTuples and flat sequences that are only indexed.
Compiled, the sequences are numpy arrays; plain, they are lists (faster than arrays when indexed from Python, and numpy
need not be installed). The same source runs both ways, so both give the same results; ``fastmath`` stays off.
``LAMPPOST_NILM_PURE=1`` in the environment chooses plain Python.

numba's cache notices a change of the file of a kernel, not of the files of the kernels that it calls: an upgrade could
go on running old code. So the cache lies in a folder named after the content of all of them, below NUMBA_CACHE_DIR or
the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
CACHE_VARIABLE = "NUMBA_CACHE_DIR"
PURE_VARIABLE = "LAMPPOST_NILM_PURE"


class Floats(Protocol):
    """A mutable flat sequence of floats: a list or a float64 array."""

    def __getitem__(self, index: int, /) -> float: ...
    def __setitem__(self, index: int, value: float, /) -> None: ...
    def __len__(self) -> int: ...


class Ints(Protocol):
    """A mutable flat sequence of integers: a list or an int64 array."""

    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...
    def __len__(self) -> int: ...


def _load() -> tuple[Any, Any, str]:
    """(compiler, numpy, "") or (None, None, why not)."""
    if os.environ.get(PURE_VARIABLE) == "1":
        return None, None, "plain Python was asked for"
    try:
        import numpy as np
        from numba import config, njit
    except (ImportError, OSError) as error:  # OSError: a unit with MemoryDenyWriteExecute forbids compiling
        return None, None, f"numba cannot be used ({error})"
    base = os.environ.get(CACHE_VARIABLE) or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = cache_folder(Path(base))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    except OSError:  # nowhere to keep compiled kernels: compile each time
        return njit(cache=False), np, ""
    return njit(cache=True), np, ""


def cache_folder(base: Path) -> Path:
    """Where compiled kernels of exactly this source lie below ``base``."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return base / f"nilm-{digest.hexdigest()[:16]}"


_njit, _np, WHY_PURE = _load()
COMPILED = _njit is not None


def kernel(function: Function) -> Function:
    """Compile ``function`` at its first call, with a cache on disk (NUMBA_CACHE_DIR); plain Python without numba."""
    if _njit is None:
        return function
    compiled: Function = _njit(function)
    return compiled


def floats(values: Iterable[float]) -> Floats:
    """A float sequence of the kind that the kernels take."""
    plain = [float(value) for value in values]
    array: Floats = plain if _np is None else _np.array(plain, dtype=_np.float64)
    return array


def ints(values: Iterable[int]) -> Ints:
    """An integer sequence of the kind that the kernels take."""
    plain = [int(value) for value in values]
    array: Ints = plain if _np is None else _np.array(plain, dtype=_np.int64)
    return array
