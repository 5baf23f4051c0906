"""The training command, as the demo calls it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nilm_houses import house

from gateway.pipeline.nilm import model
from gateway.pipeline.nilm.learn import learn
from gateway.pipeline.nilm.result import ModelError


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway.pipeline.nilm.train", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_from_file_to_model(tmp_path: Path) -> None:
    series, mains = house(1)
    np.savez(tmp_path / "day.npz", main=mains, never=np.zeros(len(mains)), **series)
    output = tmp_path / "house.json"
    done = train(
        "--input", str(tmp_path / "day.npz"), "--period", "1", "--output", str(output), "--provenance", "seed 1"
    )
    assert (done.returncode, done.stderr) == (0, "")
    learned = model.load(output)
    assert [load.name for load in learned.loads] == ["fridge", "kettle", "washer"]
    assert (learned.period_s, learned.provenance) == (1.0, "seed 1")
    assert "never" in learned.trained_on


def test_of_phases_a_model_of_each(tmp_path: Path) -> None:
    series, mains = house(1)
    phases = {"L1": mains - series["kettle"], "L2": series["kettle"] + 50}
    np.savez(tmp_path / "day.npz", **phases, **series)
    output = tmp_path / "house.json"
    done = train("--input", str(tmp_path / "day.npz"), "--period", "1", "--output", str(output))
    assert (done.returncode, done.stderr) == (0, "")
    learned = model.load(output).phases
    assert learned is not None
    assert {phase: part.names for phase, part in learned.items()} == {"L1": ["fridge", "washer"], "L2": ["kettle"]}


@pytest.mark.parametrize("content", [None, b"", b"no zip"])
def test_a_file_that_is_none_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.npz").write_bytes(content)
    done = train("--input", str(tmp_path / "x.npz"), "--period", "1", "--output", str(tmp_path / "m.json"))
    assert done.returncode == 1
    assert done.stderr.startswith("nilm.model: ")
    assert "Traceback" not in done.stderr


def test_nothing_to_learn_is_said_so() -> None:
    with pytest.raises(ModelError, match="no appliance"):
        learn({}, None, 1.0, "")
    with pytest.raises(ModelError, match="at least 2 times"):
        learn({"never": np.zeros(100)}, None, 1.0, "")


def test_gaps_in_the_recording_are_no_edges() -> None:
    series, mains = house(1)
    mains[2000:2400] = np.nan
    learned = learn(series, mains, 1.0, "")
    assert {load.name for load in learned.loads} == {"fridge", "kettle", "washer"}
