"""A metered link whose budget runs out too fast thins readings, and a free link brings the others; links by reload."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from firmware_sim.net.namespace import missing
from gateway.uplink.link_budget import month_of
from tests.e2e.harness import report
from tests.e2e.town_site import TownSite

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(missing()), reason=missing() or "-"),
]
BUDGET = 400_000_000
ZONE = ZoneInfo("Europe/Amsterdam")
TODAY = min(datetime.now(ZONE).day, 28)  # the month begins: the whole of it is left
GSM = {"name": "gsm", "interface": "gsm0", "dns": ["10.82.2.1"]}
LINKS = (
    {"name": "wifi", "interface": "wifi0", "dns": ["10.82.1.1"]},
    GSM | {"cost": "metered", "budget": "400MB", "budget_day": TODAY},
)


class HastySite(TownSite):
    """Its edge does in seconds what takes minutes. ``used``: bytes of the budget that are used when it starts."""

    used = 0

    def _start(self, name: str, command_line: list[str]) -> None:
        if name == "edge":
            command_line = [sys.executable, "-m", "tests.e2e.hasty", *command_line[3:]]
            begin, _ = month_of(int(datetime.now(ZONE).timestamp()) * 10**9, TODAY, ZONE)
            usage = {"month": begin.date().isoformat(), "used": self.used, "undated": 0, "last": None}
            (self.run / "edge").mkdir(exist_ok=True)
            (self.run / "edge" / "links.json").write_text(json.dumps({"gsm": usage}), encoding="utf-8")
        super()._start(name, command_line)


@pytest.mark.parametrize("language", ["compact", "ngsi-ld"])
def test_what_is_thinned_waits_for_the_free_link(tmp_path: Path, language: str) -> None:
    site = HastySite(tmp_path, links=LINKS, language=language)
    site.used = int(0.8 * BUDGET)
    with site:
        site.town.wifi.carrier(False)
        site.wait(lambda: site.status()["uplink"]["thin"] > 1, 60, "thinning")
        site.wait(lambda: site.status()["outbox"]["deferred"] > 600, 120, "readings that are passed over")
        status = site.status()
        assert status["link"]["name"] == "gsm"
        assert status["uplink"]["holds"]
        assert 0 < status["outbox"]["deferred"] <= status["outbox"]["depth"], "all of it waits"
        assert status["outbox"]["dropped"] == {}
        stored = site.history("house").readings
        made = status["outbox"]["made"]["house"]
        report("thinned", made=made, stored=stored, thin=status["uplink"]["thin"])
        assert 0 < stored < 0.7 * made
        site.town.wifi.carrier(True)
        site.wait(lambda: site.status()["link"]["name"] == "wifi", 120, "the free link")
        site.wait(lambda: site.depth() < 200, 60, "what was passed over")
        result = site.settle(0)
        report("metered", **{key: result[key] for key in ("made", "stored", "lost", "twice")})
        assert (result["lost"], result["twice"]) == (0, 0)


def test_a_link_that_a_reload_adds_is_used(tmp_path: Path) -> None:
    with TownSite(tmp_path, links=LINKS[:1], language="compact") as site:
        site.wait(site.all_up, 60, "every device up")
        site.change_config(lambda config: config["links"].append(GSM))
        site.hangup()
        site.wait(lambda: "links changed" in site.edge_log(), 20, "the reload")
        assert site.edge_log().count("link wifi is up") == 1, "the link that stays is not interrupted"
        site.town.wifi.stall()
        site.wait(lambda: site.status()["link"]["name"] == "gsm", 90, "the new link")
        site.wait(lambda: site.depth() < 200, 60, "what waited")
        site.change_config(lambda config: config["links"].pop())
        site.hangup()
        site.wait(lambda: site.status()["link"]["name"] != "gsm", 20, "the link gone")
        site.town.wifi.stall(False)
        site.wait(lambda: site.status()["link"]["up"], 120, "the first link again")
        result = site.settle(0)
        assert (result["lost"], result["twice"]) == (0, 0)
