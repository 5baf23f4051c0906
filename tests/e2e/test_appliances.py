"""`lamppost appliances` against a running edge: a load is taught, found by the worker, and its runs come out."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from drivers.base import Measurement, Observation
from gateway.cli.main import main
from gateway.config.load import require
from gateway.edge.run_store import Run
from gateway.edge.service import Edge
from gateway.pipeline.nilm.result import ApplianceResult, Part
from gateway.server.serve import serve
from gateway.server.settings import ServerSettings

SAMPLE_S = 0.1
BASE_W = 200.0
PATIENCE_S = 30.0


@dataclass
class House:
    """A real edge with its control socket; its meter says what this says."""

    edge: Edge
    config: Path
    load_w: float = 0.0
    on_phase: int = 1

    async def meter(self) -> None:
        while True:
            phases = [BASE_W / 2 + (self.load_w if phase == self.on_phase else 0.0) for phase in (1, 2)]
            named = [Measurement(f"active_power_l{phase}", watts) for phase, watts in enumerate(phases, 1)]
            sample = (*named, Measurement("active_power_total", sum(phases)))
            self.edge._emit("grid", Observation(sample, time.monotonic_ns()))
            await asyncio.sleep(SAMPLE_S)

    async def run(self, *arguments: str) -> int:
        command = ["appliances", *arguments, "--config", str(self.config)]
        return await asyncio.to_thread(main, command)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMPPOST_NILM_PURE", "1")  # a worker that need not compile


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with lived_in(tmp_path, "http://127.0.0.1:1", "keep") as house:
        yield house


@contextlib.asynccontextmanager
async def lived_in(
    tmp_path: Path, url: str, privacy: str, quantity: str = "active_power_total"
) -> AsyncIterator[House]:
    text = {
        "site": {"id": "home", "location": {"latitude": 52.0, "longitude": 5.0}},
        "uplink": {"url": url},
        "buses": {"mqtt": {"type": "mqtt", "host": "127.0.0.1", "port": 1}},
        "devices": {"grid": {"template": "shelly-pro-3em", "bus": "mqtt", "address": "shelly-1"}},
        "disaggregation": {"meter": "grid", "quantity": quantity, "model": str(tmp_path / "model.json")},
        "privacy": {"appliances": privacy},
        "storage": {"path": str(tmp_path / "store")},
        "local": {"listen": {"port": 0}},
        "clock": {"trusted": True},
    }
    config = tmp_path / "lamppost.yaml"
    config.write_text(yaml.safe_dump(text))
    stop, running = asyncio.Event(), asyncio.Event()
    edge = Edge(require(config), config)
    life = asyncio.create_task(edge.run(stop, running))
    await running.wait()
    house = House(edge, config)
    meter = asyncio.create_task(house.meter())
    try:
        yield house
    finally:
        meter.cancel()
        stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await life


@contextlib.asynccontextmanager
async def city(data: Path) -> AsyncIterator[str]:
    """A server on a port of its own; its address."""
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    life = asyncio.create_task(serve(ServerSettings(data=data, port=0), ready=address.set_result, stop=stop))
    try:
        yield await asyncio.wait_for(address, PATIENCE_S)
    finally:
        stop.set()
        await life


async def said(capsys: pytest.CaptureFixture[str], words: str, seen: str = "") -> str:
    """All output until these words are in it."""
    async with asyncio.timeout(PATIENCE_S):
        while words not in seen:
            await asyncio.sleep(0.02)
            seen += capsys.readouterr().out
    return seen


async def test_a_load_is_taught_and_then_found(home: House, capsys: pytest.CaptureFixture[str]) -> None:
    lesson = asyncio.create_task(home.run("learn", "kettle", "--times", "2"))
    seen = await said(capsys, "(1 of 2) switch kettle on")
    home.load_w = 2000.0
    seen = await said(capsys, "(1 of 2) switch kettle off", seen)
    home.load_w = 2400.0  # another load comes and goes in between
    seen = await said(capsys, "another load", seen)
    home.load_w = 400.0
    seen = await said(capsys, "(2 of 2) switch kettle on", seen)
    home.load_w = 2400.0
    seen = await said(capsys, "(2 of 2) switch kettle off", seen)
    home.load_w = 400.0
    assert await lesson == 0, seen
    seen = await said(capsys, "kettle: 2000 W", seen)

    async def appliances() -> dict[str, Any]:
        assert await home.run("list", "--json") == 0
        return dict(json.loads(capsys.readouterr().out))

    async def until_kettle(on: bool) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (await appliances())["appliances"].get("kettle", {}).get("on") is not on:
                await asyncio.sleep(0.1)

    await until_kettle(on=False)  # the daemon took the model by itself
    home.load_w = 2400.0
    await until_kettle(on=True)
    home.load_w = 400.0
    await until_kettle(on=False)
    now = await appliances()
    assert now["mains_w"] == pytest.approx(now["other_w"] + now["appliances"]["kettle"]["power_w"])

    assert await home.run("export") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows  # several where this machine was so busy that samples came late: behind a gap a run begins anew
    assert {row["appliance"] for row in rows} == {"kettle"}
    assert all(row["start"] <= row["end"] for row in rows)
    assert sum(float(row["kWh"]) for row in rows) > 0
    assert await home.run("score", "--json") == 0
    assert json.loads(capsys.readouterr().out)["appliances"]["kettle"]["runs"] == len(rows)

    assert await home.run("name", "kettle", "boiler") == 0
    async with asyncio.timeout(PATIENCE_S):
        while "boiler" not in (capsys.readouterr() and await appliances())["appliances"]:
            await asyncio.sleep(0.1)


async def test_loads_of_one_power_are_taught_on_their_phases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with lived_in(tmp_path, "http://127.0.0.1:1", "keep", "active_power") as home:
        for home.on_phase, name in ((1, "kettle"), (2, "heater")):
            lesson = asyncio.create_task(home.run("learn", name, "--times", "1"))
            seen = await said(capsys, f"(1 of 1) switch {name} on")
            home.load_w = 2000.0
            seen = await said(capsys, f"(1 of 1) switch {name} off", seen)
            home.load_w = 0.0
            assert await lesson == 0, seen
            await said(capsys, f"{name}: 2000 W on L{home.on_phase}", seen)

        async def on() -> set[str]:
            assert await home.run("list", "--json") == 0
            now = json.loads(capsys.readouterr().out)
            told = sum(one["power_w"] for one in now["appliances"].values()) + (now["other_w"] or 0.0)
            assert told == pytest.approx(now["mains_w"] or 0.0)
            return {name for name, one in now["appliances"].items() if one["on"]}

        async def until_on(*names: str) -> None:
            async with asyncio.timeout(PATIENCE_S):
                while await on() != set(names):
                    await asyncio.sleep(0.1)

        async with asyncio.timeout(PATIENCE_S):
            while len(home.edge._told_apart().appliances_json()["appliances"]) < 2:
                await asyncio.sleep(0.1)
        for home.on_phase, name in ((1, "kettle"), (2, "heater")):
            await until_on()
            home.load_w = 2000.0
            await until_on(name)
            home.load_w = 0.0


async def test_what_cannot_be_learned_is_said(home: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert await home.run("learn", "kettle", "--wait", "1") == 2
    told = capsys.readouterr()
    assert "no such edge came within 1 s" in told.err
    assert not (home.config.parent / "model.json").exists()
    assert await home.run("list") == 0
    assert "nothing yet" in capsys.readouterr().out
    assert await home.run("name", "kettle", "boiler") == 1
    assert "error[nilm.model]" in capsys.readouterr().err


async def test_a_label_is_corrected_on_the_page(home: House) -> None:
    from gateway.pipeline.nilm import model as models  # here, where kernels are not compiled
    from gateway.pipeline.nilm import onsite

    model = home.config.parent / "model.json"
    runs = home.edge._told_apart()._runs
    start_s = float(int(time.time()) - 600)
    runs.add(Run("load <1>", start_s, start_s + 300, 2000 * 300 / 3.6e6))
    taught = onsite.load_from("heater", [2400.0], [-2400.0], SAMPLE_S)
    models.save(onsite.with_load(None, taught, SAMPLE_S, 100.0, ""), model)
    command = [sys.executable, "-m", "gateway.cli.main", "appliances", "page", "--config", str(home.config)]
    shown = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert shown.stdout is not None
    try:
        address = (await asyncio.wait_for(shown.stdout.readline(), PATIENCE_S)).decode().strip()
        day = datetime.fromtimestamp(start_s, UTC).date()
        async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_S) as client:
            text = (await client.get("", params={"day": str(day)})).text
            assert "load &lt;1&gt;" in text
            assert "<rect" in text
            assert "<1>" not in text
            given = {"name": "load <1>", "start_s": repr(start_s), "right": "kettle"}
            said = (await client.post("correct", params={"day": str(day)}, data=given)).text
            assert "It is kettle now. The model has learned from it (2000 W)." in said
            assert "(was load &lt;1&gt;)" in said
            assert models.load(model).names == ["heater", "kettle"]
            assert "no run of" in (await client.post("correct", data=given)).text
            assert (await client.get("", params={"day": "yesterday"})).status_code == 400
            root = address.rsplit("/", 2)[0]
            assert (await client.get(f"{root}/")).status_code == 404  # without the secret
            assert (await client.post(f"{root}/correct", data=given)).status_code == 400
    finally:
        shown.send_signal(signal.SIGINT)
        await asyncio.wait_for(shown.wait(), PATIENCE_S)
    assert shown.returncode == 130


async def until_run(client: httpx.AsyncClient, count: int) -> list[dict[str, Any]]:
    """All instances of `run` in history once there are so many whole ones, oldest first."""
    where = "/ngsi-ld/v1/temporal/entities/urn:ngsi-ld:ApplianceRun:home:grid:kettle:run"
    async with asyncio.timeout(3 * PATIENCE_S):
        while True:
            answer = await client.get(where)
            runs = answer.json().get("run", []) if answer.status_code == 200 else []
            runs = sorted(runs if isinstance(runs, list) else [runs], key=lambda run: str(run["observedAt"]))
            if sum(not run["value"]["provisional"] for run in runs) >= count:
                return runs
            await asyncio.sleep(0.2)


async def test_runs_arrive_as_events(tmp_path: Path) -> None:
    from gateway.pipeline.nilm import model as models  # here, where kernels are not compiled
    from gateway.pipeline.nilm import onsite

    taught = onsite.load_from("kettle", [2000.0], [-2000.0], SAMPLE_S)
    models.save(onsite.with_load(None, taught, SAMPLE_S, 100.0, ""), tmp_path / "model.json")
    async with (
        city(tmp_path / "city") as url,
        lived_in(tmp_path, url, "send") as house,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client,
    ):
        async with asyncio.timeout(PATIENCE_S):
            while not house.edge._told_apart().appliances_json()["appliances"]:
                await asyncio.sleep(0.1)
        began = time.time()
        for _ in range(2):
            house.load_w = 2000.0
            await asyncio.sleep(10 * SAMPLE_S)
            house.load_w = 0.0
            await asyncio.sleep(10 * SAMPLE_S)
        runs = await until_run(client, 2)
        own = [asdict(run) for run in house.edge._told_apart()._runs.since(0)]
        run = (await client.get("/ngsi-ld/v1/entities/urn:ngsi-ld:ApplianceRun:home:grid:kettle:run")).json()
    assert run["type"] == "ApplianceRun"
    assert run["refDevice"]["object"] == "urn:ngsi-ld:ACMeasurement:home:grid:kettle"
    assert run["run"]["value"] == runs[-1]["value"], "the newest is the present one"
    starts = {instance["value"]["startedAt"] for instance in runs if instance["value"]["provisional"]}
    assert len(runs) == 2 * len(starts), "one entry for each start and each end"
    whole = [instance for instance in runs if not instance["value"]["provisional"]]
    assert len(whole) == len(own)
    for instance, kept in zip(whole, own, strict=True):
        value = instance["value"]
        start, end = (datetime.fromisoformat(value[name]).timestamp() for name in ("startedAt", "endedAt"))
        assert value["startedAt"] in starts
        assert (start, end) == pytest.approx((kept["start_s"], kept["end_s"]), abs=0.01)
        assert began - 1 <= start < end <= time.time()
        assert datetime.fromisoformat(instance["observedAt"]).timestamp() == pytest.approx(end, abs=0.002)
        assert value["duration"] == pytest.approx(end - start, abs=1e-3)
        assert value["energy"] == pytest.approx(kept["kwh"])
        assert value["energy"] > 0
        assert 0.5 < value["confidence"] <= 1


async def test_runs_stay_on_the_box_unless_granted(tmp_path: Path) -> None:
    from gateway.pipeline.nilm import model as models  # here, where kernels are not compiled
    from gateway.pipeline.nilm import onsite

    taught = onsite.load_from("kettle", [2000.0], [-2000.0], SAMPLE_S)
    models.save(onsite.with_load(None, taught, SAMPLE_S, 100.0, ""), tmp_path / "model.json")
    async with (
        city(tmp_path / "city") as url,
        lived_in(tmp_path, url, "keep") as house,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client,
    ):
        async with asyncio.timeout(2 * PATIENCE_S):
            while not house.edge._told_apart()._runs.since(0):
                house.load_w = 2000.0 - house.load_w
                await asyncio.sleep(10 * SAMPLE_S)
            everything = "/ngsi-ld/v1/entities?local=true&type=*"
            since = time.time()
            while True:  # what the meter says now has arrived, so what was said of the run before would have too
                found = {entity["id"]: entity for entity in (await client.get(everything)).json()}
                meter = found.get("urn:ngsi-ld:ThreePhaseAcMeasurement:home:grid", {})
                power = meter.get("https://smartdatamodels.org/dataModel.Energy/totalActivePower", {})
                if power and datetime.fromisoformat(power["observedAt"]).timestamp() > since:
                    break
                await asyncio.sleep(0.2)
        assert {entity.split(":")[2] for entity in found} <= {"ThreePhaseAcMeasurement", "Device"}


async def test_final_values_take_the_place_of_provisional_ones(tmp_path: Path) -> None:
    async with (
        city(tmp_path / "city") as url,
        lived_in(tmp_path, url, "send") as house,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client,
    ):
        begin = time.monotonic_ns()
        for number in range(3):
            for final, watts in ((False, 1900.0 + number), (True, 2000.0 + number)):
                part = Part("kettle", watts, 0.1, True, 0.9)
                instant = begin + number * 6 * 10**9
                house.edge._told_apart().appliances.result(ApplianceResult(instant, 2100.0, 100.0, (part,), (), final))
        where = "/ngsi-ld/v1/temporal/entities/urn:ngsi-ld:ACMeasurement:home:grid:kettle"
        power, seen = "https://smartdatamodels.org/dataModel.Energy/totalActivePower", []
        async with asyncio.timeout(PATIENCE_S):
            while 2002.0 not in seen:
                await asyncio.sleep(0.2)
                answer = await client.get(where)
                seen = [one["value"] for one in answer.json().get(power, [])] if answer.status_code == 200 else []
        assert sorted(seen) == [2000.0, 2001.0, 2002.0]
        assert {one["value"] for one in answer.json()["provisional"]} == {False}
