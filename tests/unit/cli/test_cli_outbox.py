"""``lamppost outbox`` on a real file, beside an outbox that is open and goes on."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sqlite3
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from gateway.cli.outbox_export import COLUMNS
from gateway.mapping.mapper import iso
from gateway.model import Position, Reading
from gateway.outbox.retention import Limits
from tests.unit.cli.command import Run
from tests.unit.outbox.outbox_kit import UTC_2026, FakeClock, observe, running


async def fill(folder: Path) -> None:
    """Two devices, a text and a position, and one reading of a boot that does not know the time."""
    clock = FakeClock()
    async with running(folder / "outbox.sqlite", clock) as outbox:
        for number in range(40):
            outbox.append(observe(clock, [230.5, number]))
            clock.pass_s(1)
        now = UTC_2026 + clock.mono_ns()
        outbox.append([Reading("tram", "position", Position(55.7, 12.5), "", now, None)])
        outbox.append([Reading("door", "state", "a,b\x1b[31m", "", now, None), Reading("door", "open", True, "", now)])
    undated = FakeClock("boot-2", offset_ns=None)
    async with running(folder / "outbox.sqlite", undated) as outbox:
        outbox.append(observe(undated, [1.0], "late"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("box")
    asyncio.run(fill(made))
    return made


def test_show(run: Run, folder: Path) -> None:
    found = json.loads(run("outbox", "show", "--data", str(folder), "--json").stdout)
    assert (found["readings"], found["undated"], found["ranges"], found["faults"]) == (84, 1, [[1, 84]], [])
    assert found["by_device"] == found["made"] == {"meter": 80, "tram": 1, "door": 2, "late": 1}
    assert found["first_ns"] == UTC_2026 + 10**9
    text = run("outbox", "show", str(folder / "outbox.sqlite")).stdout
    assert text.startswith("84 readings in ")
    assert "1 reading of a boot that does not know the time yet" in text
    assert "sequence numbers 1-84\n" in text


def test_export_csv(run: Run, folder: Path) -> None:
    done = run("outbox", "export", "--data", str(folder))
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert done.stderr == "84 readings\n"
    assert tuple(rows[0]) == COLUMNS
    first = {"seq": "1", "device": "meter", "quantity": "q0", "value": "230.5", "unit": "W", "quality": "good"}
    assert first.items() <= rows[0].items()
    assert rows[0]["observed_at"] == iso(UTC_2026 + 10**9)
    assert [row["text"] for row in rows[80:83]] == ["POINT (12.5 55.7)", "a,b\ufffd[31m", ""]
    assert rows[82]["value"] == "1"
    assert (rows[83]["observed_at"], rows[83]["boot_id"], rows[83]["monotonic_s"]) == ("", "boot-2", "1.0")


def test_export_parts(run: Run, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "part.jsonl"
    since, until = iso(UTC_2026 + 5 * 10**9)[:19], iso(UTC_2026 + 7 * 10**9)[:19]
    run("outbox", "export", "--data", str(folder), "--output", str(target), "--since", since, "--until", until)
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [(line["device"], line["quantity"], line["value"]) for line in lines] == [
        ("meter", "q0", 230.5),
        ("meter", "q1", 4),
        ("meter", "q0", 230.5),
        ("meter", "q1", 5),
    ]
    run("outbox", "export", "--data", str(folder), "--output", str(target), "--device", "late", "--device", "tram")
    assert [json.loads(line)["device"] for line in target.read_text().splitlines()] == ["tram", "late"]
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".part"] == []


def test_export_parquet(run: Run, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "all.parquet"
    assert run("outbox", "export", "--data", str(folder), "--output", str(target)).returncode == 0
    rows = parquet.read_table(target).to_pylist()
    assert len(rows) == 84
    assert rows[0]["value"] == 230.5
    assert rows[0]["observed_at"].timestamp() == (UTC_2026 + 10**9) / 1e9
    assert rows[83]["observed_at"] is None
    refused = run("outbox", "export", "--data", str(folder), "--format", "parquet")
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (2, "error[usage]: Parquet is no text")


def test_verify_and_damage(run: Run, folder: Path, tmp_path: Path) -> None:
    good = run("outbox", "verify", "--data", str(folder))
    assert (good.returncode, good.stdout.startswith("ok: ")) == (0, True)
    broken = tmp_path / "outbox.sqlite"
    broken.write_bytes((folder / "outbox.sqlite").read_bytes())
    with sqlite3.connect(broken) as db:
        db.execute("UPDATE block SET body = zeroblob(20) WHERE first_seq = 1")
    db.close()
    assert run("outbox", "verify", str(broken)).stderr.startswith("error[outbox.damaged]: ")
    answer = json.loads(run("outbox", "verify", str(broken), "--json").stdout)
    assert (answer["ok"], answer["faults"]) == (False, ["block 1 fails its checksum"])
    exported = run("outbox", "export", str(broken))
    assert exported.returncode == 1
    assert "damaged blocks were left out: block 1" in exported.stderr


def test_what_is_no_outbox(run: Run, tmp_path: Path) -> None:
    assert "error[outbox.none]" in run("outbox", "show", "--data", str(tmp_path)).stderr
    for content in (b"", b"no database at all" * 100):
        (tmp_path / "other").write_bytes(content)
        done = run("outbox", "show", str(tmp_path / "other"))
        assert done.returncode == 1
        assert "error[outbox." in done.stderr
    output = run("outbox", "export", "--data", str(tmp_path), "--output", "/nonexistent/x.csv")
    assert output.returncode == 1


async def test_the_owner_never_waits(run: Run, tmp_path: Path) -> None:
    """Commits and acknowledgements go on while the file is read from beside, and its log does not grow without end."""
    clock = FakeClock()
    async with running(tmp_path / "outbox.sqlite", clock, limits=Limits(4 * 2**20)) as outbox:
        for _ in range(200):
            outbox.append(observe(clock, range(20)))
            clock.pass_s(1)
        reader = asyncio.create_task(asyncio.to_thread(run, "outbox", "export", "--data", str(tmp_path)))
        beside = 0
        while not reader.done():
            outbox.append(observe(clock, range(20)))
            clock.pass_s(1)
            beside += 1
            await asyncio.sleep(0.01)
        done = await reader
        assert done.returncode == 0
        assert done.stdout.count("\n") > 200 * 20
        assert outbox.stats().problem == ""
        assert beside > 1
