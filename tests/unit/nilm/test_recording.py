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
    power = 100 * np.arange(10.0)
    first, rest = recording.read(write(tmp_path / "a.parquet", main=power, kettle=power), period_s=1).split(0.7)
    assert first.mains.tolist() == [0, 100, 200, 300, 400, 500, 600]
    assert rest.appliances["kettle"].tolist() == [700, 800, 900]


ROWS = 400
POWER = 100.0 + np.arange(ROWS)
TIMES = START + np.arange(ROWS) * np.timedelta64(60_000_000, "us")


@pytest.mark.parametrize("order", [np.random.default_rng(1).permutation(ROWS), np.arange(ROWS)[::-1]])
def test_rows_out_of_order_are_put_in_order(tmp_path: Path, order: np.ndarray) -> None:
    path = write(tmp_path / "a.parquet", time=TIMES[order], main=POWER[order], kettle=POWER[order])
    read = recording.read(path)
    assert read.period_s == 60.0
    assert read.mains.tolist() == read.appliances["kettle"].tolist() == POWER.tolist()


def test_rows_that_repeat_and_rows_without_a_time_go(tmp_path: Path) -> None:
    rows = np.sort(np.concatenate([np.arange(ROWS), [5, 5, 90, ROWS - 1]]))
    times = TIMES[rows].copy()
    times[200] = np.datetime64("NaT")
    read = recording.read(write(tmp_path / "a.parquet", time=times, main=POWER[rows], kettle=POWER[rows]))
    assert read.mains.tolist() == np.delete(POWER, rows[200]).tolist()


def test_a_clock_set_back_for_winter_begins_a_run(tmp_path: Path) -> None:
    times = TIMES - np.where(np.arange(ROWS) >= 200, 3600, 0) * np.timedelta64(1_000_000, "us")
    read = recording.read(write(tmp_path / "a.parquet", time=times, main=POWER, kettle=POWER))
    assert read.rows == ROWS
    assert np.nonzero(np.isnan(read.mains))[0].tolist() == [200]


@pytest.mark.parametrize("zone", ["", "Z", "+00:00"])
def test_times_may_be_texts(tmp_path: Path, zone: str) -> None:
    texts = np.array([f"{str(time).replace('T', ' ')}{zone}" for time in TIMES], dtype=object)
    read = recording.read(write(tmp_path / "a.parquet", timestamp=texts, main=POWER, kettle=POWER))
    assert (read.period_s, read.mains.tolist()) == (60.0, POWER.tolist())


def test_kilowatts_are_watts_and_impossible_powers_are_gaps(tmp_path: Path) -> None:
    watts = np.where(np.arange(ROWS) == 7, 1e20, POWER)
    read = recording.read(write(tmp_path / "a.parquet", main=POWER / 1000, kettle=POWER / 1000), period_s=1)
    assert (read.scale, read.mains.tolist()) == (1000.0, pytest.approx(POWER.tolist()))
    read = recording.read(write(tmp_path / "b.parquet", main=POWER, kettle=watts), period_s=1)
    assert read.scale == 1.0
    assert np.nonzero(np.isnan(read.appliances["kettle"]))[0].tolist() == [7]


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
