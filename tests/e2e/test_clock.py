"""A box that starts in 1970: nothing leaves with the wrong date, and nothing is lost for it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from gateway.mapping.mapper import iso
from tests.e2e.harness import Site

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


def in_1970(site: Site, moment: Path) -> dict[str, str]:
    moment.write_text("@1970-01-01 00:10:00\n")
    assert LIBRARY is not None, "Debian's package faketime is needed"
    return {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(moment),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "TZ": "UTC",
    }


def restart_in_1970(site: Site, trusted: bool) -> Path:
    """Stop the edge, forget what it has, and start it again on a clock at 1970."""
    site._children.pop("edge").stop()

    def change(config: dict[str, Any]) -> None:
        config["clock"] = {"trusted": trusted}
        config["storage"]["path"] = str(site.run / "edge")
        config.pop("disaggregation", None)

    for path in (site.run / "edge").glob("outbox*"):
        path.unlink()
    site.change_config(change)
    moment = site.run / "faketime"
    site.begin("edge", in_1970(site, moment))
    return moment


def dates(site: Site) -> list[str]:
    """observedAt of all that the server has."""
    found = []
    for entity_id in site.api().entity_ids():
        window = f"timerel=after&timeAt={iso(0)}"
        entity = site.api().get(f"/ngsi-ld/v1/temporal/entities/{entity_id}?{window}") or {}
        for instances in entity.values():
            found += [i["observedAt"] for i in instances if isinstance(i, dict)] if isinstance(instances, list) else []
    return found


@pytest.mark.slow
def test_clock_set_later(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        site.kill("server")
        moment = restart_in_1970(site, trusted=True)
        site.wait(site.all_up, 60, "every device up in 1970")
        assert site.status()["clock"]["source"] == "none"
        time.sleep(5)
        made_in_1970 = sum(site.status()["outbox"]["made"].values())
        moment.write_text("+0\n")
        site.wait(lambda: site.status()["clock"]["source"] == "configured", 20, "a trusted clock")
        site.begin("server")
        site.wait(lambda: site.status()["outbox"]["depth"] < 100, 30, "the backlog sent")
        stamps = dates(site)
        now = iso(time.time_ns())
        assert min(stamps) > iso(site._began_ns)
        assert max(stamps) < iso(time.time_ns() + 5_000_000_000) > now
        assert made_in_1970 > 100
        result = site.settle(0)
        assert result["lost"] == 0


@pytest.mark.slow
def test_the_servers_time_is_taken_over_an_authenticated_exchange(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        restart_in_1970(site, trusted=False)
        site.wait(lambda: site.status()["clock"]["source"] == "server", 60, "the server's time")
        time.sleep(5)
        assert min(dates(site)) > iso(site._began_ns)
