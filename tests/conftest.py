"""Settings for all tests: the same examples each time, so that a red run means a change, not luck.

``HYPOTHESIS_PROFILE=explore`` looks for new counter-examples.
"""

from __future__ import annotations

import gc
import os

from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def pytest_collection_finish() -> None:
    """Thousands of collected tests stay for good: the garbage collector need not look at them each time."""
    gc.collect()
    gc.freeze()
