"""Learns the appliances for the demo, in a process of its own.

Called as ``python -m gateway.cli.demo_train MODEL DAYS SPEED SEED LOADS``.

What is learned from is never what is shown: another seed of the load model, or an earlier part of the recording.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

METER_PERIOD_S = 1.0  # the grid meter tells its power each second


def main(model: str, days: str, speed: str, seed: str, loads: str) -> int:
    """Train and put the model in place in one step. Returns the exit code of the trainer."""
    import numpy as np

    from firmware_sim.electricity import spread
    from firmware_sim.loads.sources import Kind, source

    chosen = source(cast(Kind, loads), int(seed), float(speed))
    series = chosen.training(float(days), METER_PERIOD_S * float(speed))
    target = Path(model)
    with tempfile.TemporaryDirectory() as folder:
        data, fresh = Path(folder) / "training.npz", Path(folder) / "model.json"
        arrays: dict[str, Any] = {name: watts for name, watts in series.items() if name != "other"}
        for number, phase in enumerate(("L1", "L2", "L3")):  # as the simulated site has them, see electricity.spread
            arrays[phase] = np.sum([watts * spread(name)[number] for name, watts in series.items()], axis=0)
        np.savez(data, **arrays)
        command = [sys.executable, "-m", "gateway.pipeline.nilm.train", "--input", str(data)]
        command += ["--period", str(METER_PERIOD_S), "--output", str(fresh)]
        command += ["--provenance", f"demo: {type(chosen).__name__}, {days} days apart from what is shown"]
        code = subprocess.run(command, check=False).returncode
        if code == 0:
            partial = target.with_suffix(".part")
            partial.write_bytes(fresh.read_bytes())
            partial.rename(target)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
