"""CPU and memory of the edge role on the demo site, beside a bare control: an asyncio loop that wakes as often."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.e2e.harness import Site

WARM_S, WINDOW_S = 20.0, 60.0
BARE = "import asyncio\nasync def main():\n    while True: await asyncio.sleep(0.05)\nasyncio.run(main())"


def main() -> None:
    """Print CPU share, PSS and readings a second of the edge role over a window of 60 s at true speed."""
    seconds = float(os.environ.get("BENCH_SECONDS", WINDOW_S))
    with tempfile.TemporaryDirectory() as folder, Site(Path(folder), speed=1.0) as site:
        control = subprocess.Popen([sys.executable, "-c", BARE])
        site.wait(site.all_up, 40, "every device up")
        time.sleep(WARM_S)
        bare = psutil.Process(control.pid)
        names = ("edge", "server", "simulator")
        before = {name: site.usage(name)[0] for name in names}
        bare_before, made_before = sum(bare.cpu_times()[:2]), sum(site.status()["outbox"]["made"].values())
        time.sleep(seconds)
        after = {name: site.usage(name) for name in names}
        made = sum(site.status()["outbox"]["made"].values()) - made_before
        figures = {
            name: {"cpu_percent": round(100 * (cpu - before[name]) / seconds, 2), "pss_mib": round(pss, 1)}
            for name, (cpu, pss) in after.items()
        }
        figures["bare"] = {
            "cpu_percent": round(100 * (sum(bare.cpu_times()[:2]) - bare_before) / seconds, 2),
            "pss_mib": round(bare.memory_full_info().pss / 2**20, 1),
        }
        for child in psutil.Process(site.pid("edge")).children():
            figures["disaggregation"] = {"pss_mib": round(child.memory_full_info().pss / 2**20, 1)}
        control.kill()
        control.wait()
        print(json.dumps({"window_s": seconds, "readings_per_s": round(made / seconds, 1), **figures}, indent=1))


if __name__ == "__main__":
    main()
