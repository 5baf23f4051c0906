"""The links of a box in a town of network namespaces: cut, stalled, taken by a portal, and back."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import pytest

from firmware_sim.net.namespace import missing
from firmware_sim.net.town import INNER, Town

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
ROOT = Path(__file__).parents[2]
WAIT_S = 60.0
WIFI = {"name": "wifi", "interface": "wifi0", "dns": ["10.82.1.1"]}
GSM = {"name": "gsm", "interface": "gsm0", "dns": ["10.82.2.1"], "cost": "metered"}
QUICK = {"fast": 1.0, "suspect_s": 0.5, "stall_s": 1.5, "hold_s": 1.0, "rate_s": 1.0, "flap_s": 2.0}


class Box:
    """``link_box`` in the namespace of the box; ``said`` is all that it printed."""

    def __init__(self, town: Town, folder: Path, links: list[dict[str, Any]], **policy: float) -> None:
        self.said: list[dict[str, Any]] = []
        arguments = [str(folder), json.dumps(links), *(f"{key}={value}" for key, value in policy.items())]
        command = town.box.command(sys.executable, "-m", "tests.sim.link_box", *arguments)
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(json.loads(line))

    def wait(self, wanted: Callable[[dict[str, Any]], Any], after: int = 0, seconds: float = WAIT_S) -> dict[str, Any]:
        """The first line from number ``after`` on that is wanted."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.said[after:]:
                if wanted(line):
                    return line
            assert self._process.poll() is None, "the box has ended"
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds} s; the last: {self.said[-3:]}")

    def on(self, link: str | None, after: int = 0) -> dict[str, Any]:
        """Wait until a link is chosen."""
        return self.wait(lambda line: "link" in line and line["link"] == link, after)

    def sends(self, link: str) -> float:
        """Wait until something was acknowledged over a link from now on; when that was."""
        at: float = self.wait(lambda line: line.get("sent") == link, len(self.said))["at"]
        return at

    def seen(self, name: str, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait until a link is explained in a way; the explanation."""
        here = len(self.said)
        line = self.wait(lambda line: any(x["name"] == name and wanted(x) for x in line.get("links", ())), here)
        return next(x for x in line["links"] if x["name"] == name)

    def switches(self) -> list[tuple[float, str | None]]:
        return [(line["at"], line["link"]) for line in self.said if "link" in line]

    def close(self) -> int:
        """SIGTERM; the exit code."""
        self._process.terminate()
        code = self._process.wait(20)
        self._reader.join(20)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class City(BaseHTTPRequestHandler):
    """The server: tells the time, and takes what is sent unless it is busy."""

    protocol_version = "HTTP/1.1"
    status = 204
    hosts: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        self._answer(200, json.dumps({"now_ns": time.time_ns()}).encode())

    def do_POST(self) -> None:
        City.hosts.add(self.headers["Host"])
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(self.status, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def whole_town() -> Iterator[Town]:
    host, port = INNER.split(":")
    with Town() as town:
        with town.server.inside():
            server = ThreadingHTTPServer((host, int(port)), City)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield town
        server.shutdown()
        server.server_close()


@pytest.fixture
def town(whole_town: Town) -> Iterator[Town]:
    """As it was before."""
    yield whole_town
    for link in (whole_town.wifi, whole_town.gsm):
        link.carrier(True)
        link.stall(False)
    for network in ("wifi", "gsm"):
        whole_town.portal(network, None)
        whole_town.resolver(network)
    whole_town.front()
    City.status = 204


def test_a_stalled_link_is_left_and_returned_to(town: Town, tmp_path: Path) -> None:
    with Box(town, tmp_path, [WIFI, GSM], **QUICK) as box:
        box.on("wifi")
        box.sends("wifi")
        assert City.hosts == {"city.test"}
        town.wifi.stall()
        here = len(box.said)
        why = box.on("gsm", here)["why"]
        assert why["wifi"].startswith(("nothing was acknowledged", "3 attempts")), why
        box.sends("gsm")
        town.wifi.stall(False)
        assert box.on("wifi", here)["why"]["gsm"] == "works, and wifi is preferred"
        box.sends("wifi")


@pytest.mark.slow
def test_a_link_without_carrier_is_left_at_once_and_none_is_used_without_any(town: Town, tmp_path: Path) -> None:
    with Box(town, tmp_path, [WIFI, GSM], **QUICK) as box:
        box.sends("wifi")
        here, began = len(box.said), time.monotonic()
        town.wifi.carrier(False)
        assert "wifi0" in box.on("gsm", here)["why"]["wifi"]
        box.sends("gsm")
        assert time.monotonic() - began < 20
        town.gsm.carrier(False)
        box.on(None, here)
        town.gsm.carrier(True)
        box.sends("gsm")
        town.wifi.carrier(True)
        box.sends("wifi")


def test_two_links_work_at_the_same_time_and_each_by_its_own_names(town: Town, tmp_path: Path) -> None:
    """The wifi's name server is dead, and gsm0 has the worse metric: what is bound to it goes there all the same."""
    town.resolver("wifi", None)
    with Box(town, tmp_path, [WIFI, GSM], **QUICK | {"hold_s": 3.0}) as box:
        box.sends("gsm")
        wifi = box.seen("wifi", lambda one: one["state"] in ("failing", "stalled"))
        assert "name server" in wifi["error"]
        town.resolver("wifi")
        before = town.gsm.traffic().up.packets
        wifi = box.seen("wifi", lambda one: one["state"] == "waits" and one["rtt_s"] is not None)
        box.sends("gsm")
        assert town.gsm.traffic().up.packets > before
        box.sends("wifi")


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", ["page", "redirect"])
def test_a_portal_is_recognised_and_not_believed(town: Town, tmp_path: Path, behaviour: Any) -> None:
    town.portal("wifi", behaviour)
    with Box(town, tmp_path, [WIFI, GSM], **QUICK) as box:
        box.sends("gsm")
        wifi = box.seen("wifi", lambda one: one["state"] == "portal")
        assert not wifi["used"]
        assert wifi["up"]
        town.portal("wifi", None)
        box.sends("wifi")


@pytest.mark.slow
def test_a_server_that_is_down_or_busy_is_no_reason_to_change_the_link(town: Town, tmp_path: Path) -> None:
    with Box(town, tmp_path, [WIFI, GSM], **QUICK) as box:
        box.sends("wifi")
        City.status = 503
        here = len(box.said)
        box.wait(lambda line: line.get("status") == 503 and line["at"] > box.said[here]["at"] + 2.5, here)
        town.front(None)
        box.wait(lambda line: line.get("failed") and line["at"] > box.said[here]["at"] + 6, here)
        City.status = 204
        town.front()
        box.sends("wifi")
        assert [link for _, link in box.switches()] == ["wifi"]


@pytest.mark.slow
def test_bytes_are_counted_against_the_budget_and_at_last_only_alarms_go(town: Town, tmp_path: Path) -> None:
    metered = GSM | {"budget": 40_000}
    with Box(town, tmp_path, [metered], **QUICK) as box:
        began = sum(way.bytes for way in (town.gsm.traffic().up, town.gsm.traffic().down))
        first = box.seen("gsm", lambda one: one["bytes"] > 5_000)
        passed = sum(way.bytes for way in (town.gsm.traffic().up, town.gsm.traffic().down)) - began
        assert first["bytes"] <= passed + 2_000
        assert first["budget"] == 40_000
        assert first["month"]
        box.wait(lambda line: line.get("allowed") == ["ALARM"])
        spent = box.seen("gsm", lambda one: one["bytes"] >= 38_000)
        assert spent["carries"] == ["alarm"]
        assert box.close() != 0
    with Box(town, tmp_path, [metered], **QUICK) as box:  # the next run goes on from there
        box.wait(lambda line: line.get("allowed") == ["ALARM"])


@pytest.mark.slow
def test_figures_of_failover_and_return(town: Town, tmp_path: Path) -> None:
    """With the numbers that boxes have."""
    with Box(town, tmp_path, [WIFI, GSM]) as box:
        box.sends("wifi")
        town.wifi.stall()
        here, stalled = len(box.said), time.monotonic()
        seen = box.on("gsm", here)["at"] - stalled
        done = box.sends("gsm") - stalled
        time.sleep(60)  # as long as no return would be allowed anyway
        town.wifi.stall(False)
        repaired = time.monotonic()
        back = box.on("wifi", here)["at"] - repaired
        print(f"stall seen after {seen:.1f} s, first value over gsm after {done:.1f} s, return {back:.1f} s")
        assert seen <= 30
        assert done - seen <= 10
        assert back <= 50


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_flapping_link_costs_few_switches(town: Town, tmp_path: Path) -> None:
    with Box(town, tmp_path, [WIFI, GSM]) as box:
        box.sends("wifi")
        for _ in range(5):
            town.wifi.stall()
            time.sleep(30)
            town.wifi.stall(False)
            time.sleep(30)
        switches = [at for at, _ in box.switches()][1:]
        print("switches at", [round(at - switches[0]) for at in switches])
        assert 2 <= len(switches) <= 2 + (switches[-1] - switches[0]) / 60
