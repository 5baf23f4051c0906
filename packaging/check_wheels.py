"""Every pinned dependency has wheels for 64-bit ARM under Debian 12's and 13's Python: exit 1 and pip's words if not.

systemd-python is not among the pins: it comes as Debian's package python3-systemd.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

CONSTRAINTS = Path(__file__).with_name("constraints.txt")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
PYTHONS = ("3.11.2", "3.13.5")  # bookworm, trixie
TIMEOUT_S = 600


def missing(version: str) -> str:
    """What pip says when the pins do not resolve to wheels for that Python, empty when they do."""
    with tempfile.TemporaryDirectory() as target:
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed"]
        command += ["--disable-pip-version-check", "--only-binary", ":all:", "--target", target]
        command += ["--python-version", version, "--implementation", "cp", "--requirement", str(CONSTRAINTS)]
        for platform in PLATFORMS:
            command += ["--platform", platform]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    said = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("WARNING"))
    return "" if done.returncode == 0 else said or "pip failed"


def main() -> int:
    """Check both versions. Returns the exit code."""
    failed = False
    for version in PYTHONS:
        trouble = missing(version)
        failed |= bool(trouble)
        print(f"Python {version} aarch64: {trouble or 'all wheels there'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
