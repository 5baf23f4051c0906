"""The tests of the distribution run where it is installed; Lamppost's own test installs it and runs them."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("lamppost_example") else ["test_room.py"]
