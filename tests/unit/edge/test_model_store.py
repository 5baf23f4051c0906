"""The store of pulled models and the watch over what they leave unexplained."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.edge.model_store import ModelStore
from gateway.edge.residual import DAY_S, Watched, from_json, is_worse


def install(store: ModelStore, serial: int) -> None:
    file = store.scratch("model.part")
    file.write_text(f"model {serial}")
    store.install(file, serial, 1_800_000_000)


def watched(share: float, days: float = 2.0) -> Watched:
    return Watched(share * 1000 * days * DAY_S, 1000 * days * DAY_S, days * DAY_S)


def test_install_and_roll_back_survive_a_restart(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    assert store.path is None
    install(store, 1)
    store.state.watched = watched(0.3)
    install(store, 2)
    again = ModelStore(tmp_path)
    assert (again.state.serial, again.state.before, again.state.watched_before) == (2, 1, watched(0.3))
    assert again.path is not None
    assert again.path.read_text() == "model 2"
    again.roll_back()
    last = ModelStore(tmp_path)
    assert (last.state.serial, last.state.before, last.state.refused) == (1, 0, [2])
    assert last.path is not None
    assert last.path.read_text() == "model 1"
    assert last.state.watched == watched(0.3)  # it goes on measuring where it was


def test_only_two_models_stay(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    for serial in range(1, 6):
        install(store, serial)
    assert sorted(one.name for one in tmp_path.iterdir() if one.is_dir()) == ["4", "5"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"serial": "x"}', '{"serial": 3}'])
def test_a_damaged_state_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert ModelStore(tmp_path).path is None


def test_a_state_whose_model_is_gone_is_pulled_again(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.state.tag = "abc"
    install(store, 3)
    store.path_of(3).unlink()
    again = ModelStore(tmp_path)
    assert (again.path, again.state.tag) == (None, "")


def test_worse_is_what_grew_beyond_what_days_differ_by() -> None:
    assert is_worse(watched(0.40), watched(0.20))
    assert not is_worse(watched(0.25), watched(0.20))
    assert not is_worse(watched(0.10), watched(0.20))
    assert not is_worse(watched(0.90, days=0.9), watched(0.20))  # less than a day says nothing
    assert not is_worse(watched(0.90), watched(0.20, days=0.9))


def test_gaps_are_not_watched_and_old_days_fade() -> None:
    seen = Watched()
    seen.add(1.0, 100.0, 50.0)
    seen.add(3600.0, 100.0, 0.0)  # a gap
    seen.add(-5.0, 100.0, 0.0)
    assert (seen.share, seen.seconds) == (0.5, 1.0)
    for _ in range(20 * 1440):
        seen.add(60.0, 100.0, 10.0)
    assert seen.share == pytest.approx(0.1, abs=1e-3)
    assert seen.seconds <= 7 * DAY_S + 60
    assert from_json(seen.as_json()) == seen
    assert from_json({"residual_ws": -1}) == from_json(None) == Watched()
