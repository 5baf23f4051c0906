"""Learning on site: edges as they come, a load from a few of them, and a tracker that then finds it."""

from __future__ import annotations

import numpy as np
import pytest
from nilm_houses import house

from gateway.pipeline.nilm import model as models
from gateway.pipeline.nilm import onsite
from gateway.pipeline.nilm.learn import learn
from gateway.pipeline.nilm.result import ModelError
from gateway.pipeline.nilm.tracker import Tracker

SECOND = 1_000_000_000


def taught(levels: dict[str, float], base_w: float = 150.0) -> models.Model:
    """Somebody switches each load three times; the meter trembles."""
    rng = np.random.default_rng(3)
    watch, model, now = onsite.EdgeWatch(), None, 0.0
    for name, level in levels.items():
        ups, downs = [], []
        for power in [base_w] * 8 + ([base_w + level] * 8 + [base_w] * 8) * 3:
            now += 1.0
            edge = watch.feed(now, power + rng.normal(0, 2))
            if edge is not None:
                (ups if edge.size_w > 0 else downs).append(edge.size_w)
        assert (len(ups), len(downs)) == (3, 3)
        assert watch.period_s == pytest.approx(1.0)
        load = onsite.load_from(name, ups, downs, 1.0)
        model = onsite.with_load(model, load, 1.0, watch.lowest_w, f"{name}: 3 times")
    assert model is not None
    return model


def test_what_was_taught_is_found_in_a_day() -> None:
    """Fridge and kettle of a house with foreign loads, known from three switchings each."""
    series, mains = house(5)
    model = taught({"kettle": 2000.0, "fridge": 90.0})
    tracker = Tracker(model)
    results = [tracker.step((k + 1) * SECOND, float(power)) for k, power in enumerate(mains)]
    for name, least in (("kettle", 0.9), ("fridge", 0.7)):
        found = np.array([next(p.power_w for p in r.parts if p.name == name) for r in results if r is not None])
        wrong = np.abs(found - series[name]).sum() / (2 * series[name].sum())
        assert 1 - wrong > least, (name, 1 - wrong)


def test_a_model_grows_and_changes_names() -> None:
    model = taught({"kettle": 2000.0, "lamp": 60.0})
    assert model.names == ["kettle", "lamp"]
    assert onsite.renamed(model, "lamp", "desk-lamp").names == ["kettle", "desk-lamp"]
    assert onsite.without(model, "lamp").names == ["kettle"]
    again = onsite.load_from("kettle", [2200.0], [-2200.0], 1.0)
    replaced = onsite.with_load(model, again, 1.0, 0.0, "kettle anew")
    assert [(one.name, round(one.states[1].level_w, -1)) for one in replaced.loads] == [("lamp", 60), ("kettle", 2200)]
    trained = learn(*house(1), 1.0, "a synthetic house")
    assert onsite.with_load(trained, again, 1.0, 0.0, "kettle on site").names == ["fridge", "washer", "kettle"]


@pytest.mark.parametrize("new", ["lamp", "other", "", "a b", "x" * 65])
def test_names_that_cannot_be(new: str) -> None:
    model = taught({"kettle": 2000.0, "lamp": 60.0})
    with pytest.raises(ModelError):
        onsite.renamed(model, "kettle", new)
    with pytest.raises(ModelError, match="no load 'oven'"):
        onsite.renamed(model, "oven", "stove")
    with pytest.raises(ModelError, match="no load 'oven'"):
        onsite.without(model, "oven")


def test_a_load_needs_both_ways() -> None:
    with pytest.raises(ModelError, match="on and off"):
        onsite.load_from("kettle", [2000.0], [], 1.0)


def test_a_gap_is_no_edge() -> None:
    watch = onsite.EdgeWatch()
    for second in range(10):
        assert watch.feed(second, 100.0) is None
    for second in range(100, 110):
        assert watch.feed(second, 900.0) is None
    assert watch.feed(110, float("nan")) is None
    assert watch.period_s == 1.0


def share_right(model: models.Model, seed: int, name: str) -> float:
    """Estimated accuracy of one load of a synthetic day."""
    series, mains = house(seed)
    tracker = Tracker(model)
    results = [tracker.step((k + 1) * SECOND, float(power)) for k, power in enumerate(mains)]
    found = np.array([sum(p.power_w for p in r.parts if p.name == name) for r in results if r is not None])
    return float(1 - np.abs(found - series[name]).sum() / (2 * series[name].sum()))


def test_corrections_improve_the_model() -> None:
    """A heater was taught; what it is told of the kettle, which is nearly as large, comes from corrections alone."""
    taught_wrongly = taught({"heater": 2100.0, "kettle": 1800.0})
    better = taught_wrongly
    for _ in range(4):
        better = onsite.corrected(better, "kettle", 2000.0, "corrected")
    level = next(load for load in better.loads if load.name == "kettle").states[1].level_w
    assert level == pytest.approx(2000, abs=15)
    assert share_right(taught_wrongly, 5, "kettle") < 0.6
    assert share_right(better, 5, "kettle") > 0.9
    added = onsite.corrected(taught({"heater": 2400.0}), "kettle", 2000.0, "corrected")
    assert added.names == ["heater", "kettle"]
    for watts in (float("nan"), 3.0):
        with pytest.raises(ModelError, match="too little"):
            onsite.corrected(better, "kettle", watts, "")
    with pytest.raises(ModelError, match="without training"):
        onsite.corrected(onsite.untrained(1.0), "kettle", 2000.0, "")
