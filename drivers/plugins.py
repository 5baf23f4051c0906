"""What the installed distributions offer under the entry-point groups ``lamppost.*``.

Looked up once for all groups: it means reading a file of every installed distribution.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any


@cache
def offered(group: str) -> Mapping[str, EntryPoint]:
    """The entry points of a group by name."""
    return MappingProxyType({point.name: point for point in _all().select(group=group)})


@cache
def _all() -> Any:
    """EntryPoints; Python 3.11 has another type for all groups together, with the same ``select``."""
    return entry_points()
