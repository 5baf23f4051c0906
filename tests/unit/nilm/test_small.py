"""Layer (c): trees as exported say what they said when trained; online is as in batch; what is final replaces."""

import json

import msgspec
import numpy as np
import pytest
from nilm_houses import house

from gateway.pipeline.nilm import batch, small, window
from gateway.pipeline.nilm.jit import floats
from gateway.pipeline.nilm.learn import learn
from gateway.pipeline.nilm.model import Model, SmallModel, decode
from gateway.pipeline.nilm.result import ApplianceResult, ModelError
from gateway.pipeline.nilm.tables import forest_of
from gateway.pipeline.nilm.tracker import Tracker

SECOND = 1_000_000_000


def with_trees() -> Model:
    """A tree that knows the kettle by the level of the mains, and a level for a load that the tracker does not know."""
    series, mains = house(1)
    kettle = SmallModel(
        "kettle",
        0.0,
        5.0,
        2500.0,
        200.0,
        0.9,
        0.8,
        (0,),
        (0, window.LEAF, window.LEAF),
        (1500.0, 0.0, 1990.0),
        (2, 0, 0),
    )
    pump = SmallModel("pump", 0.0, 20.0, 30.0, 20.0, 0.7, 0.9)
    return msgspec.structs.replace(learn(series, mains, 1.0, ""), small=(kettle, pump))


def run(model: Model, power: np.ndarray) -> tuple[list[ApplianceResult], list[ApplianceResult], Tracker]:
    """(provisional, final, tracker); NaN is a gap."""
    tracker, now, final = Tracker(model), [], []
    for index, watts in enumerate(power):
        if not np.isnan(watts) and (result := tracker.step((index + 1) * SECOND, float(watts))) is not None:
            now.append(result)
            final += tracker.settled
    tracker.settled = []
    tracker.settle()
    return now, final + tracker.settled, tracker


def test_online_ends_up_as_in_batch_and_each_instant_is_final_once() -> None:
    model = with_trees()
    _, mains = house(2)
    power = mains[:900].copy()
    power[400:410] = np.nan
    now, final, tracker = run(model, power)
    known = np.nonzero(~np.isnan(power))[0]
    assert [r.mono_ns for r in final] == [r.mono_ns for r in now] == [(int(k) + 1) * SECOND for k in known]
    assert all(r.final for r in final)
    assert not any(r.final or r.events for r in now)
    whole = batch.follow(model, power)
    for a, name in enumerate(model.names):
        np.testing.assert_allclose([r.parts[a].power_w for r in final], whole[name][known], atol=1e-6)
    for result in final + now:
        assert sum(p.power_w for p in result.parts) + result.other_w == pytest.approx(result.mains_w)
        assert sum(p.power_w for p in result.parts) <= max(result.mains_w, 0) + 1e-6
    assert tracker.energy_kwh[model.names.index("pump")] == pytest.approx(20 * (len(known) - 2) / 3.6e6, rel=0.01)


def test_what_is_provisional_waits_no_longer_than_the_window() -> None:
    model = with_trees()
    tracker = Tracker(model)
    for index in range(100):
        tracker.step((index + 1) * SECOND, 120.0)
        due = [result.mono_ns for result in tracker.settled]
        assert due == ([(index + 1 - window.AHEAD) * SECOND] if index >= window.AHEAD else [])


def test_trees_that_are_exported_say_what_they_said() -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    seen = rng.normal(0, 100, (3000, 19)).astype(np.float32)
    true = np.where(seen[:, 3] > 20, 500.0, 10.0) + np.abs(seen[:, 0])
    fitted = small._fit(seen, true)
    model = small._exported(fitted, SmallModel("x", 0.0, 0.0, 1e4, 20.0, 0.5, 0.5))
    forest, out = forest_of([model]), floats([0.0])
    for row, said in zip(seen[:200], fitted.predict(seen[:200]), strict=True):
        window.estimate(forest, floats(row), out)
        assert out[0] == pytest.approx(float(said), rel=1e-3, abs=0.5)


def test_a_load_that_the_tracker_cannot_follow_gets_trees() -> None:
    """A load that slides up and down has no edges; trees know it by the level of the mains."""
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(4)
    slide = np.maximum(0.0, 300 * np.sin(np.arange(3000) / 150))
    series = {"pump": slide}
    mains = slide + 100 + rng.normal(0, 2, 3000)
    model = small.learn_all(series, mains, 60.0, "")
    assert [own.name for own in model.small] == ["pump"]
    assert decode(msgspec.json.encode(model), "x") == model
    said = batch.follow(model, mains)["pump"]
    assert np.abs(said - slide).mean() < 0.1 * slide.mean()


@pytest.mark.parametrize(
    "wrong",
    [
        {"roots": [3]},
        {"rights": [1, 0, 0]},
        {"rights": [3, 0, 0]},
        {"features": [900, -1, -1]},
        {"values": [1.0]},
        {"tracker": 2},
    ],
)
def test_trees_that_lead_nowhere_are_refused(wrong: dict[str, object]) -> None:
    data = json.loads(msgspec.json.encode(with_trees()))
    data["small"][0] |= wrong
    with pytest.raises(ModelError):
        decode(json.dumps(data).encode(), "x")
