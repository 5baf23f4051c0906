"""What is installed from a wheel is all that the tree has."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_package_is_installed() -> None:
    """An editable install finds packages that nobody listed; a wheel leaves them out."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    found = {
        str(file.parent.relative_to(ROOT)).replace("/", ".")
        for top in ("gateway", "drivers")
        for file in (ROOT / top).rglob("__init__.py")
    }
    assert found <= listed
    assert {name for name in listed if name.startswith(("gateway", "drivers"))} <= found
