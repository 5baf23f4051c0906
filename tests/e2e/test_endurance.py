"""What must never be lost: long outages, kill -9, power cuts, a dead neighbour. Slow; run by ``./dev test --all``."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.demo_count import until
from gateway.mapping.mapper import iso
from tests.durability.powercut import PowerCut
from tests.e2e.harness import Site, report

OUTAGE_S = float(os.environ.get("LAMPPOST_OUTAGE_S", "60"))
KILLS = int(os.environ.get("LAMPPOST_KILLS", "20"))
WINDOW_S = float(os.environ.get("LAMPPOST_WINDOW_S", "60"))
NEIGHBOURS = ("main-meter", "kitchen-circuit", "classroom-co2")
GRID = "urn:ngsi-ld:ThreePhaseAcMeasurement:school-1:grid-meter"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def newest(site: Site) -> str:
    """observedAt of the newest grid power on the server; empty while it does not answer."""
    entity = site.api().get(f"/ngsi-ld/v1/entities/{GRID}") or {}
    stamps = [member["observedAt"] for member in entity.values() if isinstance(member, dict) and "observedAt" in member]
    return max(stamps, default="")


def test_server_away_for_a_minute(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        site.wait(site.all_up, 40, "every device up")
        site.kill("server")
        time.sleep(OUTAGE_S)
        waiting = site.status()["outbox"]["depth"]
        site.begin("server")
        site.wait(site._server_answers, 20, "the server answering")
        back_at, back = iso(time.time_ns()), time.monotonic()
        first = site.wait(
            lambda: newest(site) > iso(site._began_ns) and newest(site) >= back_at[:19], 10, "a new value"
        )
        drained = site.wait(lambda: site.status()["outbox"]["depth"] < 300, 30, "the backlog sent")
        result = site.settle(0)
        report(
            "outage",
            seconds=OUTAGE_S,
            waiting=waiting,
            first_new_value_s=round(first, 2),
            drained_s=round(time.monotonic() - back if drained else drained, 2),
            made=result["made"],
            lost=result["lost"],
            twice=result["twice"],
        )
        assert waiting > 20 * OUTAGE_S
        assert (result["lost"], result["twice"]) == (0, 0)


@pytest.mark.parametrize("power_cut", [False, True], ids=["kill", "power-cut"])
def test_random_kills_of_either_role(tmp_path: Path, power_cut: bool) -> None:
    chance = random.Random(20)
    with Site(tmp_path) as site:
        site.wait(site.all_up, 40, "every device up")
        cuts = {role: PowerCut(tmp_path / role) for role in ("edge", "server")} if power_cut else {}
        for role in cuts:  # from here on each role runs on a disk that forgets what was not fsynced
            site._children.pop(role).stop()
            site.begin(role, cuts[role].env())
        killed: dict[str, int] = {"edge": 0, "server": 0}
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.5, 4.0))
            role = chance.choice(("edge", "server"))
            site.kill(role)
            environment: Mapping[str, str] = {}
            if role in cuts:
                cuts[role].cut()
                environment = cuts[role].env()
            site.begin(role, dict(environment))
            killed[role] += 1
        site.wait(site._server_answers, 20, "the server back")
        site.wait(site.all_up, 60, "every device up again")
        status = site.status()
        result = site.settle(0)
        report(
            "power cuts" if power_cut else "kills",
            **killed,
            crashes=status["outbox"]["crashes"],
            crash_cost_at_most=status["outbox"]["crash_cost"],
            made=result["made"],
            stored=result["stored"],
            lost=result["lost"],
            twice=result["twice"],
        )
        # a kill before the first reading after a start costs nothing and is not counted
        assert 0 < status["outbox"]["crashes"] <= killed["edge"]
        assert (result["lost"], result["twice"]) == (0, 0)


def test_silent_unit_costs_its_neighbours_little(tmp_path: Path) -> None:
    def made() -> dict[str, int]:
        counts: dict[str, int] = site.status()["outbox"]["made"]
        return {name: counts[name] for name in NEIGHBOURS}

    def rate() -> dict[str, float]:
        before, began = made(), time.monotonic()
        time.sleep(WINDOW_S)
        elapsed, after = time.monotonic() - began, made()
        return {name: (after[name] - before[name]) / elapsed for name in NEIGHBOURS}

    def poll_often(config: dict[str, Any]) -> None:
        # thirty polls a window: one more or less at its edges is 3 %, with six it would be 15 %
        config["devices"]["classroom-co2"]["period"] = 2

    def without_spare(config: dict[str, Any]) -> None:
        del config["devices"]["spare-meter"]

    with Site(tmp_path) as site:
        site.wait(site.all_up, 40, "every device up")
        site.change_config(poll_often)
        site.hangup()
        assert until(lambda: site.state("spare-meter") == "silent", 60)
        time.sleep(60)
        beside = rate()
        site.change_config(without_spare)
        site.hangup()
        site.wait(lambda: "spare-meter" not in site.status()["devices"], 10, "spare-meter gone")
        alone = rate()
        share = {name: round(beside[name] / alone[name], 3) for name in NEIGHBOURS}
        report("silent unit", window_s=WINDOW_S, share_of_rate_alone=share)
        assert all(value >= 0.95 for value in share.values())
