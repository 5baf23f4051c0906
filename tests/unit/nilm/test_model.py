"""The model file: strict, versioned, bound to its period."""

import json
from pathlib import Path

import pytest
from nilm_houses import house

from gateway.pipeline.nilm import model
from gateway.pipeline.nilm.learn import learn
from gateway.pipeline.nilm.result import ModelError


@pytest.fixture(scope="module")
def learned() -> model.Model:
    series, mains = house(1)
    return learn(series, mains, 1.0, "a synthetic house, seed 1")


def test_learning_finds_levels_edges_and_durations(learned: model.Model) -> None:
    loads = {load.name: load for load in learned.loads}
    assert set(loads) == {"fridge", "kettle", "washer"}
    assert [round(state.level_w, -1) for state in loads["kettle"].states] == [0, 2000]
    assert [round(state.level_w, -2) for state in loads["washer"].states] == [0, 200, 2300]
    rise = next(arc for arc in loads["fridge"].transitions if arc.source == 0)
    assert rise.edge_w == pytest.approx(90, abs=5)  # not the start-up spike of 590
    assert loads["kettle"].states[1].longest <= 1.5 * 120 + 1
    assert loads["fridge"].states[1].shortest >= 150
    assert learned.floor_w == pytest.approx(0.8 * 120, abs=10)


def test_a_file_comes_back_as_it_was(learned: model.Model, tmp_path: Path) -> None:
    model.save(learned, tmp_path / "house.json")
    assert model.load(tmp_path / "house.json") == learned


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version 2"),
        ({"surprise": 1}, "surprise"),
        ({"period_s": 0}, "period_s"),
        ({"loads": []}, "loads"),
        ({"floor_w": "much"}, "floor_w"),
        ({"unknown": [0.1]}, "unknown"),
    ],
)
def test_what_does_not_fit_the_schema_is_refused(
    learned: model.Model, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    path = tmp_path / "house.json"
    model.save(learned, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=says) as caught:
        model.load(path)
    assert str(path) in caught.value.cause
    assert caught.value.fix


def test_transitions_must_fit_the_states(learned: model.Model, tmp_path: Path) -> None:
    path = tmp_path / "house.json"
    model.save(learned, path)
    data = json.loads(path.read_text())
    data["loads"][0]["transitions"] = [data["loads"][0]["transitions"][0]] * 2
    path.write_text(json.dumps(data))
    with pytest.raises(ModelError, match="do not fit"):
        model.load(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(ModelError):
        model.load(tmp_path / "m.json")


def test_a_missing_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        model.load(tmp_path / "none.json")


@pytest.mark.parametrize("period_s", [0.5, 2.0, 60.0])
def test_another_period_is_refused(learned: model.Model, period_s: float) -> None:
    with pytest.raises(ModelError, match="made for samples every 1 s") as caught:
        model.check_period(learned, period_s)
    assert caught.value.code == "nilm.period"


@pytest.mark.parametrize("period_s", [0.7, 1.0, 1.4])
def test_jitter_of_the_period_is_not(learned: model.Model, period_s: float) -> None:
    model.check_period(learned, period_s)
