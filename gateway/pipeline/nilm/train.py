"""Learn a model from a file: ``python -m gateway.pipeline.nilm.train --input FILE.npz --period S --output MODEL.json``.

The file (numpy's npz) holds one array in W per appliance and, if there is a recording of it, ``main``, or ``L1``,
``L2`` and ``L3`` of its phases; equal lengths; NaN is a gap. ``--period`` is the period at which the meter will be
read; durations are learned in samples.
"""

from __future__ import annotations

import argparse
import os
import sys
import zipfile
from pathlib import Path

from gateway.errors import LamppostError
from gateway.pipeline.nilm.result import ModelError


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0, or 1 after one line about what is wrong."""
    parser = argparse.ArgumentParser(prog="gateway.pipeline.nilm.train", description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--period", type=float, required=True, help="s between samples of the meter")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--provenance", default="", help="where the training data came from")
    parser.add_argument("--cache", type=Path, help="folder for compiled kernels; without one, plain Python is as quick")
    options = parser.parse_args(arguments)
    if options.cache is not None:
        os.environ.setdefault("NUMBA_CACHE_DIR", str(options.cache))
    else:
        os.environ["LAMPPOST_NILM_PURE"] = "1"  # only the edge detector runs here: compiling takes as long
    try:
        print(_train(options.input, options.period, options.output, options.provenance))
    except LamppostError as error:
        print(f"{error.code}: {error.cause}. {error.fix}", file=sys.stderr)
        return 1
    return 0


def _train(source: Path, period_s: float, output: Path, provenance: str) -> str:
    """Learn and save; one line about what was learned."""
    try:
        import numpy as np
    except ImportError:
        raise ModelError("learning needs numpy", fix="Install the extra: pip install lamppost[nilm]") from None
    from gateway.pipeline.nilm import learn, model
    from gateway.pipeline.nilm.phase_learn import learn_phases

    if not 0 < period_s < 1e6:
        raise ModelError(f"a period of {period_s} s is none")
    try:
        with np.load(source, allow_pickle=False) as file:
            series = {name: np.asarray(file[name], dtype=np.float64) for name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{source}: {error}") from None
    mains = series.pop("main", None)
    phases = {phase: series.pop(phase) for phase in ("L1", "L2", "L3") if phase in series}
    if phases:
        learned = learn_phases(series, phases, period_s, provenance)
    else:
        learned = learn.learn(series, mains, period_s, provenance)
    model.save(learned, output)
    return f"{output}: {', '.join(learned.names)} ({learned.trained_on})"


if __name__ == "__main__":
    sys.exit(main())
