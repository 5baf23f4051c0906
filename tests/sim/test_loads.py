"""The load model and the replay of recordings: determinism, sums, and learning from other days than those shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_sim.loads import household, recording, source
from firmware_sim.loads.model import APPLIANCES, DAY_S
from firmware_sim.loads.sources import MODEL_DAYS

RECORDINGS = Path(__file__).parents[2] / "../shared/data/nilm"
needs_recordings = pytest.mark.skipif(
    not (RECORDINGS / "ukdale_house1.parquet").is_file(), reason="no recordings beside the checkout"
)


def test_the_same_seed_gives_the_same_days_and_another_gives_others() -> None:
    one, again, other = household(1, 1, 1), household(1, 1, 1), household(2, 1, 1)
    assert list(one) == [*APPLIANCES, "other"]
    for name, watts in one.items():
        assert watts.dtype == np.float32
        assert watts.shape == (DAY_S,)
        assert np.array_equal(watts, again[name])
    assert not np.array_equal(one["other"], other["other"])
    assert not np.array_equal(one["fridge"], other["fridge"])


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 1.5))
def test_more_days_only_append(seed: int, days: float) -> None:
    short, long = household(seed, days, 1), household(seed, days + 0.7, 1)
    for name, watts in short.items():
        assert np.array_equal(watts, long[name][: len(watts)])


def test_appliances_draw_what_their_plates_say() -> None:
    days = household(3, 10, 1)
    assert all(float(watts.min()) >= 0 for watts in days.values())
    assert 2050 < days["kettle"].max() < 2350
    assert 2300 < days["oven"].max() < 2900
    assert 1950 < days["washing_machine"].max() < 2400
    assert days["car"].max() == pytest.approx(3680)
    running = days["fridge"][days["fridge"] > 50]
    assert 80 < np.median(running) < 115
    assert 0.3 < len(running) / len(days["fridge"]) < 0.5
    hot = days["heat_pump"][days["heat_pump"] > 400]
    assert 700 < hot.mean() < 1600
    kettles = np.count_nonzero(np.diff((days["kettle"] > 100).astype(np.int8)) == 1)
    assert 45 <= kettles <= 75
    assert all(np.count_nonzero(days[name] > 40) for name in APPLIANCES)


def test_the_meter_is_noisy_but_not_more_than_said() -> None:
    day = household(1, 1, 1)
    night = np.diff(day["other"][: 4 * 3600])
    spread = float(np.median(np.abs(night))) / 0.6745 / np.sqrt(2)
    assert 2 < spread < 15


def test_steps_are_means() -> None:
    fine, coarse = household(5, 0.5, 1), household(5, 0.5, 6)
    for name, watts in coarse.items():
        assert len(watts) == DAY_S // 12
        assert watts.mean() == pytest.approx(fine[name].mean(), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(("days", "step"), [(1, 0.5), (1, 0), (0, 1), (1, 2.5)])
def test_impossible_steps_are_refused(days: float, step: float) -> None:
    with pytest.raises(ValueError, match="no such household"):
        household(1, days, step)


def test_the_model_source_plays_in_time_and_teaches_other_days() -> None:
    shown, fast = source("model", 1), source("model", 1, speed=60)
    assert shown.kind == "model"
    assert shown.at(100.0) == shown.at(100.9) == fast.at(100 / 60 + 1e-6)
    assert set(shown.at(0)) == {*shown.appliances, "other"}
    mains = [sum(shown.at(float(t)).values()) for t in range(120)]
    assert max(mains) - mains[0] > 1500  # something to look at within two minutes
    lesson, played = shown.training(2, 1), household(1, MODEL_DAYS, 1)
    assert not any(np.array_equal(lesson[name], played[name][: 2 * DAY_S]) for name in lesson)
    assert shown.at(0) == shown.at(MODEL_DAYS * DAY_S)  # the days repeat


def test_without_recordings_auto_is_the_model(tmp_path: Path) -> None:
    assert source("auto", 1, folder=tmp_path).kind == "model"
    with pytest.raises(ValueError, match="no recording"):
        source("recording", 1, folder=tmp_path)
    with pytest.raises(ValueError, match="speed"):
        source("model", 1, speed=0)


def test_the_folder_of_recordings_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(recording.FOLDER_VARIABLE, str(tmp_path))
    assert recording.folder() == tmp_path
    assert recording.available() == ()


def test_a_recording_is_joined_split_and_resampled(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    house = recording.House("toy", 3.0, "nobody")
    main = np.arange(20, dtype=np.float32) + 50
    main[4] = np.nan
    columns = {"segment": np.repeat([0, 1], 10), "i": np.tile(np.arange(10), 2), "kettle": main * 0 + 7, "main": main}
    parquet.write_table(pyarrow.table(columns), tmp_path / "toy.parquet")
    powers = recording.read(house, tmp_path)
    whole = main[np.isfinite(main)]
    assert set(powers) == {"kettle", "other"}
    assert np.allclose(powers["kettle"] + powers["other"], whole)
    earlier, shown = recording.split(powers)
    assert len(earlier["other"]) == 13
    assert np.array_equal(np.concatenate([earlier["other"], shown["other"]]), powers["other"])
    held = recording.resample(powers, 3.0, 1.0)
    assert held["other"][:4].tolist() == [43, 43, 43, 44]
    assert len(held["other"]) == 57
    assert recording.resample(powers, 3.0, 6.0)["other"][0] == pytest.approx(43.5)


@needs_recordings
def test_the_recording_teaches_only_what_is_before_the_shown_part() -> None:
    shown = source("recording", 1, folder=RECORDINGS)
    house = recording.available(RECORDINGS)[0]
    whole = recording.read(house, RECORDINGS)
    cut = int(len(whole["other"]) * recording.TRAINING_SHARE)
    everything = shown.training(1000, house.step_s)
    assert np.array_equal(everything["other"], whole["other"][:cut])
    assert len(shown.training(2, 6.0)["other"]) == 2 * DAY_S // 6
    later = {name: watts[cut:] for name, watts in whole.items()}
    first = shown.at(0)
    matches = np.logical_and.reduce([later[name] == np.float32(first[name]) for name in later])
    assert matches.any()
    assert shown.attribution
    mains = [sum(shown.at(float(t)).values()) for t in range(0, 120, 2)]
    assert max(mains) - mains[0] > 1000


@needs_recordings
@pytest.mark.parametrize("house", recording.HOUSES, ids=lambda house: house.name)
def test_every_recording_can_be_read(house: recording.House) -> None:
    powers = recording.read(house, RECORDINGS)
    assert len(powers) >= 5
    assert all(np.isfinite(watts).all() for watts in powers.values())
    assert sum(powers.values()).mean() > 100  # type: ignore[union-attr]
