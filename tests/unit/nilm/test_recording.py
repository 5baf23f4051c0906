"""Recordings as wide tables: what is an appliance, where runs part, what is refused."""

from pathlib import Path

import numpy as np
import pytest

from gateway.pipeline.nilm import recording
from gateway.pipeline.nilm.result import ModelError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
START = np.datetime64("2026-01-01T00:00:00", "us")


def write(path: Path, **columns: np.ndarray) -> Path:
    parquet.write_table(pyarrow.table(columns), path)
    return path


def test_runs_are_parted_by_segment_and_by_gaps_in_time(tmp_path: Path) -> None:
    power = np.arange(6.0)
    path = write(tmp_path / "a.parquet", main=power, kettle=power, segment=np.array([1, 1, 1, 2, 2, 2]), i=power)
    read = recording.read(path, period_s=3)
    assert list(read.appliances) == ["kettle"]
    assert np.isnan(read.mains).tolist() == [False] * 3 + [True] + [False] * 3
    times = START + np.array([0, 60, 120, 500, 560, 620]) * np.timedelta64(1_000_000, "us")
    timed = recording.read(write(tmp_path / "b.parquet", t=times, main=power, kettle=power))
    assert (timed.period_s, timed.rows) == (60.0, 6)
    assert np.isnan(timed.appliances["kettle"]).tolist() == [False] * 3 + [True] + [False] * 3


def test_other_units_are_left_out(tmp_path: Path) -> None:
    power = np.ones(4)
    columns = dict.fromkeys(("main_W", "main_VA", "Dryer_W", "Dryer_VA", "L1:Voltage [V]"), power)
    read = recording.read(write(tmp_path / "a.parquet", **columns), mains="main_W", period_s=60)
    assert list(read.appliances) == ["Dryer"]
    assert set(read.left_out) == {"main_VA", "Dryer_VA", "L1:Voltage [V]"}


def test_the_first_part_in_time_and_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", main=np.arange(10.0), kettle=np.arange(10.0))
    first, rest = recording.read(path, period_s=1).split(0.7)
    assert first.mains.tolist() == list(range(7))
    assert rest.appliances["kettle"].tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("columns", "mains", "period_s", "why"),
    [
        ({"main": np.ones(3)}, "main", 1.0, "no column of an appliance"),
        ({"power": np.ones(3), "kettle": np.ones(3)}, "main", 1.0, "no column 'main'"),
        ({"main": np.ones(3), "kettle": np.ones(3)}, "main", None, "no times"),
        ({"main": np.ones(3), "kettle": np.ones(3)}, "main", -1.0, "period"),
        ({"main": np.ones(3), "kettle": np.array(["a", "b", "c"])}, "main", 1.0, "with numbers"),
    ],
)
def test_what_is_no_recording_is_refused(
    tmp_path: Path, columns: dict[str, np.ndarray], mains: str, period_s: float | None, why: str
) -> None:
    path = write(tmp_path / "a.parquet", **columns)
    with pytest.raises(ModelError, match=why):
        recording.read(path, mains=mains, period_s=period_s)


@pytest.mark.parametrize("name", ["x.parquet", "x.csv", "x.npz"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PAR1 nothing at all \xff\x00")
    with pytest.raises(ModelError):
        recording.read(tmp_path / name, period_s=1)
