"""Better than predicting zero and the mean: on days that were not learned, and on recordings where they are."""

from pathlib import Path

import numpy as np
import pytest

from firmware_sim.loads.model import household
from gateway.pipeline.nilm import batch, evaluate, learn, recording, score

RECORDINGS = Path(__file__).parents[3] / "../shared/data/nilm"
HOUSES = [
    ("redd_house1", 3.0, "main"),
    ("redd_house2", 3.0, "main"),
    ("redd_house3", 3.0, "main"),
    ("ukdale_house1", 6.0, "main"),
    ("massachusetts_home_1min", None, "main_W"),
]
Series = dict[str, np.ndarray]


def split(powers: Series) -> tuple[Series, np.ndarray]:
    mains = np.sum([watts.astype(float) for watts in powers.values()], axis=0)
    return {name: watts.astype(float) for name, watts in powers.items() if name != "other"}, mains


@pytest.mark.parametrize("step_s", [10.0, 60.0, pytest.param(1.0, marks=pytest.mark.slow)])
def test_another_seed_of_the_own_load_model(step_s: float) -> None:
    learned_from, mains = split(household(7, 3, step_s))
    learned = learn.learn(learned_from, mains, step_s, "own load model, seed 7")
    truth, shown = split(household(8, 1, step_s))
    means = {name: float(watts.mean()) for name, watts in learned_from.items()}
    report = score.score(batch.follow(learned, shown), truth, shown, means)
    assert report.ea > 0.65 > max(report.ea_zero, report.ea_mean)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "period_s", "mains"), HOUSES)
def test_the_rest_of_a_recording(name: str, period_s: float | None, mains: str) -> None:
    path = RECORDINGS / f"{name}.parquet"
    if not path.exists():
        pytest.skip("no recordings beside the repository")
    pytest.importorskip("pyarrow.parquet")
    first, _ = recording.read(path, mains=mains, period_s=period_s).split(0.8)  # 5/8 to learn, 1/8 to score
    learned, rest = first.split(0.875)
    model = learn.learn(learned.appliances, learned.mains, learned.period_s, name)
    report = score.score(batch.follow(model, rest.mains), rest.appliances, rest.mains, evaluate.means_of(learned))
    assert report.ea > max(report.ea_zero, report.ea_mean)


def test_scores_mean_what_they_say() -> None:
    truth = {"kettle": np.array([0.0, 2000.0, 2000.0, 0.0]), "fridge": np.array([100.0, 100.0, 0.0, 0.0])}
    mains = np.array([200.0, 2200.0, 2100.0, 100.0])
    zero = score.score({}, truth, mains, {})
    assert (zero.ea, zero.ea_zero) == (0.5, 0.5)
    perfect = score.score(truth, truth, mains, {})
    assert perfect.ea == 1.0
    assert [one.f1 for one in perfect.appliances.values()] == [1.0, 1.0]
    late = score.score({"kettle": np.array([0.0, 0.0, 2000.0, 0.0])}, {"kettle": truth["kettle"]}, mains, {})
    assert late.appliances["kettle"].mae_w == 500
    assert late.appliances["kettle"].f1 == pytest.approx(2 / 3)
    assert late.ea == 0.75
    mains[1] = np.nan
    assert score.score({}, truth, mains, {}).appliances["kettle"].mae_w == pytest.approx(2000 / 3)
