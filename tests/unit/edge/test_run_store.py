"""Runs of appliances on the disk: bounded, whole after a crash, harmless on a sick disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.edge import run_store
from gateway.edge.run_store import Run, RunStore


def run(number: int) -> Run:
    return Run("kettle", 1_700_000_000.0 + 600 * number, 1_700_000_120.0 + 600 * number, 0.066)


def test_they_survive_and_a_cut_off_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "nilm" / "runs.jsonl"
    store = RunStore(path)
    for number in range(3):
        store.add(run(number))
    store.flush()
    with path.open("a") as file:
        file.write('{"name":"kettle","start_s":17')
    assert RunStore(path).since(0) == [run(0), run(1), run(2)]
    assert RunStore(path).since(run(1).end_s) == [run(2)]
    assert path.stat().st_mode & 0o007 == 0  # nobody else reads when people are at home


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_store, "RUNS_MAX", 10)
    monkeypatch.setattr(run_store, "SLACK", 5)
    path = tmp_path / "runs.jsonl"
    store = RunStore(path)
    store._runs = type(store._runs)(maxlen=10)
    for number in range(100):
        store.add(run(number))
        store.flush()
        assert len(path.read_text().splitlines()) <= 15
    assert RunStore(path).since(0)[-10:] == [run(number) for number in range(90, 100)]


def test_a_disk_that_takes_nothing_is_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    store = RunStore(blocked / "runs.jsonl")
    for number in range(3):
        store.add(run(number))
        store.flush()
    assert caplog.text.count("cannot be kept") == 1
    blocked.unlink()
    store.flush()
    assert RunStore(blocked / "runs.jsonl").since(0) == [run(0), run(1), run(2)]


def test_a_correction_stays(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    store = RunStore(path)
    for number in range(3):
        store.add(run(number))
    store.flush()
    assert store.correct("kettle", run(1).start_s, "heater") == Run(
        "heater", run(1).start_s, run(1).end_s, 0.066, "kettle"
    )
    store.correct("heater", run(1).start_s, "iron")
    store.add(run(3))
    store.flush()
    again = RunStore(path).since(0)
    assert [(one.name, one.was) for one in again] == [
        ("kettle", ""),
        ("iron", "kettle"),
        ("kettle", ""),
        ("kettle", ""),
    ]
    assert store.correct("kettle", 5.0, "heater") is None
