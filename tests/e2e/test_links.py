"""Whatever the link does, each reading that was made is in the server's history once.

Real daemons, each in a network namespace of its own, on links that fail (firmware_sim/net). Sites run beside each
other: each waits most of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from firmware_sim.net.namespace import missing
from tests.e2e.harness import report
from tests.e2e.town_site import TownSite

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(missing()), reason=missing() or "-"),
]
AT_ONCE = 4
OUTAGE_S = 60.0
SHORT_S = 20.0
DAY_S = 86_400
NAMES_S = 7.0  # longer than an answer of a name server is kept
DRAINED = 200
BATCHES = 6_000  # bytes that no probe has
LINKS = (
    {"name": "wifi", "interface": "wifi0", "dns": ["10.82.1.1"]},
    {"name": "gsm", "interface": "gsm0", "dns": ["10.82.2.1"]},
)
Fault = Callable[[TownSite], None]
DRAIN_S = 60.0


def _outage(site: TownSite, begin: Callable[[], None], end: Callable[[], None], seconds: float) -> None:
    """A fault that lets nothing through: what is made meanwhile waits, and then goes."""
    before = site.depth()
    begin()
    time.sleep(seconds)
    assert site.depth() > before + 10 * seconds, "the fault let readings through"
    end()
    report("drained", seconds=round(site.wait(lambda: site.depth() < DRAINED, DRAIN_S, "the backlog sent"), 1))


def _day(site: TownSite) -> None:
    """24 hours without a link at a thousand times the speed; the real outbox, then the real edge sends what waits."""
    site.end("edge")
    made = site.offline_before(
        DAY_S, {"voltage_l1": 220.0, "current_l1": 1.0, "active_power_l1": 300.0, "frequency": 1}
    )
    site.begin("edge")
    site.wait(lambda: site.depth() > made // 2, 60, "a day's backlog")
    report("day", readings=made, drained_s=round(site.wait(lambda: site.depth() < DRAINED, 600, "the day sent"), 1))


def _down(site: TownSite) -> None:
    _outage(site, site.town.wifi.down, site.town.wifi.up, OUTAGE_S)


def _stall(site: TownSite) -> None:
    _outage(site, site.town.wifi.stall, lambda: site.town.wifi.stall(False), OUTAGE_S)


def _cut_in_a_batch(site: TownSite) -> None:
    """The carrier goes while a batch is on its way, three times."""
    wifi = site.town.wifi
    for _ in range(3):
        wifi.stall()
        site.wait(lambda: site.depth() > 600, 60, "something to send")
        wifi.set(rate=60_000.0)  # a batch takes seconds
        half = wifi.traffic().up.bytes + 15_000
        wifi.stall(False)
        site.wait(lambda half=half: wifi.traffic().up.bytes > half, 60, "half a batch sent")
        wifi.carrier(False)
        time.sleep(3)
        wifi.set(rate=0.0)
        wifi.carrier(True)
        site.wait(lambda: site.depth() < DRAINED, DRAIN_S, "the backlog sent")


def _half_open(site: TownSite) -> None:
    """What the box sends arrives, and it hears nothing of it: it must send it again, and the server must not mind."""
    _outage(site, lambda: site.town.wifi.stall(way="down"), lambda: site.town.wifi.stall(False), SHORT_S)


def _deaf(site: TownSite) -> None:
    """The server has the batch, its answer is lost."""
    _outage(site, lambda: site.town.front("deaf"), site.town.front, SHORT_S)


def _broken(site: TownSite) -> None:
    _outage(site, lambda: site.town.front("broken"), site.town.front, SHORT_S)


def _busy(site: TownSite) -> None:
    _outage(site, lambda: site.town.front("busy", seconds=5), site.town.front, SHORT_S)


def _hanging(site: TownSite) -> None:
    _outage(site, lambda: site.town.front("hang"), site.town.front, SHORT_S)


def _slow(site: TownSite) -> None:
    """Every answer three seconds late: slower, and nothing else."""
    site.town.front("slow", seconds=3.0)
    time.sleep(SHORT_S)
    assert site.depth() < 60 * SHORT_S
    site.town.front()


def _bad_radio(site: TownSite) -> None:
    """A twentieth lost, late, out of order, and slow."""
    site.town.wifi.set(delay_s=0.15, jitter_s=0.1, loss=0.05, reorder=0.05, rate=1_000_000.0)
    time.sleep(2 * SHORT_S)
    site.town.wifi.set(delay_s=0.0, jitter_s=0.0, loss=0.0, reorder=0.0, rate=0.0)
    site.wait(lambda: site.depth() < DRAINED, DRAIN_S, "the backlog sent")


def _reconnect(site: TownSite) -> None:
    """A name is asked for at the next connection only."""
    site.town.front(None)
    site.town.front()


def _names_dead(site: TownSite) -> None:
    """No name server answers for a while; a box that knows the address goes on with it, and no reading minds."""
    site.town.resolver("wifi", "silent")
    site.town.resolver("gsm", None)
    time.sleep(NAMES_S)
    _reconnect(site)
    time.sleep(SHORT_S)
    site.town.resolver("wifi")
    site.town.resolver("gsm")
    site.wait(lambda: site.depth() < DRAINED, DRAIN_S, "the backlog sent")


def _restored(site: TownSite) -> None:
    """The server's disk is replaced by a backup of some time ago: the box has kept what came since."""
    site.wait(lambda: "house" in str(site.api().entity_ids()), 60, "something to back up")
    copy = site.keep_server()
    time.sleep(SHORT_S)
    held = site.history("house").readings
    site.wait(lambda: site.history("house").readings > held + 100, 60, "readings that the backup has not")
    site.restore_server(copy)
    site.wait(lambda: "the server lacks" in site.edge_log(), 150, "seen: a server is asked at most once a minute")
    site.wait(lambda: site.depth() < DRAINED, DRAIN_S, "all sent")


def _over_gsm(fail: str) -> Fault:
    """WiFi fails in one of its ways: what is new goes over GSM, and comes back to WiFi when that works again."""

    def fault(site: TownSite) -> None:
        wifi, gsm = site.town.wifi, site.town.gsm
        ways = {
            "stall": (wifi.stall, lambda: wifi.stall(False)),
            "carrier": (lambda: wifi.carrier(False), lambda: wifi.carrier(True)),
            "portal": (lambda: site.town.portal("wifi", "page"), lambda: site.town.portal("wifi", None)),
            "names": (lambda: site.town.resolver("wifi", "wrong", "10.82.1.1"), lambda: site.town.resolver("wifi")),
            "unplugged": (wifi.unplug, wifi.plug),
        }
        begin, end = ways[fail]
        before = gsm.traffic().up.bytes
        begin()
        if fail == "names":
            time.sleep(NAMES_S)
            _reconnect(site)
        seconds = site.wait(lambda: gsm.traffic().up.bytes > before + BATCHES, 120, "batches over GSM")
        site.wait(lambda: site.depth() < DRAINED, DRAIN_S, "all sent over GSM")
        end()
        before = wifi.traffic().up.bytes
        back = site.wait(lambda: wifi.traffic().up.bytes > before + BATCHES, 400, "batches over WiFi again")
        report(f"over gsm, {fail}", failover_s=round(seconds, 1), return_s=round(back, 1))

    fault.__name__ = f"_wifi_{fail}"
    return fault


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Any]]]:
    """The chosen faults, each on a site of its own, some at a time."""

    def run(fault: Fault, folder: Path) -> dict[str, Any]:
        language = "compact" if fault is _restored else "ngsi-ld"
        with TownSite(folder, links=LINKS if fault in FAILOVERS else (), language=language) as site:
            site.wait(site.all_up, 60, "every device up")
            if fault not in FAILOVERS:
                site.town.gsm.down()
            fault(site)
            result = site.settle(0)
            result["house_twice"] = site.history("house").twice
            return result

    chosen = [item.callspec.params["fault"] for item in request.session.items if "fault" in _params(item)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {fault.__name__: pool.submit(run, fault, tmp_path_factory.mktemp(fault.__name__)) for fault in chosen}


def _params(item: pytest.Item) -> dict[str, Any]:
    return item.callspec.params if item.path == Path(__file__) and hasattr(item, "callspec") else {}


FAILOVERS = [_over_gsm(fail) for fail in ("stall", "carrier", "portal", "names", "unplugged")]
SERVER_FAULTS = [_deaf, _broken, _busy, _hanging, _slow]
LINK_FAULTS = [_day, _down, _stall, _cut_in_a_batch, _half_open, _bad_radio, _names_dead]
FAULTS = [*LINK_FAULTS, *SERVER_FAULTS, *FAILOVERS, _restored]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_nothing_is_lost_or_twice(runs: dict[str, Future[Any]], fault: Fault) -> None:
    result = runs[fault.__name__].result()
    report(fault.__name__, **{key: result[key] for key in ("made", "stored", "lost", "twice")})
    house = result["devices"]["house"]
    assert house["made"] == house["stored"] > 300
    assert result["house_twice"] == 0
    if fault is not _day:  # the gateway's own readings go on while a long history is counted
        assert (result["lost"], result["twice"]) == (0, 0)
