"""Waits until a subscription has notified: deleted earlier, it would take what waits with it. Standard library only."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping

PATIENCE_S = 30.0


def wait_until_told(url: str, subscription: str, headers: Mapping[str, str] | None = None) -> None:
    """Raises AssertionError where it never does."""
    request = urllib.request.Request(f"{url}/ngsi-ld/v1/subscriptions/{subscription}", headers=dict(headers or {}))
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with urllib.request.urlopen(request) as answer:
            if json.load(answer)["notification"].get("lastSuccess"):
                return
        time.sleep(0.1)
    raise AssertionError(f"{subscription} did not notify")
