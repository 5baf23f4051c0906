"""The installed command, and an environment that has nothing of the developer in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]
LAMPPOST = str(Path(sys.executable).with_name("lamppost"))


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of the developer's own: no configuration, no colours, another home."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LAMPPOST_", "_LAMPPOST", "XDG_"))}
    return {**kept, "HOME": str(home), "XDG_STATE_HOME": str(home / "state"), **more}
