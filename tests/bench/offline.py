"""A time without a link, fast: ``python -m tests.bench.offline OUTBOX SECONDS SPEED DEVICE QUANTITIES``.

Each second of the time that ends about now the device gives one observation of the quantities (JSON: name to value) to
the real outbox, which commits each second, as far as SQLite keeps up with the speed: beyond a few hundred commits a
second the windows become longer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from drivers.quantities import QUANTITIES
from gateway.model import Reading
from tests.bench.box import open_outbox
from tests.bench.fast_time import SECOND, FastTime

OUTBOX_MAX = 4 * 2**30
SWING = 97  # values go round in so many steps: neither constant nor noise


async def live_through(fast: FastTime, path: Path, seconds: int, device: str, quantities: Mapping[str, float]) -> None:
    """Append in fast time, close."""
    outbox = open_outbox(path, 1.0, fast, OUTBOX_MAX)
    await outbox.start()
    loop = asyncio.get_running_loop()
    began, start_ns = loop.time(), fast.utc_ns(fast.mono_ns()) or 0
    named = [(name, base, QUANTITIES[name].unit) for name, base in quantities.items()]
    for second in range(seconds):
        await asyncio.sleep(max(0.0, began + second - loop.time()))
        at_ns = start_ns + second * SECOND
        outbox.append([Reading(device, name, base + second % SWING, unit, at_ns) for name, base, unit in named])
    await outbox.close()


def main(path: str, seconds: str, speed: str, device: str, quantities: str) -> None:
    """As the module says."""
    fast = FastTime(float(speed), ago_s=float(seconds))
    fast.run(live_through(fast, Path(path), int(seconds), device, json.loads(quantities)))


if __name__ == "__main__":
    main(*sys.argv[1:])
