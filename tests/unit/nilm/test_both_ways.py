"""Compiled and plain kernels give the same results, for tracker, trees and the finder of loads, over random houses."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

SEEDS = ("1", "2", "3")
PATIENCE_S = 300


def said(folder: Path, **environment: str) -> dict[str, object]:
    here = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "LAMPPOST"))}
    command = [sys.executable, str(Path(__file__).with_name("both_ways.py")), *SEEDS]
    env = here | {"PYTHONPATH": str(Path(__file__).parents[3]), "NUMBA_CACHE_DIR": str(folder)} | environment
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def same(one: object, other: object, where: str = "") -> None:
    """The same structure, texts and states, numbers to a millionth."""
    assert type(one) is type(other), where
    if isinstance(one, dict) and isinstance(other, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            same(one[name], other[name], f"{where}/{name}")
    elif isinstance(one, list) and isinstance(other, list):
        assert len(one) == len(other), where
        for place, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f"{where}/{place}")
    elif isinstance(one, float) and isinstance(other, float):
        assert math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6) or (math.isnan(one) and math.isnan(other)), where
    else:
        assert one == other, where


@pytest.mark.slow
def test_compiled_and_plain_say_the_same(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    compiled, plain = said(tmp_path), said(tmp_path, LAMPPOST_NILM_PURE="1")
    assert (compiled.pop("compiled"), plain.pop("compiled")) == (True, False)
    assert list(compiled) == list(SEEDS)
    same(compiled, plain)
